"""A report in a real browser: drawn without complaints, usable with keys and by a screen reader, in both themes, at any size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubectl_build.model.observed import StepOrigin
from kubectl_build.report.collect import Collector
from kubectl_build.report.facts import BuildFacts, Heading
from kubectl_build.report.page import render_page
from tests.integration.browser import Page, open_page
from tests.unit.report.builds import T0, begun, large_build, ran, said, whole_build

pytestmark = pytest.mark.timeout(180)

HEADING = Heading(title="reg.example/app:1", status="completed", command=("kubectl", "build", "."), facts={"Builder": "buildkit"})
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1><!--"
ENTER, DOWN, TAB, ESCAPE, END, HOME = 13, 40, 9, 27, 35, 36


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with open_page(tmp_path / "profile") as opened:
        yield opened


def written(directory: Path, facts: BuildFacts, heading: Heading = HEADING) -> Path:
    file = directory / "report.html"
    file.write_bytes(render_page(heading, facts))
    return file


async def focus_timeline(page: Page) -> None:
    await page.ask("document.querySelector('#grid [tabindex=\"0\"]').focus()")


async def focused(page: Page) -> str:
    return str(await page.ask("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"))


async def test_report_is_drawn_without_a_complaint_and_asks_for_nothing(page: Page, tmp_path: Path) -> None:
    file = written(tmp_path, whole_build().facts())
    await page.show(file)
    assert await page.ask("document.querySelectorAll('#grid .row').length") == 7
    assert await page.ask("document.querySelectorAll('.source tbody tr').length") == 6
    assert await page.ask("document.querySelectorAll('.layers tbody tr').length") == 2
    assert page.complaints == []
    assert set(page.requested) == {file.as_uri()}


async def test_report_of_hostile_words_runs_none_of_them(page: Page, tmp_path: Path) -> None:
    collector = Collector(live=False)
    collector.observe(begun(steps={"a": StepOrigin(spans=((0, 1, 1),), platforms=(HOSTILE,))}, text=HOSTILE))
    collector.event(ran("a", f"[1/1] RUN {HOSTILE}", 0, 1, error=HOSTILE), T0)
    collector.event(said("a", HOSTILE.encode()), T0)
    heading = Heading(title=HOSTILE, status=HOSTILE, error=HOSTILE, command=(HOSTILE,), facts={HOSTILE: HOSTILE})
    await page.show(written(tmp_path, collector.facts(), heading))
    await focus_timeline(page)
    await page.press("Enter", code=ENTER, text="\r")
    assert await page.ask("document.getElementById('step-log').textContent") == HOSTILE
    assert await page.ask("window.hacked === undefined && document.images.length === 0")
    assert page.complaints == []


async def test_report_script_that_was_added_is_refused_by_the_policy(page: Page, tmp_path: Path) -> None:
    file = written(tmp_path, whole_build().facts())
    file.write_text(file.read_text().replace("</body>", "<script>window.hacked=1</script></body>"))
    await page.show(file)
    assert await page.ask("window.hacked === undefined")
    assert any("Content Security Policy" in text for text in page.complaints)


async def test_report_keys_move_between_steps_open_one_and_come_back(page: Page, tmp_path: Path) -> None:
    await page.show(written(tmp_path, whole_build().facts()))
    await focus_timeline(page)
    assert "load build definition" in await focused(page)
    await page.press("End", code=END)
    assert "exporting to image, on the critical path, 1.0 s from 43.0 s" in await focused(page)
    await page.press("Home", code=HOME)
    for _ in range(4):
        await page.press("ArrowDown", code=DOWN)
    label = await focused(page)
    assert "RUN make" in label
    await page.press("Enter", code=ENTER, text="\r")
    assert await page.ask("document.getElementById('step').open")
    assert "RUN make" in str(await page.ask("document.getElementById('step-name').textContent"))
    assert await page.ask("document.getElementById('step').contains(document.activeElement)")
    await page.press("Escape", code=ESCAPE)
    assert not await page.ask("document.getElementById('step').open")
    assert await focused(page) == label


async def test_report_tab_reaches_every_control_in_the_order_of_the_page(page: Page, tmp_path: Path) -> None:
    await page.show(written(tmp_path, whole_build().facts()))
    reached = []
    for _ in range(40):
        await page.press("Tab", code=TAB)
        place = "document.activeElement"
        reached.append(await page.ask(f"{place} === document.body ? '' : {place}.id || {place}.className || {place}.textContent"))
    ends = reached.index("") if "" in reached else len(reached)
    order = reached[:ends]
    assert order[0] == "skip"
    assert order.index("All") < order.index("search") < next(n for n, what in enumerate(order) if str(what).startswith("row"))
    assert "source" in order
    assert order.index("source") < order.index("command")


async def test_report_filters_and_search_show_fewer_steps_and_say_how_many(page: Page, tmp_path: Path) -> None:
    await page.show(written(tmp_path, whole_build().facts()))

    async def pressed(name: str) -> tuple[object, object]:
        await page.ask(f"[...document.querySelectorAll('#filters button')].find(b => b.textContent === '{name}').click()")
        return await page.ask("document.querySelectorAll('#grid .row').length"), await page.ask(
            "document.getElementById('count').textContent"
        )

    assert await pressed("Emulated") == (1, "1 of 7 steps")
    assert await pressed("Cached") == (1, "1 of 7 steps")
    assert await pressed("Critical path") == (5, "5 of 7 steps")
    await page.ask("(() => { const s = document.getElementById('search'); s.value = 'COPY'; s.dispatchEvent(new Event('input')) })()")
    assert await page.ask("document.getElementById('count').textContent") == "1 of 7 steps"


async def test_report_begins_with_the_main_steps_and_hides_what_took_no_time(page: Page, tmp_path: Path) -> None:
    collector = whole_build()
    collector.event(ran("short", "[internal] load .dockerignore", 0.5, 0.52), T0)
    await page.show(written(tmp_path, collector.facts()))
    pressed = "document.querySelector('#filters [aria-pressed=true]').textContent"
    assert await page.ask(pressed) == "Main"
    assert await page.ask("document.getElementById('count').textContent") == "7 of 8 steps"


async def test_report_step_that_ran_twice_has_two_bars_and_does_not_cover_the_critical_path(page: Page, tmp_path: Path) -> None:
    collector = whole_build()
    collector.event(ran("from", "[build 1/3] FROM busybox", 43.0, 43.1, cached=True), T0)
    await page.show(written(tmp_path, collector.facts()))
    row = "[...document.querySelectorAll('#grid .row')].find(row => row.textContent.includes('FROM busybox'))"
    assert await page.ask(f"{row}.querySelectorAll('.bar').length") == 2
    assert "RUN make all" in await page.ask("document.querySelector('.critical tbody').textContent")


async def test_report_step_of_the_critical_path_opens_with_its_lines_as_one_range(page: Page, tmp_path: Path) -> None:
    await page.show(written(tmp_path, whole_build().facts()))
    await page.ask("[...document.querySelectorAll('.critical button')].find(b => b.textContent.includes('RUN make')).click()")
    assert await page.ask("document.getElementById('step').open")
    assert "Dockerfile:3-4" in await page.ask("document.getElementById('step-facts').textContent")


async def test_report_of_five_thousand_steps_keeps_few_rows_and_reaches_all(page: Page, tmp_path: Path) -> None:
    await page.show(written(tmp_path, large_build(5000)))
    assert await page.ask("document.querySelectorAll('*').length") < 2000
    assert await page.ask("document.getElementById('grid').getAttribute('aria-rowcount')") == "5003"
    await focus_timeline(page)
    await page.press("End", code=END)
    assert "step number 4999" in await focused(page)
    assert await page.ask("document.activeElement.getAttribute('aria-rowindex')") == "5003"
    await page.press("Enter", code=ENTER, text="\r")
    assert await page.ask("document.getElementById('step-log').textContent") == "output of 4999\n".strip()
    await page.press("Escape", code=ESCAPE)
    await page.ask("document.querySelector('#grid .body').scrollTop = 50000")
    await page.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert await page.ask("document.querySelectorAll('#grid .row').length") < 120
    assert page.complaints == []


async def test_report_names_and_roles_are_complete_for_a_screen_reader(page: Page, tmp_path: Path) -> None:
    await page.show(written(tmp_path, whole_build().facts()))
    nodes = (await page.send("Accessibility.getFullAXTree"))["nodes"]
    shown = [node for node in nodes if not node.get("ignored")]

    def role(node: dict[str, dict[str, str]]) -> str:
        return node.get("role", {}).get("value", "")

    assert {"banner", "main", "grid", "table", "columnheader", "heading", "searchbox"} <= {role(node) for node in shown}
    unnamed = [
        role(n) for n in shown if role(n) in ("button", "searchbox", "grid", "link", "dialog") and not n.get("name", {}).get("value")
    ]
    assert unnamed == []
    levels = await page.ask("[...document.querySelectorAll('main h2')].map(h => h.textContent)")
    assert levels[:3] == ["What to look at", "Platforms", "Timeline"]


@pytest.mark.parametrize("dark", [False, True])
async def test_report_colours_of_text_have_contrast_in_both_themes(page: Page, tmp_path: Path, dark: bool) -> None:
    await page.show(written(tmp_path, whole_build().facts()), dark=dark)
    weak = await page.ask(_CONTRASTS)
    assert weak == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
async def test_report_never_scrolls_sideways(page: Page, tmp_path: Path, width: int) -> None:
    await page.show(written(tmp_path, whole_build().facts()), width=width)
    assert await page.ask("document.documentElement.scrollWidth") <= width


_CONTRASTS = """
(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const weak = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length || element.closest("script, style, .unseen, meter")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) weak.push(`${element.className || element.tagName} ${ratio.toFixed(2)}`);
  }
  return [...new Set(weak)];
})()
"""
