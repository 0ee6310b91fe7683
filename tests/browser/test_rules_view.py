"""Rules in the plane, as the lesson on defenses shows them in JupyterLab: the attacker moves, the aggregates follow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.labs import Lab

LESSON = Path(__file__).parents[2] / "notebooks" / "21_learn_defenses.ipynb"
SECONDS = 60_000
"""Milliseconds: as long as a slow machine may take. Nothing is measured by it."""

PIXELS = """canvas => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let [sum, painted] = [0, 0];
  for (let i = 0; i < data.length; i++) sum = (31 * sum + data[i]) % 2147483647;
  for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
  return [painted, sum];
}"""
"""How many pixels of a canvas are painted, and a number that tells pictures apart."""


def cell() -> str:
    """The lesson's first picture of rules, as a notebook of its own."""
    cells = json.loads(LESSON.read_text())["cells"]
    sources = ["".join(one["source"]) for one in cells if one["cell_type"] == "code"]
    made = next(source for source in sources if "RulesView(" in source)
    return "import numpy as np\nfrom decai_sim.viz.rules_view import RulesView\n" + made


@pytest.fixture(scope="module")
def page(browser: Browser, lab: Lab) -> Iterator[Page]:
    with lab.running(browser, cell()) as page:
        expect(page.locator(".decai-rules canvas").first).to_be_visible(timeout=2 * SECONDS)
        page.locator(".decai-rules").scroll_into_view_if_needed()
        yield page


def canvas(page: Page) -> Locator:
    return page.locator(".decai-rules .drv-picture canvas")


def picture(page: Page) -> tuple[int, int]:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    painted, number = canvas(page).evaluate(PIXELS)
    return painted, number


def table(page: Page) -> dict[str, tuple[float, ...]]:
    """What the table says: per rule where its aggregate is, how far from the honest mean, and how many updates it leaves out."""
    rows = page.locator(".decai-rules tbody tr").all()
    texts = [(row.locator("button").inner_text(), row.locator("td").all_inner_texts()) for row in rows]
    return {name: tuple(float(text.replace("−", "-")) for text in cells) for name, cells in texts}


def attacker(page: Page) -> np.ndarray:
    label = canvas(page).get_attribute("aria-label") or ""
    found = re.search(r"attackers? (?:who act as one )?at ([−\d.]+), ([−\d.]+)\.", label)
    assert found is not None, label
    return np.array([float(text.replace("−", "-")) for text in found.groups()])


def settled(page: Page) -> None:
    """Wait until the kernel has answered to where the attacker is now: the mean is where it must be."""
    page.wait_for_function(
        """async () => {
          const root = document.querySelector(".decai-rules");
          const before = root.dataset.answers;
          await new Promise(done => setTimeout(done, 400));
          return root.dataset.answers === before;
        }""",
        timeout=SECONDS,
    )


def drag(page: Page, to: tuple[float, float]) -> None:
    """Take the attacker with the mouse, wherever it is, to a place given in shares of the picture."""
    box = canvas(page).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + to[0] * box["width"], box["y"] + to[1] * box["height"], steps=10)
    page.mouse.up()
    settled(page)


def test_marks_are_painted_and_described(page: Page) -> None:
    assert picture(page)[0] > 1000
    label = canvas(page).get_attribute("aria-label") or ""
    assert "honest updates" in label
    for rule in table(page):
        assert f"{rule} at " in label
    for swatch in page.locator(".drv-swatch").all():
        assert swatch.evaluate(PIXELS)[0] > 50


def test_the_mean_follows_the_mouse_and_the_median_does_not(page: Page) -> None:
    drag(page, (0.5, 0.5))
    before, seen, at = table(page), picture(page), attacker(page)
    drag(page, (0.05, 0.95))
    after, moved = table(page), attacker(page) - at
    assert picture(page) != seen
    assert (moved * [-1, -1] > 1).all()
    share = (np.array(after["mean"][:2]) - before["mean"][:2]) / moved
    assert share == pytest.approx([0.2, 0.2], abs=0.01)  # two of ten updates
    assert after["mean"][2] > 3 * after["median"][2]
    assert after["Krum"][3] == 9  # all but one are left out


def test_arrow_keys_move_the_attacker_and_not_the_notebook(page: Page) -> None:
    drag(page, (0.5, 0.5))
    at, mean = attacker(page), table(page)["mean"]
    canvas(page).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        canvas(page).press(key)
    settled(page)
    small = attacker(page) - at
    assert small[0] == pytest.approx(2 * small[1], abs=0.02)
    assert small[1] > 0
    assert table(page)["mean"][0] > mean[0]
    canvas(page).press("Shift+ArrowLeft")
    settled(page)
    assert attacker(page)[0] < at[0]
    canvas(page).press("Home")
    settled(page)
    assert table(page)["mean"][2] == 0
    expect(canvas(page)).to_be_focused()


def test_a_rule_shows_what_it_leaves_out(page: Page) -> None:
    seen = picture(page)
    button = page.locator(".decai-rules tbody button", has_text="Krum").first
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    crossed = picture(page)
    assert crossed != seen
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert picture(page) == seen


def test_it_can_be_seen_in_the_dark(page: Page) -> None:
    light = picture(page)
    page.evaluate("""() => {
      document.body.dataset.jpThemeLight = "false";
      document.querySelector(".decai-rules").style.setProperty("--drv-ink", "#eee");
      document.querySelector(".decai-rules").style.setProperty("--drv-back", "#111");
    }""")
    dark = picture(page)
    assert dark != light
    assert dark[0] > 1000
