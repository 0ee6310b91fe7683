"""The lesson on learning without a server: its tables are right; each exercise can be failed and solved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import decai_sim as ds
from decai_sim.errors import ScenarioError
from decai_sim.papers import gossip_exercises as lesson
from decai_sim.papers.scattered import averaged

AGREE = ds.Scenario(
    nodes=32,
    seed=1,
    topology={"kind": "random_regular", "degree": 4},
    network="internet",
    task={"kind": "digits", "model": "softmax"},
    protocol={"kind": "dpsgd", "rounds": 8, "node_tests": 0},
)
WORK: dict[str, Any] = {"kind": "dpsgd", "rounds": 4, "local_steps": 3, "node_tests": 200}
LEARN = ds.Scenario(nodes=12, seed=1, topology="ring", network="internet", task="digits", protocol=WORK)
SLOW = {"kind": "slow_links", "nodes": [0], "factor": 20}


def test_what_is_left_of_the_distance_is_that_of_the_weights() -> None:
    run = averaged(AGREE.but(topology="complete", nodes=6, protocol__rounds=3))
    left = lesson.agreement(run)
    assert left.index.tolist() == [0, 1, 2, 3]
    assert left[0] == 1
    assert left[1] < 1e-6
    assert lesson.pace(run) == 0
    assert lesson.agreement(run, at="t_s").index.tolist() == [0, *run.rounds["t_s"]]
    by_ring = averaged(AGREE.but(topology="ring", nodes=6, protocol__rounds=12))
    assert lesson.pace(by_ring) == pytest.approx(2 / 3, rel=1e-3)
    assert lesson.sent(by_ring) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "Not yet: 5.40% of the distance is left after 8 rounds, with 4.0 messages a node and round; 1% is wanted."),
        ({"topology": "exponential"}, "no more than 6 may be sent"),
        ({"protocol__rounds": 4}, "Not yet: let it run for 8 rounds."),
        ({"nodes": 16}, "Not yet: leave it at 32 nodes."),
        ({"topology": "one_peer_exponential", "protocol": {"kind": "sgp", "rounds": 8, "node_tests": 0}}, "Solved: 0.00%"),
    ],
)
def test_agreeing_cheaply(change: dict[str, Any], said: str) -> None:
    assert said in lesson.check_agreement(averaged(AGREE.but(**change)))


def test_the_table_of_nodes_says_what_frames_say() -> None:
    run = ds.run(LEARN, progress=False)
    row = lesson.nodes_do({"ring": run}).loc["ring"]
    last = np.sort(run.models[run.models["round"] == 4]["accuracy"])
    assert row["mean"] == pytest.approx(last.mean())
    assert row["worst tenth"] == pytest.approx(last[:2].mean()), "two of twelve are the tenth that does worst"
    assert row["end_s"] == run.rounds["t_s"].iloc[-1]
    assert 0 < row["waited"] < 1
    assert row["MB"] == pytest.approx(run.nodes["bytes_up"].sum() / 12e6)
    assert lesson.by_hop(run).index.tolist() == [1, 2, 3, 4]


def test_going_round_the_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesson, "LEVEL", 0.4)
    late = LEARN.but(faults=[SLOW | {"factor": 1000}])
    assert "0.0% within 1 s" in lesson.check_slow(ds.run(late, progress=False))
    assert lesson.check_slow(ds.run(LEARN, progress=False)) == "Not yet: leave the slow node slow."
    quick = ds.run(late.but(protocol=WORK | {"kind": "ad_psgd", "rounds": 40}), progress=False)
    assert lesson.check_slow(quick).startswith("Solved: ")


def test_a_federation_is_not_what_the_lesson_is_about() -> None:
    run = ds.run(LEARN.but(protocol={"kind": "federated", "rounds": 1}), progress=False)
    with pytest.raises(
        ScenarioError, match="protocol: 'federated' is not allowed: the exercise is about learning without a server"
    ):
        lesson.check_slow(run)
