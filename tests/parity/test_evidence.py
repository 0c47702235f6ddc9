"""The comparison sees what differs, and overlooks only what it says."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from tests.parity import coverage, evidence, volatile
from tests.parity.case import Case, Kind
from tests.parity.corpus.files import tar_bytes
from tests.parity.lines import flat, tar_lines


def _output(root: Path, name: str, text: str, mode: int = 0o644) -> evidence.Evidence:
    path = root / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    return evidence.of_output(root, b"", ())


def test_differences_of_equal_outputs_are_none(tmp_path: Path) -> None:
    assert evidence.differences(_output(tmp_path / "one", "f", "x"), _output(tmp_path / "two", "f", "x")) == []


def test_differences_name_the_file_whose_mode_or_text_differs(tmp_path: Path) -> None:
    first = _output(tmp_path / "one", "f", "x")

    assert "-rw-r--r--" in evidence.differences(first, _output(tmp_path / "two", "f", "x", 0o600))[0]
    assert evidence.differences(first, _output(tmp_path / "three", "f", "y"))[0].startswith("f: ")


def test_differences_of_an_archive_name_its_member(tmp_path: Path) -> None:
    for name, text in (("one", "x"), ("two", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.tar").write_bytes(tar_bytes({"inside": text}))

    found = evidence.differences(evidence.of_output(tmp_path / "one", b"", ()), evidence.of_output(tmp_path / "two", b"", ()))

    assert [line.split(": ")[0] for line in found] == ["image.tar", "image.tar inside"]


def test_printed_words_differ_but_for_the_tools_own(tmp_path: Path) -> None:
    one = evidence.of_output(tmp_path, b"made reg/one:1\n", ("reg/one",))

    assert one == evidence.of_output(tmp_path, b"made reg/two:1\n", ("reg/two",))
    assert evidence.differences(one, evidence.of_output(tmp_path, b"made reg/two:2\n", ("reg/two",)))


def test_evidence_beside_another_differs_when_either_does(tmp_path: Path) -> None:
    image = evidence.of_lines({"a": "1"})
    one, other = (evidence.of_output(tmp_path, printed, ()) for printed in (b"one", b"other"))

    assert image.beside(one) == evidence.of_lines({"a": "1"}).beside(one)
    assert image.beside(one) != image.beside(other)
    assert image.beside(one) != evidence.of_lines({"a": "2"}).beside(one)


def test_hardlink_and_copy_differ(tmp_path: Path) -> None:
    linked, copied = tmp_path / "linked", tmp_path / "copied"
    for root in (linked, copied):
        _output(root, "a", "x")
    os.link(linked / "a", linked / "b")
    (copied / "b").write_text("x")

    assert evidence.differences(evidence.of_output(linked, b"", ()), evidence.of_output(copied, b"", ()))[0].startswith("b: ")


def test_timeless_overlooks_creation_times_and_nothing_else() -> None:
    def lines(created: str, layer: int, size: int) -> dict[str, str]:
        cache = base64.b64encode(json.dumps({"layers": [{"layer": layer, "createdAt": created}]}).encode()).decode()
        return {
            "image config.moby.buildkit.cache.v0": json.dumps(cache),
            "image layer 1 Files": f"5 {size} {{'LIBARCHIVE.creationtime': '{created}', 'MSWINDOWS.fileattr': '16'}}",
            "image.config.digest": created,
        }

    assert volatile.timeless(lines("1.5", 1, 0)) == volatile.timeless(lines("2.5", 1, 0))
    assert volatile.timeless(lines("1.5", 1, 0)) != volatile.timeless(lines("1.5", 2, 0))
    assert volatile.timeless(lines("1.5", 1, 0)) != volatile.timeless(lines("1.5", 1, 3))


def test_statements_differ_in_arguments_and_not_in_times_or_names() -> None:
    def statement(started: str, tool: str, argument: str) -> dict[str, str]:
        document = {"subject": f"pkg:docker/parity/{tool}/case@{started}", "metadata": {"startedOn": started}, "args": {"A": argument}}
        return volatile.unnamed(flat("s", volatile.without(document)))

    assert statement("1", "buildx", "x") == statement("2", "kubectl", "x")
    assert statement("1", "buildx", "x") != statement("1", "buildx", "y")


def test_flags_of_the_usage_are_found_in_cases_in_either_form() -> None:
    usage = "Flags:\n  -f, --file string   Name\n      --pull              Always\n      --load   No\n  -q, --quiet  Less\n"
    cases = [Case(name="short", shows="", args=("-f", "x"), kind=Kind.OUTPUT), Case(name="long", shows="", args=("--file=x", "--pull"))]

    assert coverage.flags(usage, cases) == {"--file": ["short", "long"], "--pull": ["long"], "--quiet": []}


def test_tar_lines_tell_two_members_apart_by_their_contents() -> None:
    one, other = (tar_lines(tar_bytes({"f": text}), "t") for text in ("a", "b"))

    assert one.keys() == other.keys() == {"t f"}
    assert one != other
