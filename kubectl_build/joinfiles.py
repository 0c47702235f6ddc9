"""File outputs of a build over several pools, joined into what one daemon would have written: one archive, one layout, one tar.

Each pool sends its share as an archive into a private temporary directory. When all have come they are joined; until then, and when
anything fails, nothing of the output is to be seen. docs/decisions/0006-files-of-several-pools.md has the reasons.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Final

from kubectl_build.buildkit.response import DESCRIPTOR, encode_descriptor, parse_descriptor
from kubectl_build.errors import ProtocolError, UsageError
from kubectl_build.fsutil.receive import remove_others
from kubectl_build.layout.archive import ArchiveReader, Blob, archive
from kubectl_build.layout.cache import children
from kubectl_build.layout.index import IMAGE_NAME, REF_NAME, EntryName, image_name, named_entries, new_index, put_entry, tag_name
from kubectl_build.layout.store import LayoutStore, unwritable
from kubectl_build.layout.trees import joined_trees
from kubectl_build.model.digest import IMAGE_TYPES, INDEX_TYPES
from kubectl_build.model.gojson import marshal
from kubectl_build.model.json import JsonObject
from kubectl_build.model.platform import Platform
from kubectl_build.model.request import BuildRequest, Output, OutputType
from kubectl_build.registry.index import Child, IndexDocument, merge_index
from kubectl_build.session.filesend import DirTarget, ExportTarget, FileTarget
from kubectl_build.session.outputfile import OutputFile
from kubectl_build.session.threads import drive, in_thread
from kubectl_build.values import dataclass

_STDOUT: Final = 1
_CREATED: Final = "org.opencontainers.image.created"
_OF_THE_ENTRY: Final = (IMAGE_NAME, REF_NAME, _CREATED)


def pool_request(request: BuildRequest) -> BuildRequest:
    """`request` as each of several pools is to be asked: an OCI layout is sent as an archive, which tells exporters apart and needs no
    answer for each megabyte. The exporters keep their numbers. Raises UsageError for an output that only one pool can write."""
    for output in request.exported:
        if output.type is OutputType.DOCKER:
            raise UsageError(
                "output type docker holds one platform, and this build makes several",
                hint="use type=oci for all platforms in one file, or name one platform",
            )
    return replace(request, outputs=tuple(_as_archive(output) if output.is_layout else output for output in request.outputs))


def _as_archive(output: Output) -> Output:
    return replace(output, attrs={name: value for name, value in output.attrs.items() if name != "tar"})


class JoinedFiles:
    """The outputs of one build over `pools`, by the exporter's number. Made by `joined_files`."""

    def __init__(self, outputs: Sequence[Output], pools: Sequence[str], folders: Mapping[int, Path]) -> None:
        self._outputs = outputs
        self._pools = tuple(pools)
        self._folders = folders
        self._seen: dict[int, set[str]] = {}
        self._building = set(pools)
        self._all_built = asyncio.Event()

    def targets(self, pool: str) -> dict[int, ExportTarget]:
        """Where `pool` is to send its share: for its FileSend, anew for each try."""
        found: dict[int, ExportTarget] = {}
        for number, output in enumerate(self._outputs):
            if number in self._folders:
                shown = f'the parts of output "{output.dest}" in "{self._folders[number].parent}"'
                found[number] = FileTarget(self._part(number, pool), shown=shown)
            elif output.type is OutputType.LOCAL and output.dest is not None:
                seen = self._seen.setdefault(number, set()) if output.mirrors else None
                found[number] = DirTarget(output.dest, mirror=output.mirrors, seen=seen, ready=partial(self._built, pool))
        return found

    async def _built(self, pool: str) -> None:
        """Note that `pool` has built, since it begins to send, and wait until all have. When one fails, its group cancels the others.

        Until then a directory is not touched: it may be in the context that another pool is still reading, and that pool may fail.
        """
        self._building.discard(pool)
        if not self._building:
            self._all_built.set()
        await self._all_built.wait()

    async def finish(self, platforms: Sequence[Platform]) -> dict[int, IndexDocument]:
        """Write every output, when all pools have sent their shares; return the index of each that is an image.

        `platforms` are the build's, in the order in which they were asked for. Each output appears whole or not at all. Raises
        ProtocolError when a share is missing or is not what was asked for, UsageError when an output cannot be written.
        """
        made: dict[int, IndexDocument] = {}
        for number, output in enumerate(self._outputs):
            if number in self._folders:
                parts = [self._part(number, pool) for pool in self._pools]
                missing = [pool for pool, part in zip(self._pools, parts, strict=True) if not part.exists()]
                if missing:
                    raise ProtocolError(f"the builder for {missing[0]} sent nothing for the output {output.dest}")
                if output.type is OutputType.TAR:
                    await drive(_write(joined_trees(parts), _dest(output)))
                else:
                    image = await in_thread(_join, parts, platforms)
                    await drive(_write_layout(image, Path(str(output.dest))) if output.is_layout else _write_archive(image, _dest(output)))
                    made[number] = image.document
            elif number in self._seen:
                await in_thread(remove_others, str(output.dest), self._seen[number])
        return made

    def _part(self, number: int, pool: str) -> Path:
        return self._folders[number] / f"{self._pools.index(pool)}.tar"


@asynccontextmanager
async def joined_files(outputs: Sequence[Output], pools: Sequence[str], *, read: Iterable[Path] = ()) -> AsyncIterator[JoinedFiles]:
    """Get places for the shares of `pools` in `outputs` (a request's `exported`), which are gone afterwards. Raises UsageError.

    No share is put into a directory of `read`: what the build reads there is still being sent to some pools when others have built.
    """
    folders: dict[int, Path] = {}
    try:
        for number, output in enumerate(outputs):
            if output.dest is not None and output.type in (OutputType.TAR, OutputType.OCI):
                folders[number] = _folder(output.dest, [os.path.realpath(path) for path in read])
        yield JoinedFiles(outputs, pools, folders)
    finally:
        for folder in folders.values():
            await in_thread(shutil.rmtree, folder, ignore_errors=True)


def _folder(dest: str, read: Sequence[str]) -> Path:
    """A private directory for an output's shares: beside it, where there is room for it, else one for temporary files."""
    path = os.path.realpath(dest)
    parent = os.path.dirname(path)
    try:
        special = dest == "-" or (os.path.exists(dest) and stat.S_IFMT(os.stat(dest).st_mode) not in (stat.S_IFREG, stat.S_IFDIR))
        if special or any(os.path.commonpath([parent, directory]) == directory for directory in read):
            parent = tempfile.gettempdir()
        else:
            os.makedirs(parent, mode=0o755, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".kubectl-build-", dir=parent))
    except OSError as exc:
        raise unwritable(Path(dest), exc) from exc


def _dest(output: Output) -> str | int:
    return _STDOUT if output.dest in ("-", None) else str(output.dest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """An image made of several archives: its index, the descriptor of that with its annotations, its names, and all blobs."""

    document: IndexDocument
    descriptor: JsonObject
    names: tuple[EntryName, ...]
    blobs: Mapping[str, Blob] = field(repr=False)


def _join(parts: Sequence[Path], platforms: Sequence[Platform]) -> _Image:
    readers = [ArchiveReader(part) for part in parts]
    document = merge_index(platforms, [_child(reader) for reader in readers])
    descriptor: JsonObject = {"mediaType": document.media_type, "digest": document.digest, "size": len(document.data)}
    annotations: dict[str, str] = {}
    for reader in readers:
        found = reader.entries[0].get("annotations") or {}
        created = max(annotations.get(_CREATED, ""), found.get(_CREATED, ""))
        if _is_index(reader.entries[0]):
            annotations.update(found)
        annotations.update({_CREATED: created} if created else {})
    descriptor["annotations"] = {name: value for name, value in annotations.items() if name not in (IMAGE_NAME, REF_NAME)}
    named = [(entry.get("annotations") or {}).get(IMAGE_NAME) for entry in readers[0].entries]
    return _Image(
        document=document,
        descriptor=descriptor,
        names=tuple(image_name(name) for name in named if name),
        blobs=_collect(document, readers),
    )


def _child(reader: ArchiveReader) -> Child:
    entry = reader.entries[0]
    annotations = {name: value for name, value in (entry.get("annotations") or {}).items() if name not in _OF_THE_ENTRY}
    raw = {**entry, "annotations": annotations}
    index = reader.document(entry["digest"]) if _is_index(entry) else None
    return Child(descriptor=parse_descriptor({DESCRIPTOR: encode_descriptor(raw)}), raw_descriptor=raw, index=index)


def _is_index(descriptor: JsonObject) -> bool:
    return descriptor.get("mediaType") in INDEX_TYPES


def _collect(document: IndexDocument, readers: Sequence[ArchiveReader]) -> dict[str, Blob]:
    """Everything that the index leads to. What a pool sent beside it, its own index, is left out."""
    found = {document.digest: Blob(size=len(document.data), chunks=lambda: (document.data,))}
    pending = children(document.data, document.digest)
    while pending:
        descriptor = pending.pop()
        digest = str(descriptor.get("digest"))
        if digest in found:
            continue
        reader = next((reader for reader in readers if digest in reader.blobs), None)
        if reader is None or reader.blobs[digest].size != descriptor.get("size"):
            raise ProtocolError(f"the builders' archives do not have {digest}, which their image needs")
        found[digest] = reader.blobs[digest]
        if descriptor.get("mediaType") in (*INDEX_TYPES, *IMAGE_TYPES):
            pending += children(reader.document(digest), digest)
    return found


def _write_archive(image: _Image, dest: str | int) -> Generator[None, None, None]:
    index = marshal(new_index(named_entries(image.descriptor, image.names)))
    return _write(archive(index, image.blobs), dest)


def _write(pieces: Iterable[bytes], dest: str | int) -> Generator[None, None, None]:
    output = OutputFile(dest)
    try:
        yield from output.open()
        for piece in pieces:
            yield from output.write([piece])
            yield
        output.commit()
    finally:
        output.close()


def _write_layout(image: _Image, dest: Path) -> Generator[None, None, None]:
    """Add `image` to the layout at `dest` under its names, else as "latest". Blobs that are new are removed again when that fails."""
    store = LayoutStore(dest)
    new: list[str] = []
    made = not dest.exists()
    try:
        for digest, blob in image.blobs.items():
            if (found := store.info(digest)) is not None and found.size == blob.size:
                store.touch(digest)
                continue
            writer = store.writer(digest)
            try:
                writer.open()
                for chunk in blob.chunks():
                    writer.write(chunk)
                    yield
                if writer.commit(blob.size, digest):
                    new.append(digest)
            finally:
                writer.close()
        put_entry(dest, image.descriptor, image.names or (tag_name("latest"),))
    except BaseException:
        for digest in new:
            store.delete(digest)
        if made:
            shutil.rmtree(dest, ignore_errors=True)
        raise
