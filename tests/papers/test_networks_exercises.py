"""The lesson on networks: its tables say what a hand count says, and its checks accept what is right and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

import decai_sim as ds
from decai_sim.papers import networks_exercises as lesson


def broadcast(nodes: int, topology: object = "ring", network: object = "ideal", **protocol: object) -> ds.Run:
    config = {"nodes": nodes, "topology": topology, "network": network, "protocol": {"kind": "broadcast", **protocol}}
    return ds.run(ds.Scenario.model_validate(config), progress=False)


PLAIN = {"kind": "internet", "latency": {"kind": "constant", "delay_s": 1.0}, "jitter": 1e-9, "upload_bps": 1e12}


def test_news_takes_a_second_a_step_round_a_ring() -> None:
    run = broadcast(10, network=PLAIN, items=3, nbytes=10, interval_s=20)
    delays = lesson.delays_s(run)
    steps = np.minimum(np.arange(10), 10 - np.arange(10))
    for row, origin in zip(delays, run.propagation()["origin"], strict=True):
        assert np.roll(row, -origin) == pytest.approx(steps, abs=1e-4)


def test_delays_agree_with_the_table_of_the_run() -> None:
    run = broadcast(60, "small_world", "internet", items=4)
    table, delays = run.propagation(), lesson.delays_s(run)
    assert np.sort(delays, axis=1)[:, 29] == pytest.approx(table["t50_s"].to_numpy())
    assert delays.max(axis=1) == pytest.approx(table["t_all_s"].to_numpy())


def test_a_tree_costs_one_copy_a_node_and_a_clique_many() -> None:
    runs = {name: broadcast(12, name, nbytes=500, items=2) for name in ("star", "complete")}
    table = lesson.speed_and_price(runs)
    assert table["reached"].tolist() == [1, 1]
    # Each of the 11 that hear of it in a clique tells the 10 others but the one it heard it from, and the first tells 11.
    assert table["copies"].tolist() == pytest.approx([1, (11 + 11 * 10) / 11])
    assert table["MB"].tolist() == pytest.approx([11 * 500 / 1e6, 121 * 500 / 1e6])


def test_whom_no_news_reaches_is_infinitely_late() -> None:
    run = broadcast(40, PARTED, items=1, interval_s=5)
    assert np.isinf(lesson.delays_s(run)).sum() == 20
    assert np.isinf(lesson.speed_and_price({"parted": run})["all_s"]).all()


PARTED = {"kind": "given", "edges": [[a, a + 1] for a in range(39) if a != 19]}


def test_the_crossover_is_rate_times_latency_in_bytes() -> None:
    assert lesson.check_crossover(62_500).startswith("Solved")
    assert "eight" in lesson.check_crossover(500_000)
    for wrong in (6_250, 55_000, 625_000):
        assert lesson.check_crossover(wrong).startswith("Not yet")


@pytest.mark.parametrize(
    ("dissemination", "verdict"),
    [
        ("flood", "copies are allowed"),
        ("push", "5 s are allowed"),
        ("block_relay", "Solved"),
        ({"kind": "push_pull", "period_s": 0.5}, "Solved"),
        ({"kind": "push", "rounds": 1}, "not everybody"),
    ],
)
def test_only_those_who_ask_first_are_fast_and_cheap(dissemination: object, verdict: str) -> None:
    run = broadcast(1000, "small_world", "internet", dissemination=dissemination, nbytes=100_000, items=1, interval_s=10)
    assert verdict in lesson.check_dissemination(run)


def test_small_news_to_few_does_not_count() -> None:
    assert "100,000 bytes are asked for" in lesson.check_dissemination(broadcast(10))


def test_only_broadcasts_have_a_price_of_this_kind() -> None:
    other = replace(broadcast(10), scenario=ds.Scenario(nodes=10))
    with pytest.raises(ds.ScenarioError, match="'federated' is not allowed"):
        lesson.check_dissemination(other)


@pytest.mark.parametrize(
    ("rewire", "verdict"), [(0, "steps from one"), (0.01, "steps from one"), (0.06, "Solved"), (0.3, "clustering")]
)
def test_a_few_shortcuts_are_enough_and_many_are_too_many(rewire: float, verdict: str) -> None:
    assert verdict in lesson.check_shortcuts(rewire)


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValidationError):
        lesson.check_shortcuts(2)
