from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.builder.names import check_builder_name
from kubectl_build.builder.shape import PodShape
from kubectl_build.builder.spec import (
    BuilderSpec,
    ClientFile,
    RegistrySettings,
    SpecChange,
    merge,
    pool_architectures,
    registry_trust,
    runs_arm32,
)
from kubectl_build.builder.spec_yaml import check_spec, dump_spec, parse_spec
from kubectl_build.builder.volume import CacheVolume
from kubectl_build.errors import ConfigError, UsageError
from kubectl_build.model.platform import parse_platforms

CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SOURCE = 'ConfigMap "d" in namespace "n"'


def _read(text: str) -> BuilderSpec:
    return merge(BuilderSpec(), parse_spec(text, source=SOURCE))


def test_spec_of_an_empty_document_is_the_default() -> None:
    assert _read("") == BuilderSpec()
    assert _read("{}") == BuilderSpec()


def test_spec_reads_every_name() -> None:
    text = f"""
image: i:1
security: privileged
replicas: 2
platform: linux/amd64,linux/arm64
resources: {{requests: {{cpu: 2, memory: 1Gi}}, limits: {{memory: 2Gi}}}}
env: {{HTTP_PROXY: http://p, N: 1}}
qemuInstall: true
qemuImage: q:1
registries:
  r:5000: {{ca: {CA!r}, insecure: false}}
  docker.io: {{mirrors: [m:1/docker.io]}}
  m:1: {{http: true}}
allow: [network.host]
cache: {{type: pvc, size: 20Gi, class: fast, keep: true}}
idleTimeout: 30m
buildkitdFlags: [--debug]
nodeSelector: {{disk: ssd}}
tolerations: [{{key: gpu, operator: Exists}}]
affinity: {{nodeAffinity: {{}}}}
spread: [topology.kubernetes.io/zone]
priorityClass: low
serviceAccount: builder
imagePullSecrets: [pull]
runtimeClass: kata
schedulerName: mine
annotations: {{a: 1}}
labels: {{team: ci}}
hostNetwork: false
gracePeriod: 2m
podTemplate: {{spec: {{hostname: h}}}}
buildkitdConfig: |
  debug = true
"""
    text = text.replace(repr(CA), '"' + CA.replace("\n", "\\n") + '"')

    assert _read(text) == BuilderSpec(
        image="i:1",
        security="privileged",
        replicas=2,
        platforms=parse_platforms(["linux/amd64,linux/arm64"]),
        resources={"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        env={"HTTP_PROXY": "http://p", "N": "1"},
        qemu_install=True,
        qemu_image="q:1",
        registries={
            "r:5000": RegistrySettings(ca=CA, insecure=False),
            "docker.io": RegistrySettings(mirrors=("m:1/docker.io",)),
            "m:1": RegistrySettings(http=True),
        },
        buildkitd_config="debug = true\n",
        allow=("network.host",),
        cache=CacheVolume(kind="pvc", size="20Gi", storage_class="fast", keep=True),
        idle_seconds=1800,
        buildkitd_flags=("--debug",),
        pod=PodShape(
            node_selector={"disk": "ssd"},
            tolerations=({"key": "gpu", "operator": "Exists"},),
            affinity={"nodeAffinity": {}},
            spread=("topology.kubernetes.io/zone",),
            priority_class="low",
            service_account="builder",
            image_pull_secrets=("pull",),
            runtime_class="kata",
            scheduler_name="mine",
            annotations={"a": "1"},
            labels={"team": "ci"},
            host_network=False,
            grace_seconds=120,
            template={"spec": {"hostname": "h"}},
        ),
    )


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("imagee: x", '"imagee"'),
        ("clientFiles: {}", '"clientFiles"'),
        ("registries: {r: {cert: x}}", '"cert" in "registries.r"'),
        ("registries: {r: {ca: /etc/ca.pem}}", '"/etc/ca.pem"'),
        ("replicas: 0", "from 1, not 0"),
        ("replicas: true", "not True"),
        ("security: rootlesss", '"rootlesss"'),
        ("qemuInstall: maybe", '"maybe"'),
        ("env: {'A B': x}", '"A B"'),
        ("env: [A=1]", "['A=1']"),
        ("platform: linux/amd64/v2/x", '"linux/amd64/v2/x"'),
        ("resources: {request: {}}", '"request"'),
        ("resources: {limits: {memory: 8 GB}}", '"8 GB" is not an amount'),
        ("cache: {type: disk}", '"disk"'),
        ("cache: {type: pvc, volume: x}", '"volume"'),
        ("cache: pvc", "needs a size"),
        ("allow: [all]", '"all"'),
        ("idleTimeout: soon", '"soon"'),
        ("tolerations: [x]", "tolerations[0]"),
        ("labels: {kubectl-build/x: y}", '"kubectl-build/x"'),
        ("podTemplate: {kind: Job}", '"kind"'),
        ("podTemplate: {metadata: {labels: {1: a}}}", "{1: 'a'}"),
        ("podTemplate: {spec: {hostname: 2024-01-01}}", "datetime.date(2024, 1, 1)"),
        ("affinity: {a: .nan}", "nan"),
        ("tolerations: [{key: !!set {a}}]", "{'a'}"),
        (
            "affinity: {a: &a [x, x], b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a], c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b], "
            "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c], e: &e [*d, *d, *d, *d, *d, *d, *d, *d], f: [*e, *e, *e, *e, *e, *e]}",
            "more than 100000",
        ),
        ("buildkitdFlags: [--config=x]", "--config=x"),
        ("buildkitdConfig: 'worker = 1'", "worker"),
        ("- image", "['image']"),
        ("image: [", "not YAML"),
        ("image: ''", '""'),
        ("buildkitdConfig: 'a ='", "not TOML"),
    ],
)
def test_spec_with_a_mistake_is_an_error_that_quotes_it_and_its_source(text: str, quoted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _read(text)

    assert quoted in caught.value.message
    assert SOURCE in caught.value.message
    assert caught.value.exit_code == 3


def test_registries_go_over_the_toml_and_leave_the_rest_of_it() -> None:
    spec = _read(
        """
registries: {r: {http: true}}
buildkitdConfig: |
  [registry."r"]
  http = false
  mirrors = ["m"]
  [registry."s"]
  insecure = true
  [worker.oci]
  gc = false
"""
    )

    assert spec.registries == {"r": RegistrySettings(http=True, mirrors=("m",)), "s": RegistrySettings(insecure=True)}
    assert spec.buildkitd_config == "[worker.oci]\ngc = false\n"


_text = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), min_size=1)
_settings = st.builds(
    RegistrySettings,
    ca=st.sampled_from(["", CA]),
    mirrors=st.lists(_text).map(tuple),
    http=st.sampled_from([None, True, False]),
    insecure=st.sampled_from([None, True, False]),
)
_specs = st.builds(
    BuilderSpec,
    image=_text,
    replicas=st.none() | st.integers(1, 9),
    platforms=st.lists(st.sampled_from(parse_platforms(["linux/amd64,linux/arm64,linux/arm/v7"])), unique=True).map(tuple),
    env=st.dictionaries(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), _text),
    registries=st.dictionaries(_text, _settings),
    client_files=st.dictionaries(_text, st.builds(ClientFile.of, _text)),
    resources=st.dictionaries(
        st.sampled_from(["requests", "limits"]), st.dictionaries(_text, st.sampled_from(["2", "500m", "1.5Gi", "1e3"]))
    ),
    buildkitd_config=st.sampled_from(["", "debug = true\n"]),
    allow=st.lists(st.sampled_from(["network.host", "security.insecure"]), unique=True).map(tuple),
    cache=st.sampled_from([CacheVolume(), CacheVolume(size="1Gi"), CacheVolume(kind="pvc", size="1Gi", storage_class="c", keep=True)]),
    idle_seconds=st.none() | st.integers(1, 10**6),
    buildkitd_flags=st.lists(st.sampled_from(["--debug", "--trace"])).map(tuple),
    pod=st.builds(
        PodShape,
        node_selector=st.dictionaries(_text, _text),
        tolerations=st.lists(st.dictionaries(_text, _text, min_size=1)).map(tuple),
        spread=st.lists(_text).map(tuple),
        priority_class=st.just("") | _text,
        labels=st.dictionaries(st.sampled_from(["a", "b"]), _text),
        host_network=st.sampled_from([None, True, False]),
        grace_seconds=st.none() | st.integers(0, 10**6),
        template=st.sampled_from([{}, {"metadata": {"labels": {"a": "b"}}}]),
    ),
)


@given(_specs)
def test_recorded_spec_reads_back_as_it_was(spec: BuilderSpec) -> None:
    assert merge(BuilderSpec(), parse_spec(dump_spec(spec), source=SOURCE, recorded=True)) == spec


def test_recorded_spec_has_no_key_in_it() -> None:
    text = dump_spec(BuilderSpec(client_files={"k": ClientFile.of("very private")}))

    assert "very private" not in text
    assert "very private" not in repr(ClientFile.of("very private"))


def test_merge_puts_flags_over_defaults_and_keeps_what_they_do_not_name() -> None:
    defaults = BuilderSpec(image="a", env={"A": "1", "B": "1"}, registries={"r": RegistrySettings(ca=CA, http=True)}, replicas=2)

    merged = merge(defaults, SpecChange(env={"B": "2"}, registries={"r": RegistrySettings(http=False)}, qemu_install=True))

    assert merged == BuilderSpec(
        image="a", env={"A": "1", "B": "2"}, registries={"r": RegistrySettings(ca=CA, http=False)}, replicas=2, qemu_install=True
    )


@pytest.mark.parametrize("change", [SpecChange(security="usern"), SpecChange(replicas=0)])
def test_merge_refuses_what_cannot_be(change: SpecChange) -> None:
    with pytest.raises(UsageError):
        merge(BuilderSpec(), change)


def test_registry_trust_knows_docker_hub_by_all_its_names() -> None:
    registries = {"docker.io": RegistrySettings(mirrors=("m",)), "r:1": RegistrySettings(ca=CA)}

    assert registry_trust(registries, "registry-1.docker.io").mirrors == ("m",)
    assert registry_trust(registries, "index.docker.io").mirrors == ("m",)
    assert registry_trust(registries, "r:1").ca == CA
    assert registry_trust(registries, "r") == RegistrySettings()


@pytest.mark.parametrize(
    ("platforms", "architectures", "arm32"),
    [
        ("linux/amd64,linux/386", ("amd64",), False),
        ("linux/386", ("amd64",), False),
        ("linux/arm/v7,linux/amd64,linux/arm64", ("arm64", "amd64"), True),
        ("linux/arm/v6,linux/arm/v7", ("arm",), False),
        ("linux/s390x", ("s390x",), False),
    ],
)
def test_fixed_platforms_give_one_pool_for_each_architecture_that_runs_them(
    platforms: str, architectures: tuple[str, ...], arm32: bool
) -> None:
    assert pool_architectures(parse_platforms([platforms])) == architectures
    assert runs_arm32(parse_platforms([platforms])) is arm32


def test_fixed_platform_of_windows_is_refused() -> None:
    with pytest.raises(UsageError, match="its pods run Linux"):
        pool_architectures(parse_platforms(["windows/amd64"]))


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "a" * 41])
def test_builder_name_that_no_object_can_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_builder_name(name)


@pytest.mark.parametrize("name", ["a", "buildkit", "a-1", "a" * 40])
def test_builder_name_of_letters_digits_and_dashes_is_accepted(name: str) -> None:
    assert check_builder_name(name) == name


def test_merge_joins_what_goes_by_name_and_replaces_the_rest_of_the_shape() -> None:
    defaults = BuilderSpec(
        pod=PodShape(node_selector={"a": "1", "b": "1"}, labels={"x": "1"}, spread=("zone",), host_network=True, grace_seconds=5)
    )

    merged = merge(defaults, SpecChange(pod=PodShape(node_selector={"b": "2"}, labels={"y": "2"}, spread=("host",), host_network=False)))

    assert merged.pod == PodShape(
        node_selector={"a": "1", "b": "2"}, labels={"x": "1", "y": "2"}, spread=("host",), host_network=False, grace_seconds=5
    )


def test_merge_of_an_idle_time_of_zero_is_never() -> None:
    assert merge(BuilderSpec(idle_seconds=60), SpecChange(idle_seconds=0)).idle_seconds is None
    assert merge(BuilderSpec(idle_seconds=60), SpecChange()).idle_seconds == 60


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (BuilderSpec(env={"A B": "c"}), '"A B"'),
        (BuilderSpec(image=""), '"image"'),
        (BuilderSpec(resources={"requests": {"memory": "1x"}}), '"1x" is not an amount'),
    ],
)
def test_spec_that_could_not_be_read_again_is_refused_before_it_is_recorded(spec: BuilderSpec, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_spec(spec)

    assert word in caught.value.message
