"""Claims about learning without a server, by their parts: each figure can come out otherwise."""

from __future__ import annotations

import numpy as np
import pytest

import decai_sim as ds
from decai_sim.papers import (
    ad_psgd,
    consensus_in_runs,
    epidemic_learning,
    exponential_graphs,
    moshpit,
    push_sum,
    rows,
    uneven_rings,
)
from decai_sim.papers.claims import claims
from decai_sim.papers.each_node import each_node
from decai_sim.papers.scattered import apart, averaged


def test_the_gap_says_how_quickly_a_run_agrees_and_another_graphs_does_not() -> None:
    from decai_sim.world.graphs import mixing, spectral_gap

    how = consensus_in_runs._graphs()["torus"]
    errors = apart(averaged(consensus_in_runs.scenario(how, 9, rounds=8)))
    rate = 1 - errors[-1] / errors[-2]
    assert rate == pytest.approx(spectral_gap(mixing(ds.topologies.Torus().csr(9, 0))), rel=1e-3)
    assert rate > 1.3 * spectral_gap(mixing(ds.topologies.Ring().csr(9, 0)))


def test_push_sum_is_off_the_mean_by_rounding_and_plain_averages_are_off_it() -> None:
    exact, biased = (
        push_sum.off_mean(averaged(push_sum.scenario(way, 1, nodes=10, rounds=30))) for way in ("push-sum", "plain averages")
    )
    assert exact < 1e-5
    assert biased > 1e-3


def test_running_sums_make_up_for_what_is_lost_and_shares_do_not() -> None:
    kept, lost = (
        push_sum.off_mean(averaged(push_sum.scenario(way, 1, nodes=8, rounds=40, loss=0.1)))
        for way in ("push-sum of running sums", "push-sum")
    )
    assert kept < 1e-4
    assert lost > 1e-2


@pytest.mark.parametrize(("graph", "wanted"), [("ring", 2), ("exponential", 3), ("one-peer exponential", 1), ("complete", 7)])
def test_messages_are_those_of_the_graph(graph: str, wanted: int) -> None:
    size = exponential_graphs.Size(nodes=8, rounds=10)
    scenario = exponential_graphs.scenario(graph, 1, size).but(task="digits")
    assert exponential_graphs.sent(ds.run(scenario, progress=False)) == wanted


def test_who_gets_no_average_is_counted() -> None:
    calm = averaged(moshpit.scenario(3, 1, nodes=9, rounds=2, online_s=None))
    assert moshpit.failed(calm) == 0
    hard = moshpit.scenario(9, 1, nodes=9, rounds=4, online_s=None)
    late = hard.but(faults=[{"kind": "crash", "nodes": [4], "at_s": 1.5}])
    assert moshpit.failed(averaged(late)) == pytest.approx(8 / 33, abs=0.01), "all others, once in four rounds"


def test_one_slow_node_holds_up_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ad_psgd, "TARGET", 0.6)
    size = ad_psgd.Size(nodes=8, rounds=6, seeds=1)
    took = {
        (kind, slow): ad_psgd.seconds(ad_psgd.scenario(kind, 1, size, slow).but(task__model={"kind": "softmax"}))
        for kind in ad_psgd.PROTOCOLS
        for slow in (True, False)
    }
    assert took["dpsgd", True] > 1.5 * took["dpsgd", False]
    assert took["ad_psgd", True] < 1.2 * took["ad_psgd", False]


def test_each_nodes_accuracy_takes_the_place_of_the_mean_models() -> None:
    scenario = consensus_in_runs.scenario({"topology": "ring", "protocol": {"kind": "dpsgd", "node_tests": 100}}, 5, rounds=2)
    run = ds.run(scenario, progress=False)
    own = run.models.groupby("round")["accuracy"].mean()
    np.testing.assert_allclose(each_node(run)["accuracy"], own)
    assert (each_node(run)["accuracy"] != run.rounds["accuracy"]).any()


def test_names_of_rows_are_each_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_sum, "averaged", lambda scenario: scenario)
    monkeypatch.setattr(push_sum, "off_mean", lambda scenario: 1e-6 * scenario.seed)
    for profile in ("smoke", "paper"):
        found = claims()["push-sum"].rows(profile)  # type: ignore[arg-type]
        assert len({row.name for row in found}) == len(found)
        assert next(row.meets for row in found if row.target) is True
    assert rows.median_interval([1.0]) == (1.0, 1.0, 1.0, 0.0)


def test_only_who_is_there_counts() -> None:
    how = {"topology": "ring", "protocol": {"kind": "dpsgd", "node_tests": 100}}
    gone = [{"kind": "crash", "nodes": [1, 4], "at_s": 0.15}]
    run = ds.run(consensus_in_runs.scenario(how, 6, rounds=8).but(faults=gone), progress=False)
    last = run.models[run.models["round"] == 8].set_index("node")
    assert not last["online"][[1, 4]].any()
    stay = last.drop(index=[1, 4])
    assert each_node(run)["accuracy"].iloc[-1] == pytest.approx(stay["accuracy"].mean())
    assert apart(run)[-1] == pytest.approx(np.sqrt((stay["distance"] ** 2).mean() * 6))
    assert last["accuracy"].mean() != pytest.approx(stay["accuracy"].mean())


def test_the_gap_is_held_against_runs_on_every_topology_that_has_one() -> None:
    from decai_sim.component import kinds

    tried = {consensus_in_runs.scenario(how, 16).topology.kind for how in consensus_in_runs._graphs().values()}
    ours = {kind for kind, cls in kinds("topologies").items() if cls.__module__.startswith("decai_sim.")}
    assert tried == ours - consensus_in_runs.NO_ONE_GRAPH


SMALL = {
    "epidemic-learning": (epidemic_learning, {"nodes": 10, "degree": 3, "rounds": 5, "target": 0.2}),
    "uneven-rings": (uneven_rings, {"nodes": 8, "rounds": 3}),
}
"""Claims at a size at which no figure need be met: the smoke profile of every claim without a server takes 20 s or more."""


@pytest.mark.parametrize("name", SMALL)
def test_a_claim_judges_what_it_measures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, size = SMALL[name]
    monkeypatch.setattr(module, "SMOKE", module.Size(**size, seeds=1))
    found = claims()[name].rows("smoke")
    judged = [row for row in found if row.target]
    assert len({row.name for row in found}) == len(found)
    assert judged
    assert all(row.source for row in judged)
    assert not any(np.isnan(row.value) for row in judged)
