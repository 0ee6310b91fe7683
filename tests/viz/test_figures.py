"""Figures show what the frames say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

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
