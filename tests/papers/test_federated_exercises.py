"""The lesson on federated learning: its tables say what a hand count says; each exercise can be failed and solved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import decai_sim as ds
from decai_sim.papers import federated_exercises as lesson
from decai_sim.papers.curves import reaching, settled, swing
from decai_sim.papers.fedbuff import answered, share_from

AT_WORK: dict[str, Any] = {"fraction": 0.2, "local_steps": 20, "batch_size": 20, "lr": 0.05}
FIFTY = ds.Scenario(
    nodes=50,
    seed=1,
    network="internet",
    task=ds.tasks.FashionMNIST(model="softmax", partition=ds.partitions.Pathological(classes_per_node=2)),
    protocol=ds.protocols.Federated(rounds=15, **AT_WORK),
)
STRAGGLERS = ds.Scenario(
    nodes=100,
    seed=1,
    network="internet",
    devices=ds.devices.Mix(raspberry_pi=0.1, phone=0.4, laptop=0.4, gpu=0.1),
    task=ds.tasks.FashionMNIST(model=ds.models.MLP(hidden=(64,))),
    protocol=ds.protocols.Federated(rounds=14, **AT_WORK),
    faults=[ds.faults.SlowLinks(nodes=lesson.SLOW, factor=10)],
)


def run(base: ds.Scenario = STRAGGLERS, **changes: Any) -> ds.Run:
    return ds.run(base.but(**changes), progress=False)


def digits(**protocol: Any) -> ds.Run:
    """A small and quick federation; one of its ten nodes is far away."""
    faults = [{"kind": "slow_links", "nodes": [0], "lag": 20}]
    config = {"kind": "federated", "rounds": 6, "fraction": 0.5, **protocol}
    return run(ds.Scenario(nodes=10, seed=2, network="internet", task="digits"), protocol=config, faults=faults)


CURVE = pd.DataFrame(
    {"round": [1, 2, 3, 4], "t_s": [1.0, 2.0, 4.0, 8.0], "accuracy": [0.2, np.nan, 0.6, 0.5], "n_replied": [3, 2, 3, 3]}
)


def test_what_it_took_to_reach_an_accuracy_is_counted() -> None:
    assert reaching(CURVE, 0.5) == {"round": 3, "t_s": 4, "replies": 8}
    assert np.isinf(list(reaching(CURVE, 0.61).values())).all()
    assert settled(CURVE, 2) == pytest.approx(0.55)
    assert swing(CURVE, 3) == pytest.approx((0.4 + 0.1) / 2)


@pytest.mark.parametrize("over_select", [1.0, 1.6])
def test_replies_that_are_read_are_those_the_server_counts(over_select: float) -> None:
    found = digits(over_select=over_select)
    everybody = list(range(10))
    read = round(share_from(found, everybody) * found.rounds["n_replied"].sum())
    assert read == found.rounds["n_replied"].sum()
    one_by_one = sum(share_from(found, [node]) for node in everybody)
    assert one_by_one == pytest.approx(1)
    late = answered(found).merge(found.rounds[["round", "t_s"]], how="cross").query("t_asked_s < t_s < t_delivered_s")
    assert (len(late) > 0) == (over_select > 1)


def test_who_is_slow_is_heard_without_rounds_but_not_under_over_selection() -> None:
    assert share_from(digits(over_select=1.0), [0]) > 0
    assert share_from(digits(over_select=1.6), [0]) == 0
    assert share_from(digits(kind="fedbuff", rounds=20, buffer=3), [0]) > 0


def test_a_reply_takes_two_ways_and_the_work_between() -> None:
    network = {"kind": "internet", "latency": {"kind": "constant", "delay_s": 0.5}, "jitter": 1e-9, "upload_bps": 1e12}
    found = run(ds.Scenario(nodes=10, task="digits", devices={"kind": "mix", "gpu": 1}), network=network)
    np.testing.assert_allclose(lesson.response_s(found), 1.0, atol=0.01)
    assert len(lesson.response_s(found)) == found.rounds["n_replied"].sum()


def test_costs_are_those_of_the_run() -> None:
    found = digits()
    table = lesson.costs({"one": found, "two": found}, accuracy=0.3, slow=(0,))
    assert table.index.tolist() == ["one", "two"]
    row = table.loc["one"]
    assert row["end_s"] == found.rounds["t_s"].iloc[-1]
    assert row["MB"] == pytest.approx((found.nodes["bytes_up"].sum() + found.nodes["bytes_down"].sum()) / 1e6, rel=0.01)
    assert row["seconds"] == found.rounds.loc[found.rounds["accuracy"] >= 0.3, "t_s"].iloc[0]
    assert row["from slow"] == share_from(found, [0])
    assert "from slow" not in lesson.costs({"one": found}, accuracy=0.3)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "Not yet: 6"),
        ({"protocol__scaffold": True, "protocol__local_steps": 50}, "Solved"),
        ({"protocol__rounds": 3, "protocol__fraction": 1}, "Not yet: 6"),
        ({"protocol__rounds": 4, "protocol__fraction": 1, "protocol__local_steps": 1}, "Not yet: 200 replies"),
        ({"protocol__rounds": 1, "task__partition": "iid"}, "Not yet: leave the data"),
        ({"protocol__rounds": 1, "task__kind": "digits"}, "Not yet: leave the data"),
    ],
)
def test_control_variates_solve_the_first_exercise(changes: dict[str, Any], verdict: str) -> None:
    assert lesson.check_drift(run(FIFTY, **changes)).startswith(verdict)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"protocol__deadline_s": 0.55}, "Solved"),
        ({"protocol__deadline_s": 0.35}, "85% are wanted"),
        ({"protocol__deadline_s": 2}, "8 s are allowed"),
        ({"protocol__deadline_s": 0.55, "protocol__rounds": 1}, "change nothing but deadline_s"),
        ({"protocol__over_select": 1.3, "protocol__rounds": 1}, "change nothing but deadline_s"),
    ],
)
def test_a_deadline_behind_nine_replies_in_ten_solves_the_second_exercise(changes: dict[str, Any], verdict: str) -> None:
    assert verdict in lesson.check_deadline(run(**changes))


@pytest.mark.parametrize(
    ("protocol", "verdict"),
    [
        ({"kind": "fedbuff", "rounds": 28, "buffer": 10}, "Solved"),
        ({"kind": "fedbuff", "rounds": 14, "buffer": 20}, "it is wanted within"),
        ({"kind": "fedbuff", "rounds": 1, "fraction": 0.4}, "at most 20%"),
        ({"kind": "federated", "rounds": 1}, "never reached"),
    ],
)
def test_a_buffer_that_is_neither_small_nor_large_solves_the_third_exercise(protocol: dict[str, Any], verdict: str) -> None:
    assert verdict in lesson.check_race(run(protocol={**AT_WORK, **protocol}))


def test_the_race_is_not_won_without_the_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesson, "SOON", 0.3)
    assert "come from the slow tenth; at least 4%" in lesson.check_race(run(protocol__over_select=1.5, protocol__rounds=2))


def test_the_exercises_need_a_server() -> None:
    alone = run(ds.Scenario(nodes=4, task="digits", topology="ring"), protocol={"kind": "dpsgd", "rounds": 1})
    with pytest.raises(ds.ScenarioError, match="'dpsgd' is not allowed"):
        lesson.check_race(alone)


@pytest.mark.parametrize(
    ("t_s", "accuracy", "replies", "verdict"),
    [
        (70.0, 0.86, 8, "Solved"),
        (80.0, 0.86, 9, "within 75 s"),
        (70.0, 0.8, 9, "never reached"),
        (70.0, 0.9, 7, "only 7 replies in round 2"),
    ],
)
def test_the_app_is_to_be_quick_and_heard_by_many(t_s: float, accuracy: float, replies: int, verdict: str) -> None:
    rounds = pd.DataFrame({"round": [1, 2], "t_s": [10.0, t_s], "accuracy": [0.5, accuracy], "n_replied": [10, replies]})
    assert verdict in lesson.check_app(rounds)
