"""The quickstart as a newcomer meets it: in a real JupyterLab, with the mouse."""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.labs import Lab, watched_page

MINUTES = 60_000
"""Milliseconds: as long as a slow machine may take. Nothing is measured by it."""


@pytest.fixture(scope="module")
def notebook(browser: Browser, lab: Lab) -> Iterator[Page]:
    """The quickstart, all cells run; its kernel must be gone afterwards."""
    with watched_page(browser) as page:
        lab.open(page, "00_quickstart.ipynb")
        assert lab.kernels()
        lab.run_all(page)
        last = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")
        expect(last).to_have_text(re.compile(r"\[\d+\]"), timeout=5 * MINUTES)
        yield page
        page.get_by_role("menuitem", name="Kernel", exact=True).click()
        page.get_by_role("menuitem", name="Shut Down Kernel", exact=True).click()
        until = time.monotonic() + 30
        while lab.kernels() and time.monotonic() < until:
            page.wait_for_timeout(100)
        assert not lab.kernels()


def pixels(what: Locator) -> np.ndarray:
    """What is seen there, ``(height, width, 3)``."""
    what.scroll_into_view_if_needed()
    return np.asarray(Image.open(io.BytesIO(what.screenshot())).convert("RGB")).astype(int)


def colourful(picture: np.ndarray) -> int:
    """How many pixels are neither white, black nor grey."""
    return int((np.ptp(picture, axis=-1) > 60).sum())


def canvas_pixels(canvas: Locator) -> np.ndarray:
    """What was drawn on a canvas, ``(height, width, 4)``, read back from it."""
    data = canvas.evaluate("c => c.toDataURL('image/png')").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)


def wait_for(page: Page, happens: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := happens()):
        assert time.monotonic() < until, "did not happen"
        page.wait_for_timeout(50)
    return found


class App:
    """A RunView on the page."""

    def __init__(self, page: Page, index: int = 0) -> None:
        self.page = page
        self.root = page.locator(".decai-run-view").nth(index)
        self.figure = self.root.locator("svg[role=img]")
        self.status = self.root.locator("[role=status], [role=alert]")

    def choose(self, control: str, choice: str) -> None:
        self.root.get_by_label(control, exact=True).select_option(choice)

    def button(self, name: str) -> Locator:
        return self.root.locator("button.jupyter-button", has_text=name)

    def press(self, name: str) -> None:
        self.button(name).click()

    def says(self) -> str:
        return self.figure.get_attribute("aria-label") or ""

    def finish(self) -> None:
        self.press("Run")
        expect(self.button("Stop")).to_be_enabled(timeout=MINUTES)
        expect(self.button("Run")).to_be_enabled(timeout=2 * MINUTES)
        expect(self.status).to_have_text(re.compile("^Finished"))

    def slide(self, to: str) -> None:
        """Drag the slider of the attackers' share until it shows ``to``."""
        handle = self.root.locator(".noUi-handle").first
        rail = self.root.locator(".noUi-base").first
        handle.scroll_into_view_if_needed()
        box, at = rail.bounding_box(), handle.bounding_box()
        assert box is not None
        assert at is not None
        mouse, y = self.page.mouse, at["y"] + at["height"] / 2
        mouse.move(at["x"] + at["width"] / 2, y)
        mouse.down()
        mouse.move(box["x"] + box["width"] * int(to.rstrip("%")) / 99, y, steps=8)
        mouse.up()
        shown = self.root.locator(".widget-readout").first
        for _ in range(20):  # the last pixels by the arrow keys
            now = int((shown.text_content() or "0").rstrip("%"))
            if now == int(to.rstrip("%")):
                break
            handle.press("ArrowRight" if now < int(to.rstrip("%")) else "ArrowLeft")
        expect(shown).to_have_text(to)


def test_every_cell_ran_without_an_error(notebook: Page) -> None:
    assert notebook.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").all_text_contents() == []
    assert notebook.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
    for picture in notebook.locator(".jp-RenderedImage img").all():
        assert colourful(pixels(picture)) > 500
    assert notebook.locator(".jp-RenderedImage img").count() >= 3


def test_the_live_figure_shows_the_finished_run(notebook: Page) -> None:
    figure = notebook.locator(".jp-OutputArea svg[role=img]").first
    assert re.search(r"this run \d\d\.\d%", figure.get_attribute("aria-label") or "")
    assert colourful(pixels(figure)) > 500


def test_a_run_is_watched_and_stopped_with_the_mouse(notebook: Page) -> None:
    app = App(notebook, index=1)  # the big one: it lasts long enough to be looked at
    empty = pixels(app.figure)
    app.slide("30%")
    rounds = app.root.get_by_label("rounds", exact=True)
    rounds.fill("500")
    rounds.press("Enter")
    app.press("Run")
    seen: list[str] = []

    def grows() -> bool:
        if app.says() not in seen:
            seen.append(app.says())
        return len(seen) >= 4

    wait_for(notebook, grows)
    half = pixels(app.figure)
    assert colourful(half) > colourful(empty)
    expect(app.status).to_contain_text("Round")
    app.press("Stop")
    expect(app.status).to_have_text(re.compile(r"^Stopped after [1-9]\d* rounds"), timeout=10_000)
    rows = app.root.locator("tbody tr")
    expect(rows).to_have_count(1)
    assert "(stopped)" in rows.inner_text()
    app.press("Clear")
    expect(rows).to_have_count(0)


def test_runs_are_compared_with_the_mouse(notebook: Page) -> None:
    app = App(notebook)
    app.choose("attack", "no attack")
    app.finish()
    one = pixels(app.figure)
    app.choose("rule", "krum")
    app.finish()
    rows = app.root.locator("tbody tr")
    expect(rows).to_have_count(2)
    mean, krum = (float(found[1]) for text in rows.all_inner_texts() if (found := re.search(r"([\d.]+)%", text)))
    assert mean > krum + 10  # what the notebook answers to its second question
    assert colourful(pixels(app.figure)) > colourful(one)
    assert f"mean {mean}%; " in app.says()
    assert f"krum {krum}%" in app.says()
    app.press("Map")
    expect(app.root.locator(".decai-network canvas")).not_to_have_count(0)


def test_the_exercise_is_solved_with_the_mouse(notebook: Page) -> None:
    app = App(notebook)
    cell = notebook.locator(".jp-CodeCell", has_text="check_exercise")
    expect(cell.locator(".jp-OutputArea-output")).to_contain_text("Not yet")
    app.choose("attack", "sign flip")
    app.slide("40%")
    app.choose("rule", "NNM + trimmed mean")
    app.finish()
    cell.locator(".jp-InputArea-editor").click()
    notebook.get_by_role("button", name="Run this cell and advance").click()
    expect(cell.locator(".jp-OutputArea-output")).to_contain_text("Solved: nnm >> trimmed_mean holds", timeout=MINUTES)


def test_the_map_is_drawn_and_answers(notebook: Page) -> None:
    view = notebook.locator(".decai-network").first
    view.scroll_into_view_if_needed()
    links, nodes = view.locator("canvas.dn-links"), view.locator("canvas.dn-nodes")
    assert canvas_pixels(links)[..., 3].any()
    before = canvas_pixels(nodes)
    assert before[..., 3].any()

    slider = view.locator("input[type=range]")
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    notebook.mouse.move(box["x"] + 8, y)
    notebook.mouse.down()
    pictures = []
    for share in (0.25, 0.5, 0.75, 1.0):
        notebook.mouse.move(box["x"] + 8 + share * (box["width"] - 16), y, steps=5)
        notebook.wait_for_timeout(200)
        pictures.append(canvas_pixels(nodes))
    notebook.mouse.up()
    assert all((one != other).any() for one, other in zip(pictures, [before, *pictures[:-1]], strict=True))

    inspector = view.locator(".dn-inspector")
    assert "Neighbours" not in inspector.inner_text()
    coloured = np.argwhere((np.ptp(pictures[-1][..., :3], axis=-1) > 100) & (pictures[-1][..., 3] == 255))
    y, x = coloured[len(coloured) // 2]
    nodes.click(position={"x": int(x), "y": int(y)})
    for word in ("region", "device", "neighbours", "samples", "sneaker"):
        expect(inspector).to_contain_text(word, ignore_case=True)
    first = inspector.inner_text()
    notebook.keyboard.press("n")  # for the map, not for JupyterLab
    expect(inspector).not_to_have_text(first)
    view.get_by_role("button", name="Table").click()
    expect(view.locator("tbody tr")).to_have_count(25)
