"""Rules in the plane: aggregates are those of the rules; and what the lessons on poisoning draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from decai_sim.defenses import Context, Krum
from decai_sim.errors import ScenarioError
from decai_sim.viz import figures
from decai_sim.viz.rules_view import RULES, RulesView

FIVE = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.4]]


@pytest.fixture
def ax() -> Axes:
    fig, ax = plt.subplots()
    plt.close(fig)
    return ax


def test_marks_are_what_the_rules_say() -> None:
    view = RulesView(FIVE, attacker=(0.5, 0.5), attackers=2)
    view.attacker = [1.5, -1.0]
    rows = torch.tensor([*FIVE, [1.5, -1.0], [1.5, -1.0]], dtype=torch.float64)
    table = view.table().set_index("rule")
    assert table.index.tolist() == list(RULES)
    assert table.loc["mean", ["x", "y"]].tolist() == pytest.approx(rows.mean(dim=0).tolist())
    krum = Krum().explain(rows, Context(f=2))
    assert table.loc["Krum", ["x", "y"]].tolist() == krum.value.tolist()
    assert table.loc["Krum", "left_out"] == 6
    middle = np.mean(FIVE, axis=0)
    off = np.linalg.norm(table[["x", "y"]].to_numpy(dtype=float) - middle, axis=1)
    np.testing.assert_allclose(table["off"].to_numpy(dtype=float), off)


def test_who_goes_beyond_the_picture_stays_at_its_edge() -> None:
    view = RulesView(FIVE, attacker=(9.0, -9.0), reach=2)
    assert view.attacker == [2, -2]
    with pytest.raises(ScenarioError, match="two finite numbers"):
        view.attacker = [float("nan"), 0.0]
    with pytest.raises(ScenarioError, match="chosen: 'Bulyan' is not allowed"):
        view.chosen = "Bulyan"


def test_a_rule_that_refuses_so_few_updates_says_so() -> None:
    table = RulesView(FIVE, rules={"mean": "mean", "bulyan": {"kind": "bulyan", "f": 2}}).table()
    assert table["error"].iloc[0] is None
    assert "bulyan" in table["error"].iloc[1]
    assert np.isnan(table["x"].iloc[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"honest": [1.0, 2.0]}, r"honest: shape \(2,\)"),
        ({"honest": [[float("inf"), 0.0]]}, "honest"),
        ({"attackers": 5}, "attackers: 5 is not allowed"),
        ({"attackers": 0}, "attackers: 0 is not allowed"),
        ({"reach": 0.5}, "reach"),
        ({"rules": {}}, "rules: 0 are not allowed"),
        ({"rules": {str(k): "mean" for k in range(9)}}, "rules: 9 are not allowed"),
        ({"rules": {"mine": "nope"}}, "rules.mine"),
        ({"rules": {"mine": ["nnm"]}}, "rules.mine"),
        ({"rules": {"mine": None}}, "a rule is wanted"),
        ({"rules": {"mine": "fltrust"}}, "there are only updates"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        RulesView(**{"honest": FIVE, **changes})


def test_pictures_stand_in_rows(ax: Axes) -> None:
    figures.images(ax, {"before": np.zeros((3, 4, 4)), "after": np.full((3, 4, 4), 255.0)})
    (image,) = ax.images
    shown = np.asarray(image.get_array())
    assert shown.shape == (2 * 6, 3 * 6)
    assert shown[:6].max() == 0
    assert shown[6:].sum() == 3 * 16
    assert [label.get_text() for label in ax.get_yticklabels()] == ["before", "after"]
    for rows in ({"none": []}, {"one": np.zeros((1, 4, 4)), "two": np.zeros((2, 4, 4))}):
        with pytest.raises(ScenarioError, match="rows"):
            figures.images(ax, rows)


def test_a_backdoor_is_drawn_beside_the_accuracy(ax: Axes) -> None:
    figures.backdoor(ax, {"one": pd.DataFrame({"round": [1, 2], "attack_success": [0.1, 0.9], "accuracy": [0.5, 0.6]})})
    success, accuracy = ax.lines
    assert success.get_ydata() == pytest.approx([10, 90])
    assert accuracy.get_ydata() == pytest.approx([50, 60])
    assert ax.get_legend_handles_labels()[1] == ["one"]


def test_zeros_have_no_place_among_logarithms(ax: Axes) -> None:
    figures.moved(ax, {"mean": pd.Series([0.0, 1.0, 10.0], index=[1, 10, 100])}, "length")
    (line,) = ax.lines
    assert list(line.get_xdata()) == [10, 100]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
