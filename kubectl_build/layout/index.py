"""index.json of an OCI layout directory: found by name, changed under a lock and replaced as a whole.

The lock is that of BuildKit's own clients (moby/buildkit, client/ociindex): flock on index.json.lock, which is removed afterwards. So they
and we may write to one directory at the same time. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from kubectl_build.deadlines import deadlines
from kubectl_build.errors import UsageError
from kubectl_build.layout.filelock import try_lock
from kubectl_build.layout.store import unreadable, unwritable
from kubectl_build.model.digest import MEDIA_TYPE_INDEX
from kubectl_build.model.gojson import marshal, ordered_descriptor
from kubectl_build.model.json import JsonObject, parse_json
from kubectl_build.values import dataclass

IMAGE_NAME: Final = "io.containerd.image.name"
REF_NAME: Final = "org.opencontainers.image.ref.name"
INDEX_FILE: Final = "index.json"
LAYOUT_FILE: Final = "oci-layout"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'

_LOCK_RETRY = 0.02
_NO_LOCKS = (errno.EPERM, errno.EACCES, errno.EROFS)


@dataclass(frozen=True, slots=True)
class EntryName:
    """What an entry of index.json is called: `image` is the full name, empty for a mere tag; `ref` is the tag."""

    image: str
    ref: str

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations that say it."""
        return {**({IMAGE_NAME: self.image} if self.image else {}), REF_NAME: self.ref}


def tag_name(tag: str) -> EntryName:
    """The name of what is known by a tag alone."""
    return EntryName("", tag)


def image_name(name: str) -> EntryName:
    """The name of an image; the tag is what follows its repository (containerd, reference.Parse)."""
    host, slash, path = name.partition("/")
    found = re.search("[:@]", path)
    if not host or not slash:
        return EntryName(name, name)
    return EntryName(name, path[found.start() :].removeprefix(":") if found else "")


def read_index(path: Path) -> JsonObject:
    """Read the index.json of the layout at `path`. Raises UsageError that says why it cannot be read."""
    try:
        with _locked(path, exclusive=False):
            data = (path / INDEX_FILE).read_bytes()
    except OSError as exc:
        raise unreadable(path / INDEX_FILE, exc) from exc
    return _parse(path, data)


def find_entry(index: JsonObject, tag: str) -> JsonObject | None:
    """The descriptor that `index` has for `tag`, which may be a full image name too; None when there is none."""
    for annotation in (IMAGE_NAME, REF_NAME):
        for entry in index["manifests"]:
            if (entry.get("annotations") or {}).get(annotation) == tag:
                return dict(entry)
    return None


def put_entry(path: Path, descriptor: JsonObject, names: Sequence[EntryName]) -> None:
    """Add `descriptor` under each of `names`, in place of what had the name before, and make the directory a layout.

    Without a name it is added without one. Raises UsageError.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path, exclusive=True):
            if not (path / LAYOUT_FILE).exists():
                _replace(path / LAYOUT_FILE, LAYOUT)
            try:
                index = _parse(path, (path / INDEX_FILE).read_bytes())
            except FileNotFoundError:
                index = new_index(())
            _replace(path / INDEX_FILE, marshal(_with_entry(index, descriptor, names)))
    except OSError as exc:
        raise unwritable(path / INDEX_FILE, exc) from exc


def new_index(entries: Sequence[JsonObject]) -> JsonObject:
    """An index.json with `entries`."""
    return {"schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": [ordered_descriptor(entry) for entry in entries]}


def named_entries(descriptor: JsonObject, names: Sequence[EntryName]) -> list[JsonObject]:
    """`descriptor` once for each of `names`, or as it is when there is none."""
    annotations = descriptor.get("annotations") or {}
    return [{**descriptor, "annotations": {**annotations, **name.annotations}} for name in names] or [descriptor]


def _with_entry(index: JsonObject, descriptor: JsonObject, names: Sequence[EntryName]) -> JsonObject:
    taken = {(name.image, name.ref) for name in names}
    kept = [entry for entry in index["manifests"] if _name(entry) not in taken]
    return {**index, "manifests": [*kept, *map(ordered_descriptor, named_entries(descriptor, names))]}


def _name(entry: JsonObject) -> tuple[str, str]:
    annotations = entry.get("annotations") or {}
    return annotations.get(IMAGE_NAME, ""), annotations.get(REF_NAME, "")


def _parse(path: Path, data: bytes) -> JsonObject:
    """Check what a file has. An empty one is a new index, as for BuildKit's clients."""
    try:
        index = parse_json(data) if data else {}
        entries = index.get("manifests") or []
        if isinstance(entries, list) and all(isinstance(entry.get("annotations") or {}, dict) for entry in entries):
            return {**new_index(()), **index, "manifests": entries}
    except (ValueError, AttributeError):
        pass
    raise UsageError(f'"{path / INDEX_FILE}" is not the index of an OCI layout')


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock of the layout at `path`; a reader goes without where it may not make the file. Raises OSError, UsageError."""
    lock = path / f"{INDEX_FILE}.lock"
    deadline = time.monotonic() + deadlines().lock
    while (descriptor := _try_lock(lock, exclusive=exclusive)) is None:
        if time.monotonic() > deadline:
            raise UsageError(f'"{lock}" has been held by another program for {deadlines().lock:g} s', hint=f'remove "{lock}" if none runs')
        time.sleep(_LOCK_RETRY)
    try:
        yield
    finally:
        if descriptor >= 0:
            if exclusive:
                with contextlib.suppress(PermissionError):  # Windows removes no file that is open: the next who writes finds it there
                    lock.unlink(missing_ok=True)
            os.close(descriptor)


def _try_lock(lock: Path, *, exclusive: bool) -> int | None:
    """The descriptor of the locked file, None when somebody else has it, -1 where a reader can have none."""
    try:
        descriptor = os.open(lock, os.O_RDWR | (os.O_CREAT if exclusive else 0) | getattr(os, "O_CLOEXEC", 0), 0o666)
    except FileNotFoundError:
        if exclusive:
            raise
        return -1  # nobody is writing, and reading is to leave nothing in the directory
    except OSError as exc:
        if exclusive or exc.errno not in _NO_LOCKS:
            raise
        return -1
    try:
        if try_lock(descriptor, exclusive=exclusive) and os.path.samestat(os.fstat(descriptor), os.stat(lock)):
            return descriptor
    except FileNotFoundError:
        pass  # removed by whoever held it
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
