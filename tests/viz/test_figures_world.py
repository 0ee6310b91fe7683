"""Figures of the world show what the frames say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from decai_sim.viz import figures


@pytest.fixture
def ax() -> Axes:
    fig, ax = plt.subplots()
    plt.close(fig)
    return ax


def test_survival_is_the_share_that_lasts_longer(ax: Axes) -> None:
    figures.survival(ax, {"sessions": [40.0, np.nan, 10.0, 30.0, 20.0]})
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, [10, 20, 30, 40])
    np.testing.assert_allclose(y, [100, 75, 50, 25])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_reached_is_a_share_of_all_nodes_by_time_of_publication(ax: Axes) -> None:
    news = pd.DataFrame({"item": [0, 1], "t_s": [0.0, 600.0], "reached": [50, 20]})
    figures.reached(ax, {"flood": news}, 50, trouble=(300.0, 900.0))
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(x, [0, 10])
    np.testing.assert_allclose(y, [100, 40])
    (span,) = ax.patches
    np.testing.assert_allclose(span.get_extents().transformed(ax.transData.inverted()).intervalx, [5, 15])
    assert "minutes" in ax.get_xlabel()


def test_dots_are_rows_of_values_with_a_bar_at_the_median(ax: Axes) -> None:
    figures.dots(ax, {"EU": [7.0, 7.5, 9.0], "NA": [11.0], "AU": []}, "seconds")
    first, bar, second, _, third = ax.lines
    np.testing.assert_array_equal(first.get_xdata(), [7, 7.5, 9])
    assert set(bar.get_xdata()) == {7.5}
    assert len(set(first.get_ydata())) == 1
    assert first.get_ydata()[0] > second.get_ydata()[0]
    assert len(third.get_xdata()) == 0
    assert [label.get_text() for label in ax.get_yticklabels()] == ["EU", "NA", "AU"]


def test_marks_stand_where_they_should_and_are_named(ax: Axes) -> None:
    figures.marks(ax, {"measured": 8.7, "simulated": 9.42})
    assert [line.get_xdata()[0] for line in ax.lines] == [8.7, 9.42]
    assert ax.get_legend_handles_labels()[1] == ["measured: 8.7", "simulated: 9.42"]
    assert len({line.get_linestyle() for line in ax.lines}) == 2
