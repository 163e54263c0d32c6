"""The page of a compiled model in a browser: it loads, and works by mouse and keyboard."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncompile
from nncompile.inspect.report import facts_of, page, page_data
from tests.browser import BROWSERS, Browser, find_browser
from tests.inspect.models import Encoder, blocks, hostile

pytest.importorskip("graphlay", reason="graphlay is not installed: it places the nodes of a graph")
FOUND = find_browser()
if FOUND is None:
    pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is here (Debian: apt-get install "
                "chromium)", allow_module_level=True)

# Where screenshots are kept, for a person to look at; without it they are only compared with empty.
SHOTS = os.environ.get("TEST_SHOTS")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert FOUND is not None
    started = Browser(FOUND)
    yield started
    started.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    nncompile.compile(blocks(4), "f32[B, 16]").report(path, np.ones((5, 16), np.float32))
    return path


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Browser]:
    browser.open(file)
    yield browser
    assert browser.messages == []
    assert browser.requests == [file.resolve().as_uri()]


def text_of(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r})?.textContent ?? ''"))


def count(browser: Browser, selector: str) -> int:
    return int(browser.run(f"document.querySelectorAll({selector!r}).length"))


# -- what it shows ---------------------------------------------------------------------------------

@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_loads_and_fits(browser: Browser, file: Path, tmp_path: Path, width: int, dark: bool
                           ) -> None:
    browser.open(file, width, dark=dark)
    assert browser.messages == []
    assert browser.requests == [file.resolve().as_uri()]
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    light = browser.run("getComputedStyle(document.body).backgroundColor")
    assert light == ("rgb(18, 22, 28)" if dark else "rgb(255, 255, 255)")
    shot = Path(SHOTS or tmp_path) / f"report_{width}_{'dark' if dark else 'light'}.png"
    browser.screenshot(shot)
    assert shot.stat().st_size > 20_000


def test_an_encoder_explains_itself(browser: Browser, tmp_path: Path) -> None:
    """What somebody who opens the page of an encoder sees of it; the documentation has a picture.

    TEST_SHOTS=docs pytest -k encoder_explains makes that anew.
    """
    path = tmp_path / "encoder.html"
    ids = np.random.default_rng(0).integers(0, 500, (1, 64))
    nncompile.compile(Encoder().eval(), "i64[B, T]").report(path, ids)
    browser.open(path, height=1120)
    assert re.search(r"layer\.0-11\.(up|down)", text_of(browser, "#words"))
    assert "12 equal blocks: layer.0" in text_of(browser, ".fold")
    browser.click("#layers button")                # of the layer that takes the most time
    assert "Layer layer.0" in text_of(browser, "#panel").replace("Layerlayer", "Layer layer")
    assert count(browser, ".node") == 3 + 20 + 3 + 1     # before, one of the blocks, behind
    browser.run("document.querySelector('#graph').scrollIntoView()")
    browser.screenshot(Path(SHOTS or tmp_path) / "report.png", whole=False)
    assert browser.messages == []


def test_the_summary_says_what_was_done_and_where_the_time_goes(opened: Browser) -> None:
    assert "was traced as" in text_of(opened, "#words")
    assert re.search(r"A call takes [\d.]+ (µs|ms) on one thread", text_of(opened, "#words"))
    assert count(opened, "#layers tbody tr") >= 5
    assert count(opened, "#roofline circle") >= 3
    assert count(opened, "#memory-plan .span") >= 4
    assert "def row_blocks" in text_of(opened, "#code")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read(browser: Browser, file: Path, dark: bool) -> None:
    """Every text has the contrast of WCAG 2's level AA, 4.5, with the colour behind it."""
    browser.open(file, dark=dark)
    browser.click(".fold")
    browser.click(".node")
    poor = browser.run(CONTRAST)
    assert poor == []


CONTRAST = """(() => {
  const channels = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = channels(getComputedStyle(element).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || element.matches("script, noscript, :disabled")) continue;
    if (!element.checkVisibility()) continue;
    const [a, b] = [channels(getComputedStyle(element).color), behind(element)].map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) poor.push(`${element.tagName} ${element.className} ${contrast}`);
  }
  return [...new Set(poor)];
})()"""


# -- by mouse --------------------------------------------------------------------------------------

def test_equal_blocks_open_and_close(opened: Browser) -> None:
    nodes = count(opened, ".node")
    assert "4 equal blocks" in text_of(opened, ".fold")
    opened.click(".fold")
    assert count(opened, ".node") > nodes
    assert "1 of 4" in text_of(opened, "#views")
    opened.click("[data-key^=on]")
    assert "2 of 4" in text_of(opened, "#views")
    opened.click("[data-key^=close]")
    assert count(opened, ".node") == nodes


def test_a_node_tells_all_about_itself(opened: Browser) -> None:
    opened.click("#layers button")                 # of the layer that takes the most time
    panel = text_of(opened, "#panel")
    for what in ("Layer", "Source line", "models.py:", "Step ", "Time", "At least",
                 "linear_", "Machine code of", "Through the passes"):
        assert what in panel, what
    assert count(opened, ".node.chosen") == 1
    opened.click("#panel .asm summary")
    assert opened.run("document.querySelector('#panel .asm').open")
    assert len(text_of(opened, "#panel .asm pre")) > 500


def test_passes_are_walked_through(opened: Browser) -> None:
    last = text_of(opened, "#pass h3")
    opened.click("#first")
    assert text_of(opened, "#pass h3") == "traced"
    assert count(opened, ".node.new") == 0
    for _ in range(20):
        if opened.run("document.querySelector('#next').disabled"):
            break
        opened.click("#next")
        assert count(opened, "#text .new, #text .gone") > 0
    assert text_of(opened, "#pass h3") == last


def test_what_a_pass_changed_is_marked_beside_what_it_was(opened: Browser) -> None:
    opened.click("#first")
    while text_of(opened, "#pass h3") != "fuse_linear":
        opened.click("#next")
    assert "4 \u00d7 linear, gelu → linear then gelu" in text_of(opened, "#pass")
    opened.click("#both")
    assert count(opened, ".view") == 2
    opened.click(".fold")
    assert count(opened, ".view:first-child .node.gone") >= 3
    assert count(opened, ".view:last-child .node.new") >= 2
    assert ") then gelu" in text_of(opened, "#text .new")


def test_zoom(opened: Browser) -> None:
    width = "document.querySelector('.view svg').clientWidth"
    before = opened.run(width)
    opened.click("#larger")
    assert opened.run(width) == pytest.approx(1.25 * before, abs=2)
    opened.click("#smaller")
    assert opened.run(width) == pytest.approx(before, abs=2)


def test_the_colours_can_be_chosen(opened: Browser) -> None:
    colors = set()
    for _ in range(3):
        opened.click("#theme")
        colors.add(opened.run("getComputedStyle(document.body).backgroundColor"))
    assert len(colors) == 2


# -- by keyboard -----------------------------------------------------------------------------------

def test_the_slider_and_the_brackets_go_from_pass_to_pass(opened: Browser) -> None:
    opened.run("document.querySelector('#stage').focus()")
    opened.press("Home")
    assert text_of(opened, "#pass h3") == "traced"
    opened.press("ArrowRight")
    first = text_of(opened, "#pass h3")
    assert first != "traced"
    opened.run("document.activeElement.blur()")
    opened.press("[")
    assert text_of(opened, "#pass h3") == "traced"
    opened.press("]")
    assert text_of(opened, "#pass h3") == first


@pytest.mark.parametrize("query", ["2.up", "models.py", "gelu"])
def test_search_finds_layers_lines_and_ops(opened: Browser, query: str) -> None:
    opened.press("/")
    assert opened.run("document.activeElement.id") == "query"
    opened.type(query)
    assert re.match(r"\d+ match", text_of(opened, "#found"))
    opened.press("Enter")
    assert query in text_of(opened, "#panel")
    assert count(opened, ".node.found.chosen") == 1      # its block is open
    opened.press("Escape")
    assert opened.run("document.querySelector('#results').hidden")


def test_nodes_are_reached_and_chosen(opened: Browser) -> None:
    opened.run("document.querySelector('.fold').focus()")
    opened.press("Enter")
    opened.run("document.querySelector('.node').focus()")
    opened.press("Enter")
    first = opened.run("document.querySelector('.node.chosen').dataset.value")
    opened.press("ArrowDown")
    second = opened.run("document.querySelector('.node.chosen').dataset.value")
    assert second != first
    assert opened.run("document.activeElement.dataset.value") == second
    opened.press("ArrowUp")
    assert opened.run("document.activeElement.dataset.value") == first
    opened.press("Tab")
    assert opened.run("document.activeElement.closest('.view') !== null")


def test_everything_that_acts_is_reached_by_tab(opened: Browser) -> None:
    assert opened.run("""[...document.querySelectorAll("[role=button]")].filter(element =>
        element.tabIndex < 0 || !element.getAttribute("aria-label")).length""") == 0


# -- names from outside ----------------------------------------------------------------------------

def test_hostile_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    data: Any = page_data(facts_of(hostile(), None))
    path.write_text(page(data), encoding="utf-8")
    browser.open(path)
    browser.click(".node")
    assert browser.messages == []
    assert browser.requests == [path.resolve().as_uri()]
    assert count(browser, "img") == 0
    assert "onerror=alert(1)" in text_of(browser, "#panel")
    assert "onerror=alert(1)" in text_of(browser, "h1")
