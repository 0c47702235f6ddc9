"""The flags of imagetools, refused before anything is asked of a registry, and templates."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.cli.buildkit import app
from kubectl_build.cli.go_template import render
from kubectl_build.cli.image_text import description
from kubectl_build.cli.main import run_app
from kubectl_build.errors import UsageError
from kubectl_build.model.digest import MEDIA_TYPE_INDEX
from kubectl_build.model.reference import parse_reference
from kubectl_build.registry.inspect import Inspected

DIGEST = "sha256:" + "a" * 64
DATA: dict[str, Any] = {
    "Name": "reg/app",
    "Image": {
        "os": "linux",
        "created_by": "me",
        "rootfs": {"diff_ids": ["a", "b"]},
        "config": {"Labels": {"x.y": "1"}, "ArgsEscaped": True},
    },
    "Platforms": {"linux/arm64": {"variant": "v8"}},
    "Size": 12,
    "Html": "<&>",
    "Nothing": None,
}


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["create", "-t", "reg/app"], 2, "there is no source"),
        (["create", "reg/app:1"], 2, "there is no tag to write the image to"),
        (["create", "-t", f"reg/app@{DIGEST}", "reg/app:1"], 2, "has a digest"),
        (["create", "--dry-run", "sha256:abc"], 2, "is not a digest"),
        (["create", "--dry-run", DIGEST], 2, "which repository"),
        (["create", "--dry-run", DIGEST, "reg/app:1", "reg/other:1"], 2, "there are several: docker.io/reg/app, docker.io/reg/other"),
        (["create", "--dry-run", "{"], 2, "descriptor is not valid JSON"),
        (["create", "--dry-run", '{"size": 1}'], 2, "descriptor has no digest"),
        (["create", "--dry-run", "oci-layout://dir"], 2, "is a directory"),
        (["create", "--dry-run", "Reg/App:1", "reg/App"], 2, "must be lower-case"),
        (["create", "--dry-run", "reg/app", "-f", "/nowhere/file"], 2, '"/nowhere/file" cannot be read'),
        (["create", "--dry-run", "reg/app", "-p", "linux/"], 2, "has an empty part"),
        (["create", "--dry-run", "reg/app", "--annotation", "a=b"], 2, "does not say of what"),
        (["create", "--dry-run", "reg/app", "--annotation", "x:a=b"], 2, "unknown annotation type"),
        (["create", "-t", "reg/app", "reg/app", "--metadata-file", "/nowhere/file"], 2, "--metadata-file"),
        (["create", "reg/app", "--progress=loud", "-t", "reg/app"], 2, "loud"),
        (["create", "--dry-run", "reg/app", "--ca", "/nowhere/file"], 3, '--ca "/nowhere/file" cannot be read'),
        (["inspect"], 2, "name"),
        (["inspect", "a", "b"], 2, "b"),
        (["inspect", "Reg/App"], 2, "is not valid"),
        (["inspect", "reg/app", "--raw", "-o", "json"], 2, "cannot be used together"),
        (["inspect", "reg/app", "--raw", "--format", "{{.Name}}"], 2, "cannot be used together"),
        (["inspect", "reg/app", "-o", "yaml"], 2, "yaml"),
    ],
)
def test_imagetools_with_bad_input_says_why_in_a_sentence(
    argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    assert run_app(app, "kubectl buildkit", ["imagetools", *argv]) == code

    captured = capsys.readouterr()
    assert captured.out == ""
    first = captured.err.splitlines()[0]
    assert first.startswith("error: ")
    assert words.lower() in first.lower()


@pytest.mark.parametrize("command", [[], ["inspect"], ["create"]])
def test_imagetools_help_is_on_stdout(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "kubectl buildkit", ["imagetools", *command, "--help"]) == 0

    assert "Usage: kubectl buildkit imagetools" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("{{.Name}} {{ .Size }}", "reg/app 12"),
        ("{{.Image.OS}} {{.Image.CreatedBy}} {{.Image.RootFS.DiffIDs}}", "linux me [a b]"),
        ("{{.Image.Config.ArgsEscaped}}{{.Image.Config.User}}|{{.Image.Config.Healthcheck}}", None),
        ("{{.Image.Config.ArgsEscaped}}{{.Image.Config.User}}", "true"),
        ('{{index .Image.config.Labels "x.y"}} {{index .Image.rootfs.diff_ids 1}}', "1 b"),
        ('{{(index .Platforms "linux/arm64").Variant}} {{index .Platforms `linux/arm64` "variant"}}', "v8 v8"),
        ("{{json .Html}} {{.Html}}", '"\\u003c\\u0026\\u003e" <&>'),
        ("{{.Image.rootfs.diff_ids | json}}", '[\n  "a",\n  "b"\n]'),
        ("{{len .Image.rootfs.diff_ids}} {{.Nothing}} {{json .Nothing}}", "2 <no value> null"),
        ("a {{- .Size -}} b", "a12b"),
    ],
)
def test_template_of_fields_is_rendered_as_go_does(template: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(UsageError, match='there is no field "Healthcheck"'):
            render(template, DATA)
        return
    assert render(template, DATA) == expected


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{range .X}}{{end}}", '"range" is not supported'),
        ("{{if .X}}", '"if" is not supported'),
        ("{{$x := 1}}", "is not understood"),
        ("{{.Name", "is not closed"),
        ("{{}}", "one value is expected"),
        ("{{(json .Name}}", "a parenthesis is not closed"),
        ("{{json .Name)}}", "is not expected there"),
        ("{{.Name .Size}}", "one value is expected"),
        ("{{.Size | .Name}}", "takes nothing from a pipe"),
        ("{{json}}", "does not take these values"),
        ("{{.Image}}", "it is not a plain value"),
        ("{{.Image.Nonsense}}", 'there is no field "Nonsense"'),
        ("{{.Name.First}}", 'there is no field "First"'),
        ('{{index .Platforms "linux/s390x"}}', 'there is no item "linux/s390x": there are linux/arm64'),
        ('{{index .Platforms "\\x"}}', "is not a string"),
    ],
)
def test_template_that_is_a_program_or_mistaken_is_refused(template: str, words: str) -> None:
    with pytest.raises(UsageError, match="--format") as caught:
        render(template, DATA)

    assert words in caught.value.message
    assert caught.value.hint is None or "json" in caught.value.hint


@given(st.text(alphabet='{}.| ()"`jsonIndex0-$', max_size=30))
def test_template_of_anything_is_rendered_or_refused(template: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(render(template, DATA), str)


def test_description_shows_no_escape_sequences_of_others() -> None:
    entry = {"mediaType": "x\x1b[2J", "digest": DIGEST, "platform": {"os": "a\nb"}, "annotations": {"k": "v\x1b]0;title\x07w", "l": 1}}
    inspected = Inspected(
        reference=parse_reference("reg/app"), media_type=MEDIA_TYPE_INDEX, digest=DIGEST, data=b"", document={"manifests": [entry]}
    )

    shown = description(inspected)

    assert "\x1b" not in shown
    assert "  Platform:    a b\n" in shown
    assert "    k: vw\n    l: 1\n" in shown


def test_template_json_of_everything_is_json() -> None:
    assert json.loads(render("{{json .}}", DATA)) == DATA
