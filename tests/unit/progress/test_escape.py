from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.progress.escape import LogDecoder, clean, clean_line, last_overwrite


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text\twith a tab", "plain text\twith a tab"),
        ("\x1b[31;1mred\x1b[0m", "\x1b[31;1mred\x1b[0m"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b[?25lgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r\x1b\\text", "text"),
        ("\x1bctext", "text"),
        ("bell\x07", "bell\\x07"),
        ("a\x08b", "a\\x08b"),
        ("c1\x9b2J", "c1\\x9b2J"),
        ("alone \x1b", "alone \\x1b"),
        ("10%\r20%", "10%\r20%"),
        ("\x1b]0;never ended\nnext line", "\\x1b]0;never ended\nnext line"),
    ],
)
def test_clean_keeps_colours_and_drops_what_moves_the_terminal(text: str, expected: str) -> None:
    assert expected == clean(text)


def test_clean_line_makes_one_line_without_colours() -> None:
    assert clean_line("\x1b[31ma\nb\x1b[0m\tc\r") == "a b c"


@pytest.mark.parametrize(("line", "expected"), [("10%\r20%", "20%"), ("10%\r20%\r", "20%"), ("text\r", "text"), ("text", "text")])
def test_last_overwrite_is_what_a_terminal_shows(line: str, expected: str) -> None:
    assert expected == last_overwrite(line)


@given(st.lists(st.sampled_from(["a", "é", "日", "\n", "\r", "\x1b[31m", "\x1b[2J", "\x1b]0;t\x07", "\x1bP1\x1b\\", "\x07"])), st.data())
def test_decoder_cut_anywhere_gives_the_same_text(parts: list[str], data: st.DataObject) -> None:
    whole = "".join(parts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    decoder = LogDecoder()
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert clean("".join(parts)) == "".join(decoder.decode(piece) for piece in pieces)


def test_decoder_bytes_that_are_no_text_become_replacement_characters() -> None:
    assert LogDecoder().decode(b"a\xffb") == "a\ufffdb"


def test_decoder_endless_sequence_is_not_kept_for_ever() -> None:
    decoder = LogDecoder()
    text = decoder.decode(b"\x1b]" + b"x" * 10_000)

    assert text == "\\x1b]" + "x" * 10_000
