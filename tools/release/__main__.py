"""`python -m tools.release`: what is published with a version, or the context of the image for CI."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from kubectl_build import __version__
from tools.release.archives import sha256, write_archive
from tools.release.bundle import fetch_wheels, write_bundle
from tools.release.image import write_context
from tools.release.krew import PLUGIN, manifest
from tools.release.standalone import ReleaseError, build_standalone, run
from tools.release.targets import TARGETS, Target

_ROOT = Path(__file__).parents[2]
_HOME = "https://example.com/kubectl-build"
"""Where the project is published. Nowhere else is an address of it; it is set with the first release."""


def main() -> int:
    """Parse the command line and make what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("what", choices=("all", "image"), help="all: wheel, archives, krew's manifest; image: the build context for CI")
    parser.add_argument("directory", type=Path, help="where it goes")
    parser.add_argument("--address", default=_HOME, help="where the files will be: ADDRESS/vVERSION/FILE")
    parser.add_argument("--homepage", default=_HOME, help="the project's page, for krew")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="kubectl-build-release-") as work:
            if given.what == "image":
                write_context(build_standalone(Path(work)), given.directory)
            else:
                _all(given.directory, Path(work), given.address, given.homepage)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _all(directory: Path, work: Path, address: str, homepage: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    own = build_wheel(directory)
    archives: dict[Target, tuple[str, str]] = {}
    for target in TARGETS:
        folder = work / f"{target.os}-{target.arch}"
        if target.standalone:
            archive = pack_standalone(target, build_standalone(work), directory)
        else:
            fetch_wheels(target, folder / "wheels")
            archive = pack_bundle(target, folder / "wheels", own, folder / "plugin", directory)
        archives[target] = (f"{address}/v{__version__}/{archive.name}", sha256(archive))
        print(archive)
    (directory / f"{PLUGIN}.yaml").write_text(manifest(__version__, homepage, archives))


def build_wheel(directory: Path) -> Path:
    """Build the wheel and the source archive into `directory`; returns the wheel. Raises ReleaseError."""
    run([sys.executable, "-m", "build", "--no-isolation", f"--outdir={directory}", str(_ROOT)])
    return directory / f"kubectl_build-{__version__}-py3-none-any.whl"


def pack_standalone(target: Target, standalone: Path, directory: Path) -> Path:
    """Pack the stand-alone executable with the licence into `directory`; returns the archive."""
    with tempfile.TemporaryDirectory(prefix="kubectl-build-release-") as work:
        folder = Path(work, "plugin")
        shutil.copytree(standalone, folder)
        shutil.copy(_ROOT / "LICENSE", folder)
        return write_archive(folder, directory / target.archive)


def pack_bundle(target: Target, wheels: Path, own_wheel: Path, folder: Path, directory: Path) -> Path:
    """Pack the wheels with a launcher and the licence into `directory`, by way of `folder`; returns the archive."""
    write_bundle(target, wheels, own_wheel, folder)
    shutil.copy(_ROOT / "LICENSE", folder)
    return write_archive(folder, directory / target.archive)


if __name__ == "__main__":
    sys.exit(main())
