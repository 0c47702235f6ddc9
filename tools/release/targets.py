"""The systems that archives are made for, and where the machine that makes them runs a program itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`os` and `arch` are Go's words, which krew has too; `wheels` are pip's platforms whose wheels run there, the best last."""

    os: str
    arch: str
    wheels: tuple[str, ...] = ()
    standalone: bool = False

    @property
    def archive(self) -> str:
        """The archive's file name, without the version: zip is what Windows opens."""
        return f"kubectl-buildkit-{self.os}-{self.arch}" + (".zip" if self.os == "windows" else ".tar.gz")

    @property
    def executable(self) -> str:
        """The file that krew links: on Windows it must be a program."""
        return "kubectl-buildkit.exe" if self.os == "windows" else "kubectl-buildkit"


TARGETS = (
    Target(os="linux", arch="amd64", standalone=True),
    Target(os="linux", arch="arm64", wheels=("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64")),
    Target(
        os="darwin", arch="amd64", wheels=("macosx_10_9_x86_64", "macosx_10_9_universal2", "macosx_11_0_universal2", "macosx_12_0_x86_64")
    ),
    Target(
        os="darwin", arch="arm64", wheels=("macosx_10_9_universal2", "macosx_11_0_arm64", "macosx_11_0_universal2", "macosx_12_0_arm64")
    ),
    Target(os="windows", arch="amd64", wheels=("win_amd64",)),
)
