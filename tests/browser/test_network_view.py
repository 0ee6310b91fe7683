"""The network view in a browser, from a saved page or in JupyterLab: what is painted, and what the mouse and the keys do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from decai_sim.seeding import Streams
from decai_sim.viz import NetworkView, Replay
from decai_sim.world import Internet, Mix, SmallWorld, World
from decai_sim.world.dissemination import Flood
from tests.browser.labs import Lab, frames_a_second

END_S = 300.0
CLASSES = ["T-shirt/top", "trouser", "<b>bag</b>"]
HOW_BUSY = 40
"""Events a node, so that every frame of a replay has something to show."""

PIXELS = """name => {
  const canvas = document.querySelector(`canvas.dn-${name}`);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let [sum, painted] = [0, 0];
  for (let i = 0; i < data.length; i++) sum = (31 * sum + data[i]) % 2147483647;
  for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
  return [painted, sum];
}"""
"""How many pixels of a layer are painted, and a number that tells pictures apart."""


def make(graph: nx.Graph, seed: int = 0) -> NetworkView:
    n = len(graph)
    rng = np.random.default_rng(seed)
    byzantine = np.arange(n) % 5 == 0
    shares = {"online": 0.3, "offline": 0.15, "job_start": 0.2, "job_end": 0.15, "rejected": 0.1, "informed": 0.1}
    kinds = rng.choice(list(shares), n * HOW_BUSY, p=list(shares.values()))
    news_s = np.arange(30, END_S, 60)
    events = pd.DataFrame(
        {
            "t_s": np.concatenate([np.zeros(n // 2), rng.uniform(0, END_S, n * HOW_BUSY), news_s]),
            "node": np.concatenate([np.arange(n // 2), rng.integers(0, n, n * HOW_BUSY), np.zeros(len(news_s), dtype=int)]),
            "kind": np.concatenate([["online"] * (n // 2), kinds, ["published"] * len(news_s)]),
        }
    )
    nodes = pd.DataFrame(
        {
            "node": np.arange(n),
            "region": rng.choice(["Europe", "North America"], n),
            "device": np.where(np.arange(n) == 7, "<i>odd</i>", "phone"),
            "n_samples": pd.array([pd.NA, *range(1, n)], dtype="Int64"),
            "bytes_up": 1500 * np.arange(n),
            "bytes_down": np.arange(n),
        }
    )
    return NetworkView(
        graph,
        nodes=nodes,
        class_counts=rng.integers(0, 30, (n, len(CLASSES))),
        class_names=CLASSES,
        replay=Replay.of(events, byzantine, end_s=END_S, round_ends=np.arange(10, END_S, 10)),
        title="A test",
        caption="Of sixty nodes",
    )


@pytest.fixture
def view() -> NetworkView:
    return make(nx.connected_watts_strogatz_graph(60, 4, 0.2, seed=1))


@pytest.fixture
def show(page: Page, tmp_path: Path) -> Callable[[NetworkView], Locator]:
    def go(view: NetworkView) -> Locator:
        page.goto(view.save(tmp_path / "view.html").as_uri())
        root = page.locator(".decai-network")
        expect(root).not_to_have_attribute("data-frames", "0")
        return root

    return go


def pixels(page: Page, layer: str) -> tuple[int, int]:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    painted, picture = page.evaluate(PIXELS, layer)
    return painted, picture


def seek(page: Page, t_s: float) -> None:
    page.get_by_role("slider").evaluate(
        "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); }", round(1000 * t_s / END_S)
    )


def click_on(page: Page, node: int) -> None:
    x, y = page.evaluate("node => document.querySelector('.decai-network').networkView.at(node)", node)
    page.locator(".dn-nodes").click(position={"x": x, "y": y})


def legend(page: Page) -> dict[str, int]:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    rows = [row.split() for row in page.locator(".dn-legend li").all_inner_texts()]
    return {name: int(count.replace(",", "")) for name, count in rows}


def test_both_layers_are_painted_and_described(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView) -> None:
    show(view)
    assert pixels(page, "links")[0] > 1000
    assert pixels(page, "nodes")[0] > 1000
    assert legend(page) == view.states()
    label = page.locator(".dn-nodes").get_attribute("aria-label")
    assert label is not None
    assert label.startswith("Map of 60 nodes and 120 links at virtual time 0 min 00 s of 5 min 00 s: ")
    assert f"{view.states()['training']} training" in label
    expect(page.locator(".decai-network")).to_contain_text("60 nodes, 120 links")


def test_dragging_the_slider_changes_the_nodes_and_not_the_links(
    page: Page, show: Callable[[NetworkView], Locator], view: NetworkView
) -> None:
    show(view)
    nodes, links = pixels(page, "nodes"), pixels(page, "links")
    box = page.get_by_role("slider").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert pixels(page, "nodes") != nodes
    assert pixels(page, "links") == links
    view.t_s = END_S * float(page.get_by_role("slider").input_value()) / 1000
    assert 100 < view.t_s < 200
    assert legend(page) == view.states()
    for t_s in (240.0, 30.0, 299.7, 0.0):  # there and back
        seek(page, t_s)
        view.t_s = t_s
        assert legend(page) == view.states()
    assert pixels(page, "nodes") == nodes


ORANGE = """() => {
  const canvas = document.querySelector("canvas.dn-nodes");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let found = 0;
  for (let i = 0; i < data.length; i += 4) found += data[i] === 0xe6 && data[i + 1] === 0x9f && data[i + 2] === 0;
  return found;
}"""
"""How many pixels have the colour of informed nodes."""


def test_news_is_seen_to_spread_while_the_slider_is_dragged(page: Page, show: Callable[[NetworkView], Locator]) -> None:
    n, end_s = 1000, 2.0
    world = World(n, Internet(), None, Mix(laptop=1), Streams(1), SmallWorld())
    spread = Flood().start(world)
    spread.publish(0, nbytes=10_000)
    world.run(end_s)
    show(NetworkView(world.graph, replay=Replay.of(world.trace.events(), [False] * n, end_s=end_s)))
    box = page.get_by_role("slider").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    seen = []
    for share in (0, 0.05, 0.1, 0.13, 0.16, 0.2, 0.3, 0.5):
        page.mouse.move(box["x"] + 8 + share * (box["width"] - 16), box["y"] + box["height"] / 2)
        said = legend(page)
        t_s = end_s * float(page.get_by_role("slider").input_value()) / 1000
        informed = int((spread.reached_s[0] <= t_s).sum())
        assert said == {"online": n - informed, "informed": informed}  # and nothing that never occurs
        label = page.locator(".dn-nodes").get_attribute("aria-label")
        assert label is not None
        assert label.endswith(f": {informed:,} informed, {n - informed:,} online")
        seen.append((informed, page.evaluate(ORANGE)))
    page.mouse.up()
    counts, orange = np.array(seen).T
    assert (counts[0], counts[-1]) == (1, n)
    assert len(set(counts.tolist())) >= 6
    assert (np.diff(orange)[np.diff(counts) > 0] > 0).all()
    assert orange[-1] > 20 * n


def test_play_advances_and_pause_stops(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView) -> None:
    show(view)
    page.get_by_role("button", name="Play").click()
    slider = page.get_by_role("slider")
    page.wait_for_function("() => document.querySelector('input[type=range]').value > 20")
    page.get_by_role("button", name="Pause").click()
    at, picture = slider.input_value(), pixels(page, "nodes")
    page.wait_for_timeout(300)
    assert slider.input_value() == at
    assert pixels(page, "nodes") == picture


def test_a_replay_ends_and_begins_again(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView) -> None:
    show(view)
    seek(page, 299)
    page.get_by_label("speed").select_option("4×")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('input[type=range]').value === '1000'")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('input[type=range]').value < 500")


@pytest.mark.parametrize("node", [7, 30])
def test_a_click_opens_the_inspector(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView, node: int) -> None:
    graph = nx.connected_watts_strogatz_graph(60, 4, 0.2, seed=1)
    show(view)
    links = pixels(page, "links")
    click_on(page, node)
    inspector = page.locator(".dn-inspector")
    expect(inspector.get_by_role("heading", name=f"Node {node}, ")).to_be_visible()
    assert inspector.locator(".dn-near button").all_inner_texts() == [str(other) for other in sorted(graph[node])]
    facts = dict(zip(inspector.locator("dt").all_inner_texts(), inspector.locator("dd").all_inner_texts(), strict=True))
    row = view.table().iloc[node]
    assert facts["state"] == row["state"]
    assert facts["device"] == row["device"]
    assert facts["samples"] == str(row["n_samples"])
    assert facts["sent"] == {7: "10.5 kB", 30: "45.0 kB"}[node]
    held = np.frombuffer(view.class_counts, "<u4").reshape(60, 3)[node]
    assert inspector.locator(".dn-histogram li").all_inner_texts() == [f"{c}\n{k}" for c, k in zip(CLASSES, held, strict=True)]
    assert pixels(page, "links") != links  # the selected node's are highlighted

    other = sorted(graph[node])[0]
    inspector.locator(".dn-near button").first.click()
    expect(inspector.get_by_role("heading", name=f"Node {other}, ")).to_be_visible()
    inspector.get_by_label("close").click()
    expect(inspector.get_by_role("heading")).to_have_count(0)
    assert pixels(page, "links") == links


def test_the_wheel_zooms_only_where_it_was_asked_to(
    page: Page, show: Callable[[NetworkView], Locator], view: NetworkView
) -> None:
    root = show(view)
    links = pixels(page, "links")
    page.locator(".dn-nodes").hover(position={"x": 300, "y": 200})
    page.mouse.wheel(0, -300)
    expect(page.locator(".dn-hint")).to_have_class("dn-hint dn-shown")
    assert pixels(page, "links") == links

    page.locator(".dn-nodes").focus()
    page.mouse.wheel(0, -300)
    page.wait_for_function("() => document.querySelector('.decai-network').networkView.camera().k > 1")
    assert pixels(page, "links") != links
    page.get_by_role("button", name="show the whole network").click()
    page.wait_for_timeout(300)  # the links settle
    assert pixels(page, "links") == links
    assert int(root.get_attribute("data-link-frames") or 0) > 1


def test_dragging_moves_the_map(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView) -> None:
    show(view)
    before = page.evaluate("() => document.querySelector('.decai-network').networkView.at(3)")
    box = page.locator(".dn-nodes").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 290, box["y"] + 160, steps=3)
    page.mouse.up()
    page.wait_for_timeout(100)
    after = page.evaluate("() => document.querySelector('.decai-network').networkView.at(3)")
    assert np.subtract(after, before) == pytest.approx([90, -40], abs=1)
    expect(page.locator(".dn-inspector").get_by_role("heading")).to_have_count(0)  # a drag is no click


def test_the_keyboard_does_it_all(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView) -> None:
    graph = nx.connected_watts_strogatz_graph(60, 4, 0.2, seed=1)
    show(view)
    canvas, heading = page.locator(".dn-nodes"), page.locator(".dn-inspector h3")
    page.keyboard.press("Tab")
    while not canvas.evaluate("element => element === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("n")
    expect(heading).to_contain_text("Node 0, byzantine")
    page.keyboard.press("]")
    expect(heading).to_contain_text("Node 1, honest")
    page.keyboard.press("p")
    page.keyboard.press("p")
    expect(heading).to_contain_text("Node 59,")
    page.keyboard.press("Enter")
    expect(heading).to_contain_text(f"Node {min(graph[59])},")
    page.keyboard.press("Escape")
    expect(heading).to_have_count(0)

    camera = "() => document.querySelector('.decai-network').networkView.camera()"
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    moved = page.evaluate(camera)
    assert moved["k"] > 1
    assert moved["x"] != 0
    page.keyboard.press("0")
    assert page.evaluate(camera) == {"k": 1, "x": 0, "y": 0}

    page.keyboard.press("End")
    view.t_s = END_S
    assert legend(page) == view.states()
    page.keyboard.press("Home")
    view.t_s = 0.0
    assert legend(page) == view.states()
    page.keyboard.press(" ")
    page.wait_for_function("() => document.querySelector('input[type=range]').value > 5")
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_the_table_says_what_python_says(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView) -> None:
    show(view)
    seek(page, 150.0)
    view.t_s = 150.0
    page.get_by_role("button", name="Table").click()
    found: list[list[str]] = []
    for _ in range(3):
        # The page of the table that begins where the last one ended: it is drawn a moment after the click.
        expect(page.locator(".dn-table tbody tr").first).to_have_attribute("data-node", str(len(found)))
        found += [row.split("\t") for row in page.locator(".dn-table tbody tr").all_inner_texts()]
        page.get_by_role("button", name="Next").click()
    expected = view.table()
    assert [int(row[0]) for row in found] == expected["node"].tolist()
    assert [row[1] for row in found] == expected["state"].tolist()
    assert [row[2] == "yes" for row in found] == expected["byzantine"].tolist()
    assert [row[3] for row in found] == expected["device"].tolist()
    assert [row[5] for row in found] == [str(n) if pd.notna(n) else "–" for n in expected["n_samples"]]
    assert [int(row[-1]) for row in found] == expected["neighbours"].tolist()

    page.locator(".dn-table th").get_by_text("neighbours").click()
    page.locator(".dn-table th").get_by_text("neighbours").click()
    first = page.locator(".dn-table tbody tr").first
    expect(first.locator("td").last).to_have_text(str(expected["neighbours"].max()))
    first.click()
    expect(page.locator(".dn-inspector h3")).to_contain_text(f"Node {expected['neighbours'].idxmax()},")
    expect(page.locator("tr[aria-selected=true]")).to_have_count(1)


def test_a_row_is_chosen_with_the_keyboard(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView) -> None:
    show(view)
    heading, row = page.locator(".dn-inspector h3"), page.get_by_role("button", name="node 2", exact=True)
    page.get_by_role("button", name="Table").focus()
    page.keyboard.press("Enter")
    for _ in range(page.locator(".dn-table th").count() + 3):
        page.keyboard.press("Tab")
    expect(row).to_be_focused()
    page.keyboard.press("Enter")
    expect(heading).to_contain_text("Node 2, honest")
    expect(row).to_be_focused()
    expect(row).to_have_attribute("aria-pressed", "true")
    expect(page.locator("tr[aria-selected=true]")).to_have_attribute("data-node", "2")
    page.keyboard.press("Tab")
    page.keyboard.press(" ")
    expect(heading).to_contain_text("Node 3, honest")
    expect(page.locator("tr[aria-selected=true]")).to_have_attribute("data-node", "3")


def test_the_focus_stays_on_a_row_while_the_states_change(page: Page, show: Callable[[NetworkView], Locator]) -> None:
    view = make(nx.cycle_graph(40))
    show(view)
    page.get_by_role("button", name="Table").click()
    page.locator(".dn-table th").get_by_text("state").click()
    row = page.get_by_role("button", name="node 30", exact=True)
    row.focus()
    places, lost = set(), False
    for view.t_s in np.arange(0, END_S, 9):
        seek(page, view.t_s)
        first = view.table().sort_values("state", kind="stable")["node"].tolist()[:25]
        if lost := 30 not in first:
            break
        expect(page.locator(".dn-table tbody tr").nth(first.index(30))).to_have_attribute("data-node", "30")
        expect(row).to_be_focused()
        places.add(first.index(30))
    assert len(places) > 1
    assert lost
    expect(row).to_have_count(0)  # it is on the second page now
    expect(page.locator(".dn-table th").get_by_text("state")).to_be_focused()


def test_a_narrow_page_shows_everything_below_each_other(
    page: Page, show: Callable[[NetworkView], Locator], view: NetworkView
) -> None:
    page.set_viewport_size({"width": 500, "height": 900})
    show(view)
    assert pixels(page, "nodes")[0] > 1000
    click_on(page, 12)
    expect(page.locator(".dn-inspector h3")).to_contain_text("Node 12,")
    canvas, panel = page.locator(".dn-nodes").bounding_box(), page.locator(".dn-inspector").bounding_box()
    assert canvas is not None
    assert panel is not None
    assert panel["y"] >= canvas["y"] + canvas["height"]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 500
    page.set_viewport_size({"width": 1200, "height": 900})
    page.wait_for_function("() => document.querySelector('.dn-nodes').width > 700")
    assert pixels(page, "nodes")[0] > 1000


def test_a_network_at_rest_has_no_clock(page: Page, show: Callable[[NetworkView], Locator]) -> None:
    show(NetworkView(nx.complete_graph(360)))
    expect(page.get_by_role("button", name="Play")).to_have_count(0)
    expect(page.locator(".decai-network")).to_contain_text("360 nodes, showing 60,000 of 64,620 links")
    click_on(page, 100)
    expect(page.locator(".dn-inspector")).to_contain_text("359 neighbours")
    expect(page.locator(".dn-inspector")).to_contain_text("and 329 more")


def test_of_very_many_links_some_are_shown(page: Page, show: Callable[[NetworkView], Locator]) -> None:
    show(NetworkView((1500, np.stack(np.triu_indices(1500, 1), axis=1))))
    expect(page.locator(".decai-network")).to_contain_text("1,500 nodes, showing 60,000 of 1,124,250 links")
    assert pixels(page, "links")[0] > 1000
    links = pixels(page, "links")
    click_on(page, 700)
    inspector = page.locator(".dn-inspector")
    expect(inspector).to_contain_text("1,499 neighbours")
    expect(inspector.locator(".dn-near")).to_have_text(
        re.compile(r"^The network has too many links to list these\. Highlighted: \d\d of them\.$")
    )
    assert pixels(page, "links") != links
    page.get_by_role("button", name="Table").click()
    assert set(page.locator(".dn-table tbody td:last-child").all_inner_texts()) == {"1,499"}


SLIDERS = """() => new Promise(done => {
  const seen = [];
  requestAnimationFrame(function look() {
    seen.push([...document.querySelectorAll("input[type=range]")].map(slider => Number(slider.value)));
    if (Math.min(...seen.at(-1)) > Math.max(...seen[0]) + 100 || seen.length > 2000) done(seen);
    else requestAnimationFrame(look);
  });
})"""
"""What the sliders say frame by frame, until all of them are a tenth of the replay further."""


def test_of_two_displays_the_one_pressed_last_plays(page: Page, tmp_path: Path, view: NetworkView) -> None:
    text = view.save(tmp_path / "view.html").read_text()
    render = 'render({ model, el: document.getElementById("view") });'
    changes = {"const model = {": "const model = globalThis.model = {", render: 2 * render}
    for once, instead in changes.items():
        assert text.count(once) == 1
        text = text.replace(once, instead)
    (tmp_path / "twice.html").write_text(text)
    page.goto((tmp_path / "twice.html").as_uri())
    one, other = page.locator(".decai-network").all()
    player = "() => model.get('player')"

    one.get_by_label("speed").select_option("½×")
    other.get_by_label("speed").select_option("4×")
    one.get_by_role("button", name="Play").click()
    other.get_by_role("button", name="Pause").click()
    expect(one.get_by_role("button", name="Play")).to_be_visible()
    assert one.locator(".dn-clock").inner_text() == other.locator(".dn-clock").inner_text()
    first = page.evaluate(player)
    other.get_by_role("button", name="Play").click()
    expect(one.get_by_role("button", name="Pause")).to_be_visible()
    second = page.evaluate(player)
    assert second not in {"", first}

    seen = np.array(page.evaluate(SLIDERS))
    assert (np.diff(seen, axis=0) >= 0).all()  # neither pulls the other back
    assert seen[-1].min() > 100
    assert page.evaluate(player) == second

    one.get_by_role("slider").evaluate("slider => { slider.value = 0; slider.dispatchEvent(new Event('input')); }")
    assert page.evaluate(player) == first
    page.wait_for_function("() => Math.max(...[...document.querySelectorAll('input[type=range]')].map(s => s.value)) < 100")
    one.evaluate("element => element.networkView.remove()")  # then the other goes on
    page.wait_for_function(f"() => ({player})() === '{second}'")
    page.wait_for_function("() => document.querySelector('input[type=range]').value > 100")


def test_the_view_leaves_nothing_behind(page: Page, show: Callable[[NetworkView], Locator], view: NetworkView) -> None:
    show(view)
    page.evaluate("() => { document.querySelector('.decai-network').networkView.remove(); }")
    expect(page.locator(".decai-network")).to_have_count(0)
    page.set_viewport_size({"width": 900, "height": 700})
    page.wait_for_timeout(200)


def plays_smoothly(page: Page, where: str, measured: Callable[[str, object], None]) -> None:
    root = page.locator(".decai-network")
    before, counts = pixels(page, "nodes"), legend(page)
    root.get_by_role("button", name="Play").click()
    fps = frames_a_second(root)
    root.get_by_role("button", name="Pause").click()
    assert pixels(page, "nodes") != before
    assert legend(page) != counts
    measured("measured", f"network view, 5,000 nodes and 20,000 links, {where}, software rendering: {fps:.0f} frames a second")
    assert fps >= 20


def test_five_thousand_nodes_play(
    page: Page, show: Callable[[NetworkView], Locator], record_property: Callable[[str, object], None]
) -> None:
    graph = nx.connected_watts_strogatz_graph(5000, 8, 0.1, seed=1)
    assert graph.number_of_edges() == 20_000
    show(make(graph))
    plays_smoothly(page, "saved page", record_property)


IN_A_CELL = """
import networkx as nx
import numpy as np
import pandas as pd

from decai_sim.viz import NetworkView, Replay

n, end_s, rng = 5_000, 300.0, np.random.default_rng(0)
kinds = rng.choice(["online", "offline", "job_start", "job_end", "rejected"], 40 * n)
events = pd.DataFrame({"t_s": np.sort(rng.uniform(0, end_s, 40 * n)), "node": rng.integers(0, n, 40 * n), "kind": kinds})
NetworkView(nx.gnm_random_graph(n, 20_000, seed=0), replay=Replay.of(events, rng.random(n) < 0.2, end_s=end_s))
"""


def test_five_thousand_nodes_play_in_jupyterlab(
    browser: Browser, lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    with lab.running(browser, IN_A_CELL.strip()) as page:
        root = page.locator(".decai-network")
        expect(root).to_contain_text("5,000 nodes, 20,000 links", timeout=120_000)
        expect(root).not_to_have_attribute("data-frames", "0")
        assert pixels(page, "links")[0] > 1000
        plays_smoothly(page, "JupyterLab", record_property)
