"""D-PSGD: mixing weights, learning, churn."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

import decai_sim as ds
from decai_sim.protocols import DPSGD, Lab, PeerToPeer
from decai_sim.protocols.peers import Peers
from decai_sim.seeding import Streams
from decai_sim.world import Given, Ideal, Mix
from decai_sim.world.world import World

PATH = [(0, 1), (1, 2)]
METROPOLIS = [[2 / 3, 1 / 3, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 3, 2 / 3]]  # Xiao, Boyd & Kim, (2), by hand
UNIFORM = [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]]


def lab_on(topology: object, n: int) -> Lab:
    streams = Streams(5)
    world = World(n, Ideal(), None, Mix(laptop=1), streams, topology)  # type: ignore[arg-type]
    return Lab(world, ds.tasks.Digits(), streams, topology, None, frozenset(), None)  # type: ignore[arg-type]


def after(protocol: PeerToPeer, lab: Lab, before: torch.Tensor) -> np.ndarray:
    """What different models become, ``(n, d)``, if training changes nothing."""
    still = protocol.model_copy(update={"lr": 1e-30, "node_tests": 0})
    with lab.execution.trainer(lab.problem, lambda: None) as trainer:
        peers = Peers(lab, still, trainer, before)
        peers.run()
        trainer.complete(peers.models)
        return torch.stack([model.result.tensor() for model in peers.models if model.result]).numpy()


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, METROPOLIS),
        ({"weights": "uniform"}, UNIFORM),
        ({"edge_weights": [(0, 1, 0.25), (2, 1, 0.5)]}, [[0.75, 0.25, 0], [0, 1, 0], [0, 0.5, 0.5]]),
    ],
)
def test_a_round_multiplies_by_the_weights(options: dict[str, object], weights: list[list[float]]) -> None:
    lab = lab_on(Given(edges=PATH, nodes=3), 3)
    before = torch.randn(3, lab.problem.layout.d, generator=torch.Generator().manual_seed(1))
    found = after(DPSGD(rounds=1, **options), lab, before)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, np.array(weights) @ before.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_many_rounds_multiply_by_a_power_of_them(seed: int) -> None:
    graph = nx.gnp_random_graph(9, 0.5, seed=seed)
    nx.add_path(graph, range(9))
    lab = lab_on(Given(edges=list(graph.edges), nodes=9), 9)
    weights = np.zeros((9, 9))
    for a, b in graph.edges:
        weights[a, b] = weights[b, a] = 1 / (1 + max(graph.degree[a], graph.degree[b]))
    weights += np.diag(1 - weights.sum(1))
    before = torch.randn(9, lab.problem.layout.d, generator=torch.Generator().manual_seed(seed))
    found = after(DPSGD(rounds=3), lab, before)
    np.testing.assert_allclose(found, np.linalg.matrix_power(weights, 3) @ before.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_those_of_the_links_among_who_is_there(seed: int) -> None:
    graph = nx.gnp_random_graph(9, 0.7, seed=seed)
    nx.add_star(graph, [8, *range(8)])
    lab = lab_on(Given(edges=list(graph.edges), nodes=9), 9)
    for node in (3, 8):
        lab.world.nodes.depart(node, "crash")
    here = graph.subgraph([0, 1, 2, 4, 5, 6, 7])
    weights = np.eye(9)
    for a, b in here.edges:
        weights[a, b] = weights[b, a] = 1 / (1 + max(here.degree[a], here.degree[b]))
    weights -= np.diag(weights.sum(1) - 1)
    before = torch.randn(9, lab.problem.layout.d, generator=torch.Generator().manual_seed(seed))
    found = after(DPSGD(rounds=2), lab, before)
    np.testing.assert_allclose(found, weights @ weights @ before.numpy(), rtol=1e-4, atol=1e-5)


def test_a_round_of_all_nodes_is_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.learning.store import Store

    sums: list[int] = []
    combined = Store.combined

    def counted(self: Store, rows: Any, of: Any, begins: Any, weights: Any) -> Any:
        sums.append(len(begins))
        return combined(self, rows, of, begins, weights)

    monkeypatch.setattr(Store, "combined", counted)
    ds.run(scenario(network="ideal", protocol__evaluate_every=6), progress=False)
    assert sums == [16] * 6


def scenario(**changes: object) -> ds.Scenario:
    base = ds.Scenario(nodes=16, task="digits", topology="ring", network="internet", protocol={"kind": "dpsgd", "rounds": 6})
    return base.but(**changes)


def test_nodes_learn_together_without_a_server() -> None:
    run = ds.run(scenario(), progress=False)
    assert run.accuracy > 0.7
    assert (run.messages["src"] >= 0).all()
    assert (run.messages["dst"] >= 0).all()
    assert len(run.messages) == 6 * 16 * 2
    assert ds.run(scenario(), progress=False).trace_digest == run.trace_digest
    assert len(run.models) == 6 * 16
    assert (run.models["updates"] >= run.models["round"]).all()  # some are ahead


def test_nobody_waits_longer_than_the_deadline_and_all_go_on_under_churn() -> None:
    churn = {"kind": "exponential", "mean_online_s": 2, "mean_offline_s": 1}
    run = ds.run(scenario(churn=churn, protocol__deadline_s=5, protocol__rounds=30), progress=False)
    assert len(run.rounds) == 30
    assert run.rounds["n_selected"].nunique() > 1
    assert run.models.groupby("node")["waited_s"].max().max() <= 30 * 5.0


def test_what_does_not_arrive_in_time_counts_as_the_nodes_own() -> None:
    slow = scenario(
        nodes=4, faults=[{"kind": "slow_links", "nodes": [0], "factor": 1e5}], protocol__deadline_s=1, protocol__rounds=2
    )
    run = ds.run(slow, progress=False)
    assert len(run.rounds) == 2
    assert 0.9 < run.models["waited_s"].max() < 2.1


def test_looking_less_often_changes_nothing_else() -> None:
    each, last = ds.run(scenario(), progress=False), ds.run(scenario(protocol__evaluate_every=6), progress=False)
    assert last.trace_digest == each.trace_digest
    assert last.rounds["accuracy"].isna().tolist() == [True] * 5 + [False]
    assert each.model is not None
    assert last.model is not None
    np.testing.assert_allclose(last.model, each.model, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("change", [{"defense": "median"}, {"attack": "sign_flip"}])
def test_what_it_does_not_do_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ds.ScenarioError, match="dpsgd"):
        ds.run(scenario(**change), progress=False)


def test_weights_for_links_that_there_are_not_are_refused() -> None:
    wrong = scenario(protocol__edge_weights=[(0, 5, 0.5)])
    with pytest.raises(
        ds.ScenarioError, match=r"protocol\.edge_weights\.0: \(0, 5, 0\.5\) is not allowed: no link leads from 5 to 0"
    ):
        ds.run(wrong, progress=False)
