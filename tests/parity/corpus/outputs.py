"""Where results go and in which form."""

from __future__ import annotations

from tests.parity.case import Case, Kind

_DOCKERFILE = """\
FROM busybox
COPY --chmod=4750 a /set-uid
RUN mkdir -p /d && ln -s /set-uid /d/link && ln /set-uid /d/hard && chown 3:4 /d && mknod /d/pipe p
"""
_SMALL = "FROM scratch\nCOPY a dir /x/\nCOPY a /x/y/\n"
_FILES = {"a": "a\n", "dir/b": "b" * 5000}
_NAME = ("-t", "example.com/parity/output:1")
_BOTH = ("--platform", "linux/amd64,linux/s390x")


def _image(name: str, shows: str, more: str, dockerfile: str = _DOCKERFILE) -> Case:
    """An image with attributes of the exporter."""
    output = f"type=image,push=true,rewrite-timestamp=true,{more}"
    return Case(name=name, shows=shows, dockerfile=dockerfile, files=_FILES, args=("-t", "{name}", "-o", output))


def _files(name: str, shows: str, *args: str, dockerfile: str = _SMALL) -> Case:
    """Outputs on the client's machine."""
    return Case(name=name, shows=shows, dockerfile=dockerfile, files=_FILES, args=args, kind=Kind.OUTPUT)


CASES: tuple[Case, ...] = (
    _image("compression-zstd", "compression=zstd, forced, with a level", "compression=zstd,force-compression=true,compression-level=9"),
    _image("compression-estargz", "compression=estargz, forced", "compression=estargz,force-compression=true,oci-mediatypes=true"),
    _image("compression-none", "compression=uncompressed", "compression=uncompressed"),
    _image("docker-mediatypes", "oci-mediatypes=false", "oci-mediatypes=false"),
    _image("exporter-annotation", "annotations as attributes of an output, with commas", '"annotation.a=b,c",annotation-manifest.d=e'),
    _files("oci", "-o type=oci, an archive", *_NAME, "-o", "type=oci,dest={out}/image.tar,rewrite-timestamp=true", dockerfile=_DOCKERFILE),
    _files("oci-index", "-o type=oci of two platforms", *_NAME, *_BOTH, "-o", "type=oci,dest={out}/image.tar,rewrite-timestamp=true"),
    _files("oci-directory", "-o type=oci,tar=false", *_NAME, "-o", "type=oci,tar=false,dest={out}/layout,rewrite-timestamp=true"),
    _files("oci-stdout", "-o type=oci,dest=-", *_NAME, "-o", "type=oci,dest=-,rewrite-timestamp=true"),
    _files("docker", "-o type=docker, an archive", *_NAME, "-o", "type=docker,dest={out}/image.tar,rewrite-timestamp=true"),
    _files("local", "-o DIRECTORY", "-o", "{out}/files", dockerfile=_DOCKERFILE),
    _files("local-split", "-o type=local of two platforms", *_BOTH, "-o", "type=local,dest={out}/files"),
    _files(
        "local-joined",
        "-o type=local,platform-split=false of two platforms",
        *_BOTH,
        *("-o", "type=local,dest={out}/files,platform-split=false"),
        dockerfile="FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH/\n",
    ),
    _files("tar", "-o type=tar", "--output", "type=tar,dest={out}/files.tar", dockerfile=_DOCKERFILE),
    _files("tar-stdout", "-o -", "-o", "-"),
    _files("tar-split", "-o type=tar of two platforms", *_BOTH, "-o", "type=tar,dest={out}/files.tar"),
    _files("oci-default", "-o type=oci without dest, to stdout", *_NAME, "-o", "type=oci,rewrite-timestamp=true"),
    _files("cacheonly", "-o type=cacheonly: nothing", "-o", "type=cacheonly"),
    Case(
        name="several-outputs",
        shows="an image, an archive and a directory at once",
        dockerfile=_DOCKERFILE,
        files=_FILES,
        args=(
            *("-t", "{name}", "-o", "type=image,push=true,rewrite-timestamp=true", "-o", "type=local,dest={out}/files"),
            *("-o", "type=tar,dest={out}/files.tar"),
        ),
    ),
)
