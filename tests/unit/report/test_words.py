"""Names and numbers for people."""

from __future__ import annotations

import pytest

from kubectl_build.report.words import bytes_text, instruction, seconds_text, short_name


def test_short_name_cuts_each_digest_and_nothing_else() -> None:
    digest = "0123456789abcdef" * 4
    assert (
        short_name(f"FROM busybox@sha256:{digest} AS sha256:{digest[:20]}")
        == "FROM busybox@sha256:01234567… AS sha256:0123456789abcdef0123"
    )


@pytest.mark.parametrize(
    ("created_by", "shown"),
    [
        ("RUN /bin/sh -c make all # buildkit", "RUN make all"),
        ("RUN |2 TOKEN=a b MODE=c /bin/sh -c make # buildkit", "RUN make"),
        ("RUN /app/run --now # buildkit", "RUN /app/run --now"),
        ("COPY /out /out # buildkit", "COPY /out /out"),
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c #(nop) ADD file:1 in / ", "ADD file:1 in / "),
        ("debian.sh --arch amd64", "debian.sh --arch amd64"),
        ("", ""),
    ],
)
def test_instruction_is_what_stood_in_the_dockerfile(created_by: str, shown: str) -> None:
    assert instruction(created_by) == shown


def test_bytes_text_has_two_digits_or_more_and_never_a_thousand_of_a_unit() -> None:
    sizes = (0, 140, 999, 1000, 9949, 9950, 15_310_000, 999_499, 999_500, 45_870_000_000)
    shown = ["0 B", "140 B", "999 B", "1.0 kB", "9.9 kB", "10 kB", "15 MB", "999 kB", "1.0 MB", "46 GB"]
    assert [bytes_text(size) for size in sizes] == shown


def test_seconds_text_grows_with_the_time() -> None:
    assert [seconds_text(s) for s in (0.04, 12.34, 59.96, 125, 3725)] == ["0.0 s", "12.3 s", "1 min 0 s", "2 min 5 s", "1 h 2 min"]
