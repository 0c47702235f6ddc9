"""Candidates that need no cluster, and how they are said to kubectl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubectl_build.cli.complete_candidates import Answer, Directive
from kubectl_build.cli.complete_values import VALUES
from kubectl_build.cli.options.attests import parse_attests
from kubectl_build.cli.options.caches import parse_caches
from kubectl_build.cli.options.outputs import parse_output
from kubectl_build.cli.options.secrets import parse_secrets
from tests.unit.completion.conftest import Ask

NO_FILES = Directive.NO_FILES
GOES_ON = Directive.NO_FILES | Directive.NO_SPACE


def test_flags_have_their_help_and_come_in_order(ask: Ask) -> None:
    answer = ask("--p")
    assert list(answer.candidates) == ["--password", "--plan", "--platform", "--policy", "--progress", "--provenance", "--pull", "--push"]
    assert answer.candidates["--pull"] == "Ask the registries again for base images."
    assert answer.directive == NO_FILES


def test_flags_that_are_given_are_offered_again_only_where_they_may_be_repeated(ask: Ask) -> None:
    assert "--file" not in ask("--file", "x", "-").candidates
    assert "--file" not in ask("-fx", "--f").candidates
    assert "--tag" in ask("--tag", "x", "--t").candidates


def test_flags_that_docker_ignores_are_not_offered(ask: Ask) -> None:
    assert not {"--squash", "--compress", "--isolation"} & set(ask("--").candidates)


def test_words_behind_two_dashes_are_no_flags(ask: Ask) -> None:
    assert ask("--", "--p").candidates == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--progress", ""), ["auto", "none", "plain", "quiet", "rawjson", "tty"]),
        (("--progress=r",), ["rawjson"]),
        (("--emulation", "n"), ["never"]),
        (("--plan=",), ["table", "json"]),
        (("--provenance", "t"), ["true"]),
        (("--network", ""), ["default", "none", "host"]),
        (("--allow", "network.host,"), ["network.host,security.insecure", "network.host,device"]),
        (("--call", "o"), ["outline"]),
    ],
)
def test_values_are_those_of_the_flag(ask: Ask, words: tuple[str, ...], expected: list[str]) -> None:
    assert list(ask(*words).candidates) == expected


def test_plan_takes_no_word_of_its_own(ask: Ask) -> None:
    assert ask("--plan", "").directive == Directive.DIRECTORIES


def test_stages_are_those_of_the_dockerfile(ask: Ask, tmp_path: Path) -> None:
    assert ask("--target", "").candidates == {"tools": "from ${BASE}", "program": "from tools"}
    (tmp_path / "other").write_text("FROM a AS b\n")
    assert ask("-f", "other", "--target", "").candidates == {"b": "from a"}
    assert ask("--file=other", "--target=b").candidates == {"b": "from a"}
    assert list(ask("--no-cache-filter", "tools,").candidates) == ["tools,program"]


def test_stages_of_a_dockerfile_in_the_context_are_found(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "results" / "Dockerfile").write_bytes(b"\xef\xbb\xbfFROM x AS inner\r\n")
    assert ask("results", "--target", "").candidates == {"inner": "from x"}


@pytest.mark.parametrize("place", ["-", "https://example.com/x.git", "missing", "results", "/dev/zero"])
def test_stages_of_what_is_no_file_here_are_none(ask: Ask, place: str) -> None:
    assert ask("-f", place, ".", "--target", "").candidates == {}


def test_build_arguments_are_those_of_the_dockerfile(ask: Ask) -> None:
    assert ask("--build-arg", "").candidates == {
        "BASE=": "default busybox",
        "VERSION=": "default 1.2",
        "NAME=": "default two words",
    }
    assert ask("--build-arg", "V").directive == GOES_ON
    assert ask("--build-arg", "VERSION=1").candidates == {}


def test_output_is_completed_key_by_key(ask: Ask) -> None:
    assert list(ask("-o", "type=o").candidates) == ["type=oci,"]
    assert "type=oci,dest=" in ask("--output", "type=oci,").candidates
    assert list(ask("--output=type=oci,dest=res").candidates) == ["type=oci,dest=result.tar", "type=oci,dest=results/"]
    assert list(ask("-o", "type=oci,dest=x,compression=z").candidates) == ["type=oci,dest=x,compression=zstd"]
    assert "type=oci,dest=x,dest=" not in ask("-o", "type=oci,dest=x,").candidates
    assert ask("-o", "type=unknown,").candidates == {}
    assert ask("-o", "type=oci,").directive & Directive.NO_SPACE


def test_cache_keys_depend_on_the_direction(ask: Ask) -> None:
    assert list(ask("--cache-to", "type=local,d").candidates) == ["type=local,dest="]
    assert list(ask("--cache-from", "type=local,s").candidates) == ["type=local,src="]
    assert list(ask("--cache-to", "type=registry,ref=x,mode=").candidates) == [
        "type=registry,ref=x,mode=min",
        "type=registry,ref=x,mode=max",
    ]
    assert "type=inline" in ask("--cache-to", "").candidates
    assert "type=inline" not in ask("--cache-from", "").candidates


def test_secrets_name_files(ask: Ask) -> None:
    assert list(ask("--secret", "id=a,").candidates) == ["id=a,src=", "id=a,env=", "id=a,type="]
    assert list(ask("--secret", "id=a,src=result.").candidates) == ["id=a,src=result.tar"]


def test_named_contexts_are_directories_or_addresses(ask: Ask) -> None:
    assert list(ask("--build-context", "a=res").candidates) == ["a=results/"]
    assert list(ask("--build-context", "a=docker").candidates) == ["a=docker-image://"]


@pytest.mark.parametrize("words", [("--metadata-file", ""), ("-f", ""), ("--kubeconfig", "x"), ("--build-arg-file", "")])
def test_files_are_left_to_the_shell(ask: Ask, words: tuple[str, ...]) -> None:
    answer = ask(*words)
    assert (answer.candidates, answer.directive) == ({}, Directive.FILES)


def test_context_is_a_directory_and_the_only_argument(ask: Ask) -> None:
    assert ask("").directive == Directive.DIRECTORIES
    assert ask("--pull", "-t", "x", "").directive == Directive.DIRECTORIES
    assert ask(".", "").directive == NO_FILES


def test_values_that_nobody_knows_are_no_files(ask: Ask) -> None:
    assert ask("-t", "") == Answer({})


def test_commands_of_buildkit_are_named_with_what_they_do(ask: Ask) -> None:
    assert ask("du", plugin="buildkit").candidates == {"du": "Show what the caches of all of the builder's pods hold."}
    assert "create" in ask("imagetools", "", plugin="buildkit").candidates
    assert "ls" in ask("history", "", plugin="buildkit").candidates


def test_flags_of_a_command_of_buildkit_are_its_own(ask: Ask) -> None:
    assert list(ask("imagetools", "create", "--pr", plugin="buildkit").candidates) == ["--prefer-index", "--progress"]
    assert list(ask("ls", "-o", "", plugin="buildkit").candidates) == ["wide", "name", "json", "yaml"]
    assert list(ask("build", "-o", "type=l", plugin="buildkit").candidates) == ["type=local,"]


def test_contexts_of_the_kubeconfig_are_named(ask: Ask, tmp_path: Path) -> None:
    names = [{"name": name, "context": {"cluster": "c"}} for name in ("two", "one")]
    document = {"current-context": "one", "contexts": names, "clusters": [{"name": "c", "cluster": {}}]}
    (tmp_path / "kubeconfig").write_text(json.dumps(document))
    assert ask("--context", "").candidates == {"one": "the current one", "two": ""}
    assert ask("--cluster=").candidates == {"c": ""}
    (tmp_path / "other").write_text(json.dumps({"contexts": names[:1]}))
    assert ask("--kubeconfig", "other", "--context", "").candidates == {"two": ""}


def test_kubeconfig_that_is_malformed_has_no_candidates(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("contexts: [")
    assert ask("--context", "") == Answer({})


def test_lines_hold_no_control_characters() -> None:
    assert Answer({"a\x1b[0m\n": "b\tc"}, NO_FILES).lines() == ["a[0m\tbc", ":4"]


def _grown(ask: Ask, flag: str) -> list[str]:
    """Every value of `flag` that completion alone can make with one key behind the type."""
    found = []
    for kind in ask(flag, "").candidates:
        for key in ask(flag, kind).candidates if kind.endswith(",") else (kind,):
            for value in ask(flag, key).candidates if key.endswith("=") else (key,):
                found.append(value)
            if key.endswith("=") and not ask(flag, key).candidates:
                found.append(f"{key}1")
    return found


def test_outputs_that_are_offered_are_understood(ask: Ask) -> None:
    grown = _grown(ask, "--output")
    assert len(grown) > 50
    for value in grown:
        kind = value.partition("type=")[2].partition(",")[0]
        parse_output(value if kind in ("registry", "image", "cacheonly") or "dest=" in value else f"{value},dest=x")


@pytest.mark.parametrize("flag", ["--cache-from", "--cache-to"])
def test_caches_that_are_offered_are_understood(ask: Ask, flag: str) -> None:
    place = {"registry": "ref=example.com/cache", "local": "src=x" if flag == "--cache-from" else "dest=x"}
    for value in _grown(ask, flag):
        needed = place.get(value.partition("type=")[2].partition(",")[0], "")
        parse_caches(flag, [value if not needed or needed.partition("=")[0] + "=" in value else f"{value},{needed}"])


def test_attestations_and_secrets_that_are_offered_are_understood(ask: Ask, tmp_path: Path) -> None:
    for value in _grown(ask, "--attest"):
        parse_attests([value], "", "")
    for value in ask("--secret", "id=a,type=").candidates:
        parse_secrets([f"{value},src=result.tar"], {"result.tar": "x"})


def test_flags_that_have_values_here_are_flags_of_the_commands(ask: Ask) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    known = {
        name for command in ("build", "create") for letter in letters for name in ask(command, f"--{letter}", plugin="buildkit").candidates
    }
    assert set(VALUES) <= known
