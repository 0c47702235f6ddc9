"""The page as bytes: whole, self-contained, and safe whatever a build says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.model.events import Note
from kubectl_build.model.observed import StepOrigin
from kubectl_build.report.advice import advice
from kubectl_build.report.collect import Collector
from kubectl_build.report.facts import Heading
from kubectl_build.report.page import data_text, render_page
from tests.unit.report.builds import T0, begun, large_build, ran, said, whole_build

HEADING = Heading(title="reg.example/app:1", status="completed", command=("kubectl", "build", "."), facts={"Builder": "buildkit"})
HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>&\"'\u2028"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of scripts and styles."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[tuple[str, str]] = []
        self._inside = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            self.contents.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            tag, text = self.contents[-1]
            self.contents[-1] = (tag, text + data)

    @property
    def data(self) -> Any:
        return json.loads(self.contents[1][1])


def test_page_loads_nothing_and_lets_only_its_own_style_and_script_run() -> None:
    page = Elements(render_page(HEADING, whole_build().facts()))
    assert not [attrs for _, attrs in page.found if {"src", "srcset", "action"} & attrs.keys()]
    assert [attrs["href"] for _, attrs in page.found if "href" in attrs] == ["#timeline"]
    assert not [attrs for _, attrs in page.found if "style" in attrs or any(name.startswith("on") for name in attrs)]
    policy = next(attrs["content"] for tag, attrs in page.found if attrs.get("http-equiv") == "Content-Security-Policy")
    style, data, script = page.contents
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for kind, text in (style, script):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert data[0] == "script"
    assert "unsafe" not in policy


def test_page_hostile_words_stay_words() -> None:
    collector = Collector(live=False)
    collector.observe(begun(steps={"a": StepOrigin(spans=((0, 1, 1),), platforms=(HOSTILE,))}, text=HOSTILE))
    collector.event(Note(text=HOSTILE), T0)
    collector.event(ran("a", f"[1/1] RUN {HOSTILE}", 0, 1, error=HOSTILE), T0)
    collector.event(said("a", HOSTILE.encode()), T0)
    heading = Heading(title=HOSTILE, status=HOSTILE, error=HOSTILE, command=("kubectl", HOSTILE), facts={HOSTILE: HOSTILE})
    page = Elements(render_page(heading, collector.facts()))
    plain = Elements(render_page(HEADING, whole_build().facts()))
    assert [tag for tag, _ in page.found if tag in ("script", "img", "style")] == ["style", "script", "script"]
    assert page.contents[2] == plain.contents[2]
    assert page.data["steps"][0]["log"] == [HOSTILE]
    assert page.data["sources"][0]["lines"] == [HOSTILE]


@given(st.text())
def test_data_text_of_any_words_never_ends_its_element_and_is_the_same_json(text: str) -> None:
    written = data_text({"text": text})
    assert not re.search("[<>&\u2028\u2029]", written)
    assert json.loads(written) == {"text": text}


def test_page_of_a_name_that_is_no_text_is_still_utf_8() -> None:
    heading = Heading(title="a\udcffb", status="completed", command=("kubectl", "\udcff"))
    render_page(heading, whole_build().facts()).decode("utf-8")


def test_page_of_a_build_that_never_began_is_whole() -> None:
    heading = Heading(title="app", status="failed", error="error: no cluster")
    page = render_page(heading, Collector(live=True).facts(began=T0, ended=T0 + 1)).decode()
    assert "error: no cluster" in page
    assert page.rstrip().endswith("</html>")


def test_page_tells_time_state_and_lines_of_each_instruction() -> None:
    data = Elements(render_page(HEADING, whole_build().facts())).data
    marks = {(mark["first"], mark["last"]): mark for mark in data["sources"][0]["marks"]}
    assert sorted(marks) == [(1, 1), (2, 2), (3, 4), (5, 5)]
    assert (marks[3, 4]["seconds"], marks[3, 4]["emulated"], marks[3, 4]["state"]) == (40.0, True, "ran")
    assert len(marks[3, 4]["steps"]) == 2
    assert marks[1, 1]["state"] == "cached"


def test_page_of_five_thousand_steps_has_a_small_body() -> None:
    page = render_page(HEADING, large_build(5000)).decode()
    assert len(Elements(page.encode()).data["steps"]) == 5000
    body = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert len(body) < 100_000


def test_advice_names_emulation_and_the_step_that_all_wait_for() -> None:
    said_ = ["".join(sentence) for sentence in advice(whole_build().facts())]
    assert "1 step was emulated for linux/arm64 and took 40.0 s" in said_[0]
    assert "RUN make all" in said_[1]
