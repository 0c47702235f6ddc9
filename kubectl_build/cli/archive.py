"""A build context on stdin: what it is, and a copy of it in a file, so that it can be sent more than once.

stdin is read by `read1`, one system call at a time: `read` makes several, and a signal between two of them would wait for more input.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from kubectl_build.errors import UsageError, system_words
from kubectl_build.model.inputs import ArchiveContext

_HEAD = 1024
"""How many bytes tell an archive: two blocks of a tar."""
_CHUNK = 1024 * 1024
_ZSTD = b"\x28\xb5\x2f\xfd"
_TYPE = 156
"""Where in a header its type is."""
_EXTENDED = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_COMPRESSED = (b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\x00", _ZSTD)


def read_head(stream: io.BufferedIOBase) -> bytes:
    """Read what `is_archive` looks at: fewer bytes than that only when the stream has no more."""
    head = b""
    while len(head) < _HEAD and (chunk := stream.read1(_HEAD - len(head))):
        head += chunk
    return head


def is_archive(head: bytes) -> bool:
    """Whether data that begins so is a tar, as it is or compressed, rather than a Dockerfile."""
    if head.startswith(_COMPRESSED):
        return True
    block = head[: tarfile.BLOCKSIZE]
    if block == tarfile.NUL * tarfile.BLOCKSIZE:
        return True  # an empty tar
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def spool(head: bytes, stream: io.BufferedIOBase, file: Path) -> str:
    """Copy `head` and the rest of `stream` to the new file `file`. Returns the digest of all bytes. Raises UsageError.

    At most a MiB is held in memory at a time.
    """
    digest = hashlib.sha256()
    try:
        with open(file, "xb") as out:
            chunk = head
            while chunk:
                digest.update(chunk)
                out.write(chunk)
                chunk = stream.read1(_CHUNK)
    except OSError as error:
        raise UsageError(
            f'stdin cannot be kept in "{file.parent}": {system_words(error)}', hint="TMPDIR names another directory"
        ) from error
    return digest.hexdigest()


def spool_archive(head: bytes, stream: io.BufferedIOBase, directory: Path) -> ArchiveContext:
    """Copy an archive to a file in `directory`. One that zstd compressed is unpacked, since BuildKit does not know it there.

    Raises UsageError, also when there is no program zstd.
    """
    file = directory / "context.tar"
    if not head.startswith(_ZSTD):
        return _spool_tar(head, stream, file)
    program = shutil.which("zstd")
    if program is None:
        raise UsageError("the context on stdin is compressed with zstd, and there is no program zstd here", hint="compress it with gzip")
    packed = directory / "context.tar.zst"
    spool(head, stream, packed)
    with subprocess.Popen([program, "-dcq", packed], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert isinstance(process.stdout, io.BufferedIOBase)
        context = _spool_tar(read_head(process.stdout), process.stdout, file)
    packed.unlink()
    if process.returncode:
        raise UsageError(f"the context on stdin cannot be unpacked: zstd ended with {process.returncode}")
    return context


def _spool_tar(head: bytes, stream: io.BufferedIOBase, file: Path) -> ArchiveContext:
    """Copy an archive that BuildKit unpacks.

    BuildKit's frontend takes it for one only if the first entry's headers end within a KiB (frontend/dockerui/context.go, isArchive). One
    that begins with an extended header, as `tar --format=pax` and Python write it, or that is empty, gets a header before it that says
    nothing.
    """
    if head[_TYPE : _TYPE + 1] in _EXTENDED or head.startswith(tarfile.NUL):
        head = tarfile.TarInfo.create_pax_global_header({"comment": "build context"}) + head
    return ArchiveContext(file=file, id=spool(head, stream, file))
