"""What is said to a shell: candidates, and what it shall do with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import IntFlag

from kubectl_build.values import dataclass


class Directive(IntFlag):
    """Numbers of cobra's ShellCompDirective. FILES: where nothing fits, the shell completes the names of files."""

    FILES = 0
    NO_SPACE = 2
    NO_FILES = 4
    DIRECTORIES = 16
    KEEP_ORDER = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """Candidates with their descriptions."""

    candidates: Mapping[str, str]
    directive: Directive = Directive.NO_FILES

    def starting_with(self, typed: str) -> Answer:
        """The candidates that go on from what is typed."""
        return replace(self, candidates={word: text for word, text in self.candidates.items() if word.startswith(typed)})

    def lines(self) -> list[str]:
        """The answer as kubectl reads it. What a candidate or description has besides printable text is left out."""
        shown = [f"{_printable(word)}\t{_printable(text)}" if text else _printable(word) for word, text in self.candidates.items()]
        return [*shown, f":{int(self.directive)}"]


NOTHING = Answer({})
ANY_FILE = Answer({}, Directive.FILES)
ANY_DIRECTORY = Answer({}, Directive.DIRECTORIES)


def choices(words: Iterable[str] | Mapping[str, str], typed: str) -> Answer:
    """One of `words`."""
    found = words if isinstance(words, Mapping) else dict.fromkeys(words, "")
    return Answer(found).starting_with(typed)


def one_more(words: Mapping[str, str], typed: str, *, ordered: bool = False) -> Answer:
    """One more of `words` for a list with commas, of which those before the last comma are there already."""
    before, comma, _ = typed.rpartition(",")
    there = before.split(",") if comma else []
    found = {f"{before}{comma}{word}": text for word, text in words.items() if word not in there}
    order = Directive.KEEP_ORDER if ordered else Directive.FILES
    return Answer(found, Directive.NO_FILES | Directive.NO_SPACE | order).starting_with(typed)


def paths(typed: str, before: str = "", *, directories: bool = False) -> Answer:
    """Files for a path inside of a word, where the shell itself cannot help: `before` is what the word has in front of it."""
    import os

    folder, name = os.path.split(typed)
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return NOTHING
    found: list[str] = []
    for entry in entries:
        hidden = entry.name.startswith(".") and not name.startswith(".")
        if entry.name.startswith(name) and not hidden and (entry.is_dir() or not directories):
            found.append(before + os.path.join(folder, entry.name) + ("/" if entry.is_dir() else ""))
    return Answer(dict.fromkeys(found, ""), Directive.NO_FILES | Directive.NO_SPACE)


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
