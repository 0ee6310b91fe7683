"""The lessons on poisoning and defenses: their tables say what a hand count says; each exercise can be failed and solved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import decai_sim as ds
from decai_sim.papers import churn_and_poison as churn
from decai_sim.papers import poisoning_exercises as lesson
from decai_sim.robustness_table import Robustness
from decai_sim.viz.rules_view import RulesView

TWENTY = ds.Scenario(
    nodes=20,
    seed=1,
    network="internet",
    task=ds.tasks.FashionMNIST(model=ds.models.MLP(hidden=(32,)), partition=ds.partitions.Dirichlet(alpha=0.5)),
    protocol=ds.protocols.Federated(rounds=20, fraction=1, local_steps=10, batch_size=20, lr=0.05),
    defense="mean",
)
"""As in the lesson on poisoning."""
QUICK = ds.Scenario(nodes=8, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 1})
GROUPS = [
    [2.0, 0.4],
    [2.3, -0.2],
    [1.7, 0.1],
    [2.1, 0.9],
    [2.5, 0.5],
    [-0.2, 2.1],
    [0.3, 2.4],
    [-0.4, 1.7],
    [0.2, 1.9],
    [0.5, 2.2],
]
"""As in the lesson on defenses."""


def run(base: ds.Scenario, **changes: Any) -> ds.Run:
    return ds.run(base.but(**changes), progress=False)


# -- tables ---------------------------------------------------------------------------------------------------------------------


def test_updates_are_what_a_run_aggregates() -> None:
    scenario = QUICK.but(protocol__rounds=1, task__partition="iid", defense="mean")
    rows = lesson.updates(scenario)
    other = lesson.updates(scenario.but(seed=1))
    assert rows.shape == other.shape
    assert not torch.equal(rows, other)
    from decai_sim.learning.problem import Problem

    problem = Problem(scenario.task, scenario.nodes, ds.Streams(scenario.seed))
    counts = torch.tensor(problem.n_samples / problem.n_samples.sum(), dtype=torch.float32)
    result = ds.run(scenario, progress=False)
    assert result.model is not None
    torch.testing.assert_close(torch.as_tensor(result.model), problem.initial() + counts @ rows, atol=1e-3, rtol=1e-3)


def test_updates_need_rounds_and_a_server() -> None:
    with pytest.raises(ds.ScenarioError, match="'dpsgd' is not allowed"):
        lesson.updates(QUICK.but(protocol={"kind": "dpsgd"}, topology="ring"))


def test_attackers_come_first_and_know_all_others() -> None:
    rows = torch.tensor([[5.0], [1.0], [3.0]])
    found = lesson.crafted(ds.attacks.IPM(epsilon=0.5), rows, 1)
    assert found.tolist() == [[-1.0], [1.0], [3.0]]
    assert rows[0] == 5


def test_a_push_moves_the_mean_in_proportion_and_the_median_no_further_than_a_neighbour() -> None:
    rows = torch.tensor([[0.0], [0.0], [1.0], [2.0], [3.0]])
    table = lesson.pushed(rows, torch.tensor([2.0]), [100.0, 1000.0], {"mean": "mean", "median": "median"})
    assert table.index.tolist() == [100, 1000]
    assert table["mean"].tolist() == pytest.approx([(106 / 5) - 1.5, (1006 / 5) - 1.5])
    assert table["median"].tolist() == [0.5, 0.5]


def test_outcomes_are_those_of_the_runs() -> None:
    attacked = run(QUICK, attack={"kind": "badnets", "nodes": [1]}, defense="krum")
    table = lesson.outcomes({"one": attacked, "other": run(QUICK)})
    assert table.index.tolist() == ["one", "other"]
    assert table.loc["one", "accuracy"] == pytest.approx(100 * attacked.rounds["accuracy"].mean())
    assert table.loc["one", "attack success"] == pytest.approx(100 * attacked.rounds["attack_success"].mean())
    assert table.loc["one", "silenced"] == attacked.silenced
    assert np.isnan(table.loc["other", "attack success"])
    assert "attack success" not in lesson.outcomes({"other": run(QUICK)})


def test_a_model_says_on_test_pictures_what_its_accuracy_says() -> None:
    result = run(QUICK, protocol__rounds=5)
    data = QUICK.task.load()
    x, y = torch.as_tensor(np.array(data.x_test)), np.asarray(data.y_test)
    answers = lesson.says({"model": result}, {"plain": x}).loc[("model", "plain")].tolist()
    assert np.mean([answer == data.class_names[k] for answer, k in zip(answers, y, strict=True)]) == pytest.approx(
        result.accuracy
    )
    alone = run(QUICK, protocol={"kind": "dpsgd", "rounds": 1}, topology="ring")
    if alone.model is None:
        with pytest.raises(ds.ScenarioError, match="no single final model"):
            lesson.says({"many": alone}, {"plain": x})


# -- exercises ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "verdict"), [(12, "Solved"), (8, "it is to fall below 30%"), (20, "20 times as loud is more than 16")]
)
def test_one_node_need_not_shout_louder_than_twelve_times(scale: float, verdict: str) -> None:
    assert verdict in lesson.check_loud(run(TWENTY, attack={"kind": "sign_flip", "nodes": [7], "scale": scale}))


@pytest.mark.parametrize(
    "changes",
    [
        {"attack": {"kind": "sign_flip", "nodes": [6, 7], "scale": 12}},
        {"attack": {"kind": "sign_flip", "nodes": [7], "scale": 12}, "defense": "median"},
        {"attack": {"kind": "ipm", "nodes": [7]}},
    ],
)
def test_nothing_but_the_scale_is_to_be_changed(changes: dict[str, Any]) -> None:
    assert "change nothing but the scale" in lesson.check_loud(run(TWENTY, protocol__rounds=1, **changes))


@pytest.mark.parametrize(
    ("attack", "verdict"),
    [
        ({"kind": "model_replacement", "data": {"kind": "badnets", "target": 8}}, "Solved"),
        ({"kind": "badnets", "target": 8}, "90% are wanted"),
        ({"kind": "sign_flip"}, "want nothing in particular"),
    ],
)
def test_a_backdoor_by_one_node_takes_model_replacement(attack: dict[str, Any], verdict: str) -> None:
    assert verdict in lesson.check_backdoor(run(TWENTY, attack={"nodes": [7], **attack}))


def test_the_backdoor_must_be_one_nodes_and_stay_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    two = run(TWENTY, protocol__rounds=1, attack={"kind": "badnets", "nodes": [1, 2]})
    assert "one node of twenty" in lesson.check_backdoor(two)
    monkeypatch.setattr(lesson, "SUCCESS", 0.0)
    one = run(TWENTY, protocol__rounds=1, attack={"kind": "badnets", "nodes": [1]})
    assert "somebody would notice" in lesson.check_backdoor(one)


def test_without_attackers_there_is_nothing_to_check() -> None:
    calm = run(QUICK)
    for check in (lesson.check_loud, lesson.check_backdoor):
        with pytest.raises(ds.ScenarioError, match="about attackers"):
            check(calm)


@pytest.mark.parametrize(
    ("at", "verdict"), [((1.75, 0.25), "Solved"), ((5, -5), "chose an honest update"), ((1.1, 1.2), "Not yet")]
)
def test_krum_follows_those_who_agree_inside_a_group(at: tuple[float, float], verdict: str) -> None:
    assert verdict in lesson.check_krum(RulesView(GROUPS, attacker=at, attackers=2, reach=5))


def test_krum_must_be_led_far_enough_and_be_there() -> None:
    near = RulesView([[0, 0], [1, 0], [0, 1], [1, 1], [2, 2]], attacker=(0.5, 0.5), attackers=2)
    assert "but only 0.42" in lesson.check_krum(near)
    with pytest.raises(ds.ScenarioError, match="no rule 'Krum'"):
        lesson.check_krum(RulesView(GROUPS, rules={"mean": "mean"}))


def test_one_rule_is_to_hold_against_all_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    flip, ipm = ({"kind": kind, "fraction": 0.25} for kind in ("sign_flip", "ipm"))
    runs = {"flip": run(QUICK, attack=flip, defense="median"), "ipm": run(QUICK, attack=ipm, defense="median")}
    assert "no run under mimic" in lesson.check_holds(runs, ["flip", "mimic"])
    other = {**runs, "ipm": run(QUICK, attack=ipm, defense="krum")}
    assert "one rule for all" in lesson.check_holds(other, ["flip", "ipm"])
    monkeypatch.setattr(lesson, "FLOOR", 0.999)
    assert "wanted under each" in lesson.check_holds(runs, ["flip", "ipm"])
    monkeypatch.setattr(lesson, "FLOOR", 0.0)
    assert lesson.check_holds(runs, ["flip", "ipm"]).startswith("Solved: flip ")


def test_the_best_rule_is_that_with_the_best_worst_case() -> None:
    rows = [("median", "a", 0.7), ("median", "b", 0.5), ("krum", "a", 0.6), ("krum", "b", 0.65), ("lost", "a", math.nan)]
    frame = pd.DataFrame(rows, columns=["defense", "attack", "accuracy"]).assign(
        setting="iid", fraction=0.2, seed=0, clean_accuracy=0.9, attack_success=0.0, silenced=0, seconds=1, bytes=1, wall_s=1
    )
    table = Robustness(frame.assign(error=None), frame.assign(error=None).iloc[:0])
    assert lesson.check_best(table, "iid", "krum") == "Solved: the worst attack leaves 60.0% of krum."
    assert "1 of the others are better" in lesson.check_best(table, "iid", "median")
    for unknown in ("lost", "bulyan"):
        assert "is not in the table" in lesson.check_best(table, "iid", unknown)
    with pytest.raises(ds.ScenarioError, match="choose from iid"):
        lesson.check_best(table, "dirichlet", "krum")


# -- poisoning under churn ------------------------------------------------------------------------------------------------------


def test_more_attackers_than_a_rule_reckons_with() -> None:
    one = churn.done(churn.offline(1, {"kind": "krum", "f": 4}, 7, churn.Size("digits", 8, 3, 1)))
    assert one.rounds["n_replied"].tolist() == [13, 13, 13]
    assert churn.crowded(one) == 1  # a fifth of 13 are two, and four are there
    assert churn.crowded(one, f=4) == 0
    all_there = churn.done(churn.offline(1, {"kind": "krum", "f": 4}, 0, churn.Size("digits", 8, 3, 1)))
    assert churn.crowded(all_there) == 0


def test_ages_are_those_of_a_hand_count() -> None:
    size = churn.Size("digits", 8, 10, 1)
    one = churn.done(churn.late(1, "mean", 0.5, size))
    waiting: dict[int, list[float]] = {}
    for row in one.messages[one.messages["kind"] == "train"].sort_values("t_sent_s", kind="stable").itertuples():
        waiting.setdefault(row.dst, []).append(row.t_sent_s)
    counted = []
    for row in one.verdicts.sort_values("round", kind="stable").itertuples():
        begun = waiting[row.node].pop(0)
        if not row.byzantine:
            counted.append(row.round - 1 - sum(t_s <= begun for t_s in one.rounds["t_s"]))
    found = churn.ages(one)
    assert found["seen"] == found["kept"] == pytest.approx(np.mean(counted))  # the mean keeps all
    assert 0 < found["attackers kept"] < 0.5
    assert min(counted) >= 0


def test_the_median_over_runs_is_told() -> None:
    size = churn.Size("digits", 8, 6, 1)
    runs = [churn.done(churn.coming_and_going(seed, "median", size)) for seed in (1, 2, 3)]
    each = sorted(float(one.rounds["accuracy"].tail(5).mean()) for one in runs)
    assert churn.final(runs) == pytest.approx(each[1])
