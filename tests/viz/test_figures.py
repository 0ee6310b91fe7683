"""Figures show what the frames say."""

from __future__ import annotations

import sys
import threading
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from decai_sim.errors import ScenarioError
from decai_sim.viz import figures, palette


@pytest.fixture
def ax() -> Axes:
    fig, ax = plt.subplots()
    plt.close(fig)
    return ax


def rounds(run_id: str, accuracy: list[float], step_s: float = 60.0) -> pd.DataFrame:
    n = len(accuracy)
    return pd.DataFrame(
        {
            "run_id": run_id,
            "round": range(1, n + 1),
            "t_s": step_s * np.arange(1, n + 1),
            "accuracy": accuracy,
            "bytes_up": 1e6 * np.arange(1, n + 1),
            "bytes_down": 1e6 * np.arange(1, n + 1),
        }
    )


EVENTS = pd.DataFrame(
    {
        "t_s": [0.0, 0.0, 10.0, 20.0, 30.0],
        "node": [0, 1, 0, 2, 0],
        "kind": ["online", "online", "offline", "online", "online"],
    }
)


def test_the_line_is_the_median_and_the_band_the_range(ax: Axes) -> None:
    three = pd.concat([rounds("a", [0.1, 0.2]), rounds("b", [0.3, 0.6]), rounds("c", [0.2, 0.9])])
    figures.accuracy(ax, {"x": three})
    assert ax.lines[0].get_ydata() == pytest.approx([20, 60])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((10, 90))


@pytest.mark.parametrize(("step_s", "unit"), [(10, "seconds"), (600, "minutes"), (36_000, "hours")])
def test_time_is_shown_in_a_unit_that_suits_it(ax: Axes, step_s: float, unit: str) -> None:
    figures.accuracy(ax, {"x": rounds("a", [0.1, 0.2, 0.3], step_s)})
    assert ax.get_xlabel() == f"virtual {unit}"
    assert 1 < ax.lines[0].get_xdata()[-1] < 400


def test_traffic_counts_both_directions(ax: Axes) -> None:
    figures.accuracy(ax, {"x": rounds("a", [0.1, 0.2])}, "bytes")
    assert ax.lines[0].get_xdata() == pytest.approx([2, 4])
    assert ax.get_xlabel() == "megabytes sent and received"


def test_traffic_is_drawn_against_time_in_units_that_suit_the_longest(ax: Axes) -> None:
    large = rounds("b", [0.1, 0.2, 0.3], 600.0)
    large[["bytes_up", "bytes_down"]] *= 1000
    figures.traffic(ax, {"small": rounds("a", [0.1, 0.2]), "large": large, "none": rounds("c", [])})
    small, large_line = ax.lines
    assert small.get_xdata() == pytest.approx([1, 2])
    assert small.get_ydata() == pytest.approx([0.002, 0.004])
    assert large_line.get_xdata() == pytest.approx([10, 20, 30])
    assert large_line.get_ydata() == pytest.approx([2, 4, 6])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("virtual minutes", "gigabytes sent and received")
    assert ax.get_ylim()[0] == 0


def test_traffic_of_several_runs_is_their_median_and_range(ax: Axes) -> None:
    double = rounds("b", [0.1, 0.2])
    double["bytes_up"] *= 3
    figures.traffic(ax, {"x": pd.concat([rounds("a", [0.1, 0.2]), double])})
    assert ax.lines[0].get_ydata() == pytest.approx([3, 6])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((2, 8))


def share_at_or_below(ax: Axes, value: float) -> float:
    x, y = ax.lines[0].get_data()
    return float(np.asarray(y)[np.asarray(x) <= value][-1])


@pytest.mark.parametrize("n", [1, 2, 9, 10, 11, 100])
def test_node_accuracy_is_the_share_of_nodes_at_or_below(ax: Axes, n: int) -> None:
    values = np.random.default_rng(n).integers(0, 12, n) / 11  # with ties
    figures.node_accuracy(ax, {"x": values.tolist()})
    for value in np.unique(values):
        assert share_at_or_below(ax, 100 * value) == pytest.approx(100 * np.mean(values <= value))
    assert (np.diff(ax.lines[0].get_ydata()) >= 0).all()
    assert ax.lines[0].get_ydata()[0] == 0
    assert ax.lines[0].get_ydata()[-1] == 100


@pytest.mark.parametrize("n", [1, 9, 10, 11, 20, 21, 97])
def test_the_marker_is_at_the_worst_decile_and_on_the_curve(ax: Axes, n: int) -> None:
    values = np.random.default_rng(n).random(n)
    figures.node_accuracy(ax, {"x": values.tolist()})
    (at,), (height,) = ax.lines[1].get_data()
    assert at == pytest.approx(100 * np.quantile(values, 0.1, method="inverted_cdf"))
    assert height == 10
    assert np.mean(100 * values < at - 1e-9) < 0.1 <= np.mean(100 * values <= at + 1e-9)


def test_nodes_without_an_accuracy_are_left_out(ax: Axes) -> None:
    nan = float("nan")
    figures.node_accuracy(ax, {"x": [nan, 0.5, nan, 1.0], "nobody": [nan, nan], "nothing": []})
    assert ax.get_legend_handles_labels()[1] == ["x"]
    assert share_at_or_below(ax, 50) == 50
    assert share_at_or_below(ax, 100) == 100


def at_or_before(line: Line2D, x: float) -> float:
    """A ``steps-post`` line's height at ``x``."""
    xs, ys = np.asarray(line.get_data())
    return float(ys[xs <= x][-1])


def marked(line: Line2D) -> list[tuple[float, float]]:
    at = line.get_markevery()
    return [(float(x), float(y)) for x, y in np.asarray(line.get_data()).T[at]] if at else []


@pytest.mark.parametrize("n", [1, 2, 9, 10, 11, 100, 101])
def test_propagation_is_the_share_of_all_nodes_that_have_it(ax: Axes, n: int) -> None:
    rng = np.random.default_rng(n)
    delays = rng.integers(0, 12, n).astype(float)  # with ties
    delays[rng.random(n) < 0.3] = np.inf
    delays[0] = 0.0
    figures.propagation(ax, {"x": delays})
    (line,) = ax.get_legend_handles_labels()[0]
    for t in np.arange(0, 12, 0.5):
        assert at_or_before(line, t) == pytest.approx(100 * np.mean(delays <= t))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("virtual seconds after publication", "share of nodes reached (%)")
    for share, (t, height) in zip((50, 90), marked(line), strict=False):
        assert 100 * np.mean(delays < t) < share <= height
        assert t == np.quantile(delays, share / 100, method="inverted_cdf")
    assert len(marked(line)) == sum(100 * np.isfinite(delays).mean() >= share for share in (50, 90)) or n == 1


def test_propagation_of_several_goes_on_to_the_end_of_the_slowest(ax: Axes) -> None:
    delays = {"slow": [0, 300.0, 600.0], "fast": [0, 1.0, np.nan], "pooled": np.array([[0.0, 60.0], [0.0, np.inf]]), "lost": []}
    figures.propagation(ax, delays)
    slow, fast, pooled = ax.get_legend_handles_labels()[0]
    assert ax.get_xlabel() == "virtual minutes after publication"
    assert [line.get_xdata()[-1] for line in (slow, fast, pooled)] == [10, 10, 10]
    assert [line.get_ydata()[-1] for line in (slow, fast, pooled)] == pytest.approx([100, 200 / 3, 75])
    assert [x for x, _ in marked(pooled)] == [0]  # half of the four have it at once, and nine tenths never
    assert at_or_before(pooled, 0) == 50
    assert (slow.get_marker(), slow.get_linestyle()) != (fast.get_marker(), fast.get_linestyle())


def test_quick_propagation_is_shown_in_milliseconds_and_many_nodes_in_few_steps(ax: Axes) -> None:
    delays = np.random.default_rng(0).exponential(0.05, 50_000)
    figures.propagation(ax, {"x": delays})
    (line,) = ax.get_legend_handles_labels()[0]
    assert ax.get_xlabel() == "virtual milliseconds after publication"
    assert len(line.get_xdata()) <= figures.MAX_STEPS + 4
    assert line.get_xdata()[-1] == pytest.approx(1000 * delays.max())
    for t in np.quantile(delays, [0.01, 0.3, 0.7, 0.99]):
        assert at_or_before(line, 1000 * t) == pytest.approx(100 * np.mean(delays <= t), abs=0.1)
    assert [x for x, _ in marked(line)] == pytest.approx(1000 * np.quantile(delays, [0.5, 0.9], method="inverted_cdf"))


@pytest.mark.parametrize("sparse", [True, False])
def test_degrees_is_the_share_of_nodes_with_at_least_so_many_neighbours(ax: Axes, sparse: bool) -> None:
    graph = nx.barabasi_albert_graph(500, 3, seed=1)
    graph.add_nodes_from(range(500, 520))  # who know nobody
    degree = np.array([d for _, d in sorted(graph.degree)])
    figures.degrees(ax, {"x": nx.to_scipy_sparse_array(graph, format="csr") if sparse else degree})
    (line,) = ax.lines
    x, y = np.asarray(line.get_data())
    assert line.get_drawstyle() == "steps-pre"
    for k in range(1, degree.max() + 1):
        assert y[np.searchsorted(x, k)] == pytest.approx(np.mean(degree >= k))
    assert (x[-1], y[-1] < 1 / 520) == (degree.max(), True)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_ylim()[0] < 1 / 520
    assert {float(k) for k, _ in marked(line)} <= set(degree[degree > 0].astype(float))
    assert len(marked(line)) >= 3


def test_a_regular_graph_is_a_corner_and_one_without_links_nothing(ax: Axes) -> None:
    figures.degrees(ax, {"regular": nx.to_scipy_sparse_array(nx.cycle_graph(10)), "none": np.zeros(5, dtype=int)})
    (line,) = ax.lines
    assert np.asarray(line.get_data()).T[:2].tolist() == [[1, 1], [2, 1]]
    assert marked(line) == [(2, 1)]


def test_removal_shows_the_largest_part_and_the_others() -> None:
    curves = {
        "hubs": (np.array([0, 0.1, 0.2]), np.array([1.0, 0.4, 0.1]), np.array([0, 3.0, 1.0]), np.array([0, 9, 2])),
        "random": ([0, 0.5], [1, 0.5], [0, 1]),
    }
    fig = figures.removal(curves)
    left, right = fig.axes
    assert np.asarray(left.lines[0].get_data()) == pytest.approx(np.array([[0, 10, 20], [100, 40, 10]]))
    assert np.asarray(left.lines[1].get_data()) == pytest.approx(np.array([[0, 50], [100, 50]]))
    assert right.lines[0].get_ydata() == pytest.approx([np.nan, 3, 1], nan_ok=True)  # at first there are no others
    assert [text.get_text() for text in fig.legends[0].texts] == ["hubs", "random"]
    for ax in (left, right):
        assert ax.get_xlabel() == "share of nodes removed (%)"
        assert [line.get_color() for line in ax.lines] == [palette.style(i)["color"] for i in range(2)]
    assert not figures.removal({"one": curves["hubs"]}).legends


def test_online_count_follows_the_events() -> None:
    t, count = figures.online_count(EVENTS)
    assert t.tolist() == [0, 10, 20, 30]
    assert count.tolist() == [2, 1, 2, 3]


def test_presence_breaks_the_line_while_a_node_is_away(ax: Axes) -> None:
    figures.presence(ax, EVENTS, n=3)
    spans = {(round(s[0][0]), round(s[1][0]), round(s[0][1])) for s in ax.collections[0].get_segments()}
    assert spans == {(0, 10, 0), (0, 30, 1), (20, 30, 2)}


def test_bars_show_the_median_of_the_seeds(ax: Axes) -> None:
    figures.price(ax, {"calm": [0.8, 0.7, 0.9], "attacked": [0.1]})
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([80, 10])


def test_series_differ_in_more_than_colour() -> None:
    styles = [palette.style(i) for i in range(8)]
    for channel in ("color", "marker", "linestyle"):
        assert len({str(s[channel]) for s in styles}) == 8


def test_a_figure_appears_whole_under_its_name(tmp_path: Path) -> None:
    figures.save(figures.overview({"x": rounds("a", [0.1, 0.2])}, EVENTS, 3), str(tmp_path / "f.svg"))
    assert [p.name for p in tmp_path.iterdir()] == ["f.svg"]
    assert "<svg" in (tmp_path / "f.svg").read_text()


class Page(HTMLParser):
    """What a page is made of, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag = self.tags[-1][0] if self.tags else ""
        self.said[tag] = self.said.get(tag, "") + data

    def loads(self) -> list[str]:
        links = [value for _, attrs in self.tags for name, value in attrs.items() if name.split(":")[-1] in ("href", "src")]
        return [link for link in links if link and not link.startswith("#")]


TITLE = "<script>alert('x')</script> & \"so on\" <b>"


def test_a_page_needs_nothing_else_and_says_what_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "f.html"
    figures.save(figures.overview({"x & <y>": rounds("a", [0.1, 0.2])}, EVENTS, 3), path, TITLE)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads() == []
    assert not {"script", "link", "img", "image", "iframe", "b"} & {tag for tag, _ in page.tags}
    for other in ("@import", "url(http", "url(//", "src="):
        assert other not in text
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert {part.split('"')[0] for part in text.split('="') if part.startswith("http")} == namespaces
    assert text.count("http") == len(namespaces)
    (svg,) = (attrs for tag, attrs in page.tags if tag == "svg")
    assert (svg["role"], svg["aria-label"]) == ("img", TITLE)
    assert page.said["title"].strip() == TITLE
    assert text.startswith("<!doctype html>")


def test_a_page_without_a_title_has_its_files_name(tmp_path: Path) -> None:
    figures.save(figures.overview({"x": rounds("a", [0.1])}, EVENTS, 3), tmp_path / "my figure.html")
    page = Page((tmp_path / "my figure.html").read_text(encoding="utf-8"))
    assert page.said["title"].strip() == "my figure"


def test_an_element_in_a_page_restyles_nothing_else_and_is_whole() -> None:
    element = figures.svg(figures.overview({"x": rounds("a", [0.1, 0.2])}, EVENTS, 3), TITLE)
    assert "<style" not in element
    root = ET.fromstring(element)
    assert root.attrib["aria-label"] == TITLE
    assert "stroke-linejoin: round" in root.attrib["style"]


@pytest.mark.parametrize(("ending", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")])
def test_the_ending_decides_the_format(tmp_path: Path, ending: str, magic: bytes) -> None:
    figures.save(figures.overview({"x": rounds("a", [0.1])}, EVENTS, 3), tmp_path / f"f.{ending}")
    assert (tmp_path / f"f.{ending}").read_bytes().startswith(magic)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["f.jpg", "f", "f.html.bak", ".svg"])
def test_another_ending_is_refused_and_nothing_written(tmp_path: Path, name: str) -> None:
    fig, _ = figures.panels(1, 1, (2, 2))
    with pytest.raises(ScenarioError, match=r"end it in \.png, \.svg, \.pdf or \.html") as caught:
        figures.save(fig, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    fig, _ = figures.panels(1, 1, (2, 2))
    with pytest.raises(ScenarioError, match=r"path: '.*nowhere.*' is not allowed: No such file or directory"):
        figures.save(fig, tmp_path / "nowhere" / "f.png")


def test_what_cannot_be_drawn_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "f.html"
    path.write_text("before")
    fig, (ax,) = figures.panels(1, 1, (2, 2))
    ax.set_title(r"$\notatexcommand$")
    with pytest.raises(ValueError, match="notatexcommand"):
        figures.save(fig, path)
    assert [p.name for p in tmp_path.iterdir()] == ["f.html"]
    assert path.read_text() == "before"


def test_pyplot_keeps_none_of_the_figures() -> None:
    before = plt.get_fignums()
    kept = [
        figures.overview({"x": rounds("a", [0.1])}, EVENTS, 3),
        figures.comparison({"x": rounds("a", [0.1])}, {"x": [0.1]}, EVENTS, 3),
        figures.panels(1, 2, (4, 2))[0],
        figures.removal({"x": ([0, 1], [1, 0], [0, 1])}),
    ]
    assert all(figures.svg(fig, "x") for fig in kept)
    assert plt.get_fignums() == before


def test_two_threads_can_draw_at_once() -> None:
    settings, speed = dict(plt.rcParams), sys.getswitchinterval()
    drawn: list[str] = []
    start = threading.Barrier(2)

    def draw() -> None:
        start.wait()
        for _ in range(3):
            drawn.append(figures.svg(figures.overview({"x": rounds("a", [0.1, 0.2])}, EVENTS, 3), "x"))

    threads = [threading.Thread(target=draw) for _ in range(2)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(speed)
    shapes = [[(tag, attrs.get("d")) for tag, attrs in Page(element).tags] for element in drawn]
    assert len(shapes) == 6
    assert all(shape == shapes[0] for shape in shapes)
    assert dict(plt.rcParams) == settings


def test_bands_go_round_their_lines(ax: Axes) -> None:
    wide = pd.DataFrame({"x": [1, 2], "y": [5.0, 6], "low": [4.0, 5], "high": [6.0, 9]})
    thin = pd.DataFrame({"x": [1, 2, 3], "y": [1.0, np.nan, 2], "low": [1.0, np.nan, 2], "high": [1.0, np.nan, 2]})
    figures.bands(ax, {"wide": wide, "thin": thin}, "nodes", "seconds")
    assert [list(line.get_xdata()) for line in ax.lines] == [[1, 2], [1, 3]]
    (band,) = ax.collections
    assert (band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()) == (4, 9)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("nodes", "seconds")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["wide", "thin"]


def test_a_heat_map_says_every_number_so_that_it_can_be_read(ax: Axes) -> None:
    cells = pd.DataFrame([[0.0, 100.0], [np.nan, 51.26]], index=["mean", "krum"], columns=["none", "a_long_attack"])
    figures.heatmap(ax, cells, "accuracy", low=0, high=100, digits=1)
    said = {tuple(map(round, text.get_position())): text for text in ax.texts}
    assert {where: text.get_text() for where, text in said.items()} == {(0, 0): "0.0", (1, 0): "100.0", (1, 1): "51.3"}
    assert (said[0, 0].get_color(), said[1, 0].get_color()) == ("white", "black")
    (hatched,) = ax.patches
    assert hatched.get_xy() == (-0.5, 0.5)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mean", "krum"]
    assert ax.get_xticklabels()[1].get_rotation() > 0
    assert ax.images[0].get_clim() == (0, 100)
    wide, high = figures.heatmap_size(cells)
    assert figures.heatmap_size(pd.concat([cells] * 3)) > (wide, high)


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_a_heat_map_of_one_value_or_none_is_drawn(ax: Axes, value: float) -> None:
    figures.heatmap(ax, pd.DataFrame([[value]], index=["a"], columns=["b"]))
    assert len(ax.texts) == (not np.isnan(value))
