"""What the cluster's parts are told: pure functions from the layout to their files."""

from __future__ import annotations

import itertools
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.cluster import cgroups, environment, host, layout, nodes, objects
from tests.cluster.cgroups import Hierarchy
from tests.cluster.registries import Kind, Registry
from tests.cluster.say import Trouble

_HYBRID = """\
25 20 0:22 / /sys/fs/cgroup rw shared:5 - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
28 25 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
"""


def test_cgroups_hybrid_machine_tracks_by_the_pids_controller() -> None:
    found = cgroups.parse(_HYBRID)
    assert [hierarchy.mount.name for hierarchy in found] == ["unified", "cpu,cpuacct", "pids"]
    assert cgroups.tracking(found) == Path("/sys/fs/cgroup/pids")


def test_cgroups_unified_machine_tracks_there() -> None:
    assert cgroups.tracking([Hierarchy(Path("/sys/fs/cgroup"), unified=True)]) == Path("/sys/fs/cgroup")


def test_cgroups_none_mounted_is_told() -> None:
    with pytest.raises(Trouble, match="pids controller"):
        cgroups.tracking([])


# As in Debian's qemu-user-static, /usr/lib/binfmt.d/qemu-*.conf: the same executables must match.
@pytest.mark.parametrize(
    ("arch", "magic", "mask"),
    [
        ("aarch64", "7f454c4602010100000000000000000002" + "00b700", "ffffffffffffff00fffffffffffffffffeffffff"),
        ("arm", "7f454c4601010100000000000000000002" + "002800", "ffffffffffffff00fffffffffffffffffeffffff"),
    ],
)
def test_binfmt_line_little_endian_matches_debians(arch: str, magic: str, mask: str) -> None:
    _, name, kind, offset, got_magic, got_mask, interpreter, flags = host.binfmt_line("qemu-x", arch, "/q").decode().split(":")
    assert (name, kind, offset, interpreter) == ("qemu-x", "M", "", "/q")
    assert got_magic.replace("\\x", "") == magic
    assert got_mask.replace("\\x", "") == mask
    assert "F" in flags


def test_binfmt_line_big_endian_has_its_fields_the_other_way_round() -> None:
    magic, mask = host.binfmt_line("qemu-s390x", "s390x", "/q").decode().replace("\\x", "").split(":")[4:6]
    assert magic == "7f454c46020201000000000000000000" + "00020016"
    assert mask.endswith("fffeffff")


def test_binfmt_ppc64le_is_left_to_the_tests_without_emulator() -> None:
    assert "ppc64le" not in host.EMULATED


def test_defaults_have_mirrors_and_the_ca_but_not_the_insecure_registry() -> None:
    registries = yaml.safe_load(objects.defaults_yaml("PEM\n"))["registries"]
    assert registries["docker.io"] == {"mirrors": ["10.77.0.1:5081/docker.io"]}
    assert set(registries) == {"docker.io", "gcr.io", "mcr.microsoft.com", layout.MIRROR, layout.REGISTRY}
    assert registries[layout.MIRROR] == {"http": True}
    assert registries[layout.REGISTRY] == {"ca": "PEM\n"}


def test_defaults_may_be_read_by_name_only() -> None:
    role = next(value for path, value in objects.builder_defaults("PEM") if "/roles/" in path)
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kubectl-build-defaults"], "verbs": ["get"]}
    ]


def test_hosts_toml_mirrors_replace_their_hosts_and_only_the_registry_has_a_ca() -> None:
    parsed = {name: tomllib.loads(text) for name, text in nodes.hosts_toml(Path("/ca.crt")).items()}
    mirrored = parsed["docker.io"]
    assert mirrored["server"] == "http://10.77.0.1:5081/v2/docker.io"
    assert mirrored["override_path"] is True
    assert mirrored["host"][mirrored["server"]] == {"capabilities": ["pull", "resolve"], "override_path": True}
    assert parsed[layout.REGISTRY]["host"][f"https://{layout.REGISTRY}"]["ca"] == "/ca.crt"
    assert parsed[layout.INSECURE_REGISTRY]["server"].startswith("http://")
    assert [name for name, toml in parsed.items() if "ca" in toml] == [layout.REGISTRY]


def test_env_sourced_from_a_path_with_blanks_and_quotes_gives_the_values(tmp_path: Path) -> None:
    state = layout.State(tmp_path / "it's a checkout" / ".cluster")
    registry = Registry(
        kind=Kind.AUTHENTICATED, address="h:1", command=(), storage=tmp_path, ca=tmp_path / "a b.crt", user="u", password="p$x"
    )
    state.root.mkdir(parents=True)
    state.env.write_text(environment.script(state, registry, Path("/venv/bin")))
    show = '. "$0"; printf "%s\\n" "$KUBECONFIG" "$KB_REGISTRY_PASSWORD" "$KB_REGISTRY_CA" "$PATH"'
    done = subprocess.run(["sh", "-c", show, str(state.env)], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert done.stdout.splitlines() == [
        str(state.kubeconfig),
        "p$x",
        str(tmp_path / "a b.crt"),
        f"{state.programs}:/venv/bin:/usr/bin:/bin",
    ]


def test_sockets_have_short_paths() -> None:
    deepest = [node.containerd_socket for node in layout.NODES] + [
        node.data / "kubelet" / "pod-resources" / "kubelet.sock" for node in layout.NODES
    ]
    assert max(len(str(path)) for path in deepest) < 108


def test_pod_addresses_of_the_nodes_do_not_overlap() -> None:
    ranges = sorted((tuple(map(int, node.first_pod_ip.split("."))), tuple(map(int, node.last_pod_ip.split(".")))) for node in layout.NODES)
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(ranges))
