"""Outputs that are OCI layout directories (tar=false): the store that a daemon writes to, and the name that the image gets in index.json.

Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kubectl_build.errors import UsageError
from kubectl_build.layout.index import image_name, put_entry, tag_name
from kubectl_build.layout.store import LayoutStore, check_place, unwritable
from kubectl_build.model.json import JsonObject
from kubectl_build.model.request import Output


def layout_output(outputs: Sequence[Output]) -> LayoutStore | None:
    """The directory of the one output that is a layout, which need not be there yet; None without such an output.

    Raises UsageError for a second one, since BuildKit does not say which of them it writes to, and for a directory that cannot be made.
    """
    paths = [output.dest for output in outputs if output.is_layout]
    if not paths:
        return None
    if len(paths) > 1:
        raise UsageError(
            "only one output of a build can be a directory with an OCI layout (tar=false)", hint="write the others as archives"
        )
    if paths[0] in (None, "-"):
        raise UsageError("an output with tar=false needs dest=DIRECTORY")
    path = Path(str(paths[0]))
    try:
        check_place(path)
    except OSError as exc:
        raise unwritable(path, exc) from exc
    return LayoutStore(path)


def record_layout(store: LayoutStore, descriptor: JsonObject, names: str) -> None:
    """Put the image that a daemon wrote to `store` in its index.json under each of `names` (with commas, as an exporter answers them), else
    as "latest" (moby/buildkit, client/solve.go). Raises UsageError."""
    put_entry(store.path, descriptor, [image_name(name) for name in names.split(",") if name] or [tag_name("latest")])
