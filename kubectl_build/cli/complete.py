"""Completion: the programs kubectl_complete-build and kubectl_complete-buildkit, which kubectl runs when a shell asks for candidates.

Rules: kubectl's pkg/cmd/plugin_completion.go. The words behind the plugin's name are our arguments, the last one is still being typed. One
candidate a line, with its description behind a tab; the last line is what the shell shall do, a number of cobra's ShellCompDirective.
A shell waits for every keystroke here and its user sees whatever is on stderr: so this is quick, and silent when something is wrong.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from kubectl_build.cli.complete_candidates import Answer
from kubectl_build.cli.complete_cluster import BUILDER, OF_CLUSTER, about_builder, ask_cluster, awaited


def build_main() -> NoReturn:
    """Entry point of the completion of `kubectl build`."""
    _main("build")


def buildkit_main() -> NoReturn:
    """Entry point of the completion of `kubectl buildkit`."""
    _main("buildkit")


def complete(plugin: str, words: Sequence[str], environ: Mapping[str, str]) -> Answer:
    """The candidates for the last of `words`, which is empty where a new word begins."""
    flag, typed = (BUILDER, words[-1]) if about_builder(plugin, words) else awaited(words)
    if flag in OF_CLUSTER:  # before the commands are loaded, which takes as long as asking
        return ask_cluster(flag, typed, words, environ)
    from kubectl_build.cli.complete_line import read_line
    from kubectl_build.cli.complete_words import complete_line

    return complete_line(read_line(_command(plugin), words), words, environ)


def _command(plugin: str) -> object:
    import typer

    if plugin == "build":
        from kubectl_build.cli.build import app
    else:
        from kubectl_build.cli.buildkit import app
    return typer.main.get_command(app)


def _main(plugin: str) -> NoReturn:
    gc.disable()
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 2):  # the terminal in which somebody is typing
            os.dup2(nowhere, stream)
        lines = complete(plugin, sys.argv[1:] or [""], os.environ).lines()
        os.write(1, "".join(f"{line}\n" for line in lines).encode(errors="replace"))
    except BaseException:  # noqa: BLE001 - no answer is the only one that disturbs nobody
        pass
    os._exit(0)  # not sys.exit: a name server that does not answer would keep its thread, and the shell waiting
