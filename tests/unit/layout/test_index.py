from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kubectl_build.errors import UsageError
from kubectl_build.layout.index import EntryName, find_entry, image_name, put_entry, read_index, tag_name
from kubectl_build.model.json import JsonObject

DESCRIPTOR = {"digest": "sha256:" + "a" * 64, "mediaType": "application/vnd.oci.image.index.v1+json", "size": 7}


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("docker.io/library/app:1", "1"),
        ("reg:5000/a/b:v2", "v2"),
        ("reg:5000/a/b", ""),
        ("reg/a:v@sha256:abc", "v@sha256:abc"),
        ("reg/a@sha256:abc", "@sha256:abc"),
        ("bare", "bare"),
    ],
)
def test_image_name_has_containerds_reference_name(name: str, ref: str) -> None:
    assert image_name(name) == EntryName(name, ref)


def test_entry_in_a_new_directory_has_the_bytes_that_buildx_writes(tmp_path: Path) -> None:
    put_entry(tmp_path / "new" / "layout", {**DESCRIPTOR, "annotations": {"z": "<", "a": "1"}}, [image_name("reg.invalid/app:1")])

    assert (tmp_path / "new" / "layout" / "index.json").read_text() == (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json",'
        f'"digest":"sha256:{"a" * 64}","size":7,"annotations":{{"a":"1","io.containerd.image.name":"reg.invalid/app:1",'
        '"org.opencontainers.image.ref.name":"1","z":"\\u003c"}}]}'
    )
    assert sorted(os.listdir(tmp_path / "new" / "layout")) == ["index.json", "oci-layout"]
    assert (tmp_path / "new" / "layout" / "oci-layout").read_text() == '{"imageLayoutVersion":"1.0.0"}'


def test_entry_replaces_the_one_of_its_name_and_no_other(tmp_path: Path) -> None:
    put_entry(tmp_path, {**DESCRIPTOR, "size": 1}, [tag_name("1"), image_name("reg/a:1"), image_name("reg/b:1")])
    put_entry(tmp_path, {**DESCRIPTOR, "size": 2}, [image_name("reg/a:1")])
    put_entry(tmp_path, {**DESCRIPTOR, "size": 3}, [])

    found = [(entry["size"], entry.get("annotations", {}).get("io.containerd.image.name")) for entry in read_index(tmp_path)["manifests"]]
    assert found == [(1, None), (1, "reg/b:1"), (2, "reg/a:1"), (3, None)]


def test_entry_is_found_by_image_name_before_tag(tmp_path: Path) -> None:
    put_entry(tmp_path, {**DESCRIPTOR, "size": 1}, [tag_name("app")])
    put_entry(tmp_path, {**DESCRIPTOR, "size": 2}, [EntryName("app", "1")])
    index = read_index(tmp_path)

    assert [(find_entry(index, name) or {}).get("size") for name in ("app", "1", "2")] == [2, 2, None]


def test_what_others_have_in_the_index_is_kept(tmp_path: Path) -> None:
    others: JsonObject = {
        "schemaVersion": 2,
        "manifests": [{"digest": "x", "size": 1, "mediaType": "m", "their": "own"}],
        "annotations": {"a": "b"},
    }
    (tmp_path / "index.json").write_text(json.dumps(others))

    put_entry(tmp_path, DESCRIPTOR, [tag_name("t")])

    index = read_index(tmp_path)
    assert index["annotations"] == {"a": "b"}
    assert index["manifests"][0] == others["manifests"][0]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"manifests": {"a": 1}}', '{"manifests": ["x"]}', '{"manifests": [{"annotations": "x"}]}', "\xff"]
)
def test_malformed_index_is_named_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_bytes(text.encode("latin-1"))

    for attempt in (lambda: put_entry(tmp_path, DESCRIPTOR, [tag_name("t")]), lambda: read_index(tmp_path)):
        with pytest.raises(UsageError, match="is not the index of an OCI layout"):
            attempt()
    assert (tmp_path / "index.json").read_bytes() == text.encode("latin-1")


def test_missing_layout_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'no/index.json" cannot be read: no such file'):
        read_index(tmp_path / "no")
    assert os.listdir(tmp_path) == []


def test_index_that_is_empty_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "index.json").touch()

    assert read_index(tmp_path)["manifests"] == []


def test_writers_in_several_processes_lose_no_entry(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from kubectl_build.layout.index import put_entry, tag_name\n"
        "for n in range(25):\n"
        "    put_entry(pathlib.Path(sys.argv[1]), {'mediaType': 'm', 'digest': 'd', 'size': n}, [tag_name(f'{sys.argv[2]}-{n}')])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)]) for number in range(3)]
    threads = [threading.Thread(target=put_entry, args=(tmp_path, DESCRIPTOR, [tag_name(f"thread-{n}")])) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(50) for process in processes] == [0, 0, 0]

    names = {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in read_index(tmp_path)["manifests"]}
    assert names == {f"{p}-{n}" for p in range(3) for n in range(25)} | {f"thread-{n}" for n in range(8)}
    assert sorted(os.listdir(tmp_path)) == ["index.json", "oci-layout"]


def test_lock_that_is_held_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_BUILD_DEADLINES", "lock=1ms")
    with (tmp_path / "index.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=r"index.json.lock\" has been held by another program") as caught:
            put_entry(tmp_path, DESCRIPTOR, [tag_name("t")])

    assert caught.value.hint is not None
    assert not (tmp_path / "index.json").exists()
