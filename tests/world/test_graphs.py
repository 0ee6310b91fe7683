"""Graph properties against closed forms, NetworkX and NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.errors import ScenarioError
from decai_sim.world import graphs
from decai_sim.world.topologies import (
    BarabasiAlbert,
    Complete,
    ErdosRenyi,
    ExponentialGraph,
    Given,
    Hierarchical,
    Hypercube,
    OnePeerExponential,
    RandomRegular,
    Ring,
    SmallWorld,
    Star,
    Topology,
    Torus,
    TwoCliques,
    wiring,
)

RANDOM = (ErdosRenyi(mean_degree=4), SmallWorld(degree=4), BarabasiAlbert(m=2), RandomRegular(degree=4))


def gap(topology: Topology, n: int) -> float:
    return graphs.spectral_gap(graphs.metropolis(topology.csr(n, 0)))


# 64 nodes: all eigenvalues; 1,024 nodes: Lanczos; rings of that size: inversion.
@pytest.mark.parametrize("n", [64, 1024])
def test_spectral_gaps_of_closed_form(n: int) -> None:
    k = round(n**0.5)
    assert gap(Ring(), n) == pytest.approx(2 / 3 * (1 - np.cos(2 * np.pi / n)), rel=1e-6)
    assert gap(Torus(), n) == pytest.approx(2 / 5 * (1 - np.cos(2 * np.pi / k)), rel=1e-6)
    assert gap(Hypercube(), n) == pytest.approx(2 / (1 + np.log2(n)), rel=1e-6)
    assert gap(Star(), n) == pytest.approx(1 / n, rel=1e-6)
    assert gap(Complete(), n) == pytest.approx(1, rel=1e-6)
    directed = graphs.mixing(ExponentialGraph(directed=True).at(n, 0, 0), directed=True)
    assert graphs.spectral_gap(directed) == pytest.approx(2 / (1 + np.log2(n)), rel=1e-6)


def test_directed_and_undirected_exponential_graphs_are_told_apart() -> None:
    directed = graphs.mixing(ExponentialGraph(directed=True).at(64, 0, 0), directed=True)
    assert graphs.spectral_gap(directed) == pytest.approx(2 / 7)
    assert gap(ExponentialGraph(), 64) == pytest.approx(1 / 3)
    assert graphs.spectral_gap(graphs.mixing(ExponentialGraph().at(64, 0, 0))) == pytest.approx(1 / 3)


def test_spectral_gap_of_a_long_ring() -> None:
    assert gap(Ring(), 5000) == pytest.approx(2 / 3 * (1 - np.cos(2 * np.pi / 5000)), rel=1e-5)


@pytest.mark.parametrize("topology", RANDOM, ids=lambda topology: topology.kind)
def test_spectral_gap_by_lanczos_is_that_of_all_eigenvalues(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = gap(topology, 400)
    monkeypatch.setattr(graphs, "EXACT_TO", 10)
    assert gap(topology, 400) == pytest.approx(exact, rel=1e-4)


def test_spectral_gap_of_a_graph_in_parts_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Given(edges=tuple((i, i + 1) for i in range(40) if i != 20)).csr(41, 0)
    assert graphs.spectral_gap(graphs.metropolis(parts)) == pytest.approx(0, abs=1e-12)
    monkeypatch.setattr(graphs, "EXACT_TO", 10)
    assert graphs.spectral_gap(graphs.metropolis(parts)) == pytest.approx(0, abs=1e-8)
    assert graphs.spectral_gap(graphs.metropolis(Ring().csr(1, 0))) == 1


@given(n=st.integers(3, 25), p=st.floats(0, 1), seed=st.integers(0, 999))
def test_metropolis_weights_are_doubly_stochastic(n: int, p: float, seed: int) -> None:
    matrix = ErdosRenyi(p=p).csr(n, seed)
    weights = graphs.metropolis(matrix).toarray()
    assert np.allclose(weights, weights.T)
    assert np.allclose(weights.sum(axis=0), 1)
    assert (weights >= -1e-12).all()
    assert ((weights > 0) | np.eye(n, dtype=bool)).tolist() == ((matrix.toarray() > 0) | np.eye(n, dtype=bool)).tolist()
    degree = matrix.sum(axis=1)
    for a, b in zip(*(ends.tolist() for ends in wiring.links(matrix)), strict=True):
        assert weights[a, b] == pytest.approx(1 / (1 + max(degree[a], degree[b])))


@pytest.mark.parametrize("topology", [Ring(), Torus(), Star(), Hypercube(), *RANDOM], ids=lambda topology: topology.kind)
def test_consensus_error_shrinks_as_the_gap_says(topology: Topology) -> None:
    n = 64
    matrix = topology.csr(n, 1)
    weights = graphs.metropolis(matrix)
    bound = 1 - graphs.spectral_gap(weights)
    values = np.random.default_rng(0).standard_normal(n)
    errors = []
    for _ in range(300):
        errors.append(np.linalg.norm(values - values.mean()))
        values = weights @ values
    assert all(after <= bound * before + 1e-12 for before, after in itertools.pairwise(errors))
    if errors[-1] > 1e-9:  # and in the end no faster, to within what other modes leave
        assert errors[-1] / errors[-2] == pytest.approx(bound, rel=0.01)


def test_weights_of_directed_graphs() -> None:
    for k in range(6):
        weights = graphs.mixing(OnePeerExponential().at(64, 0, k), directed=True)
        assert np.allclose(weights.sum(axis=0), 1)
        assert np.allclose(weights.sum(axis=1), 1)
    alone = graphs.mixing(wiring.from_arrows(3, np.array([0, 0]), np.array([1, 2])), directed=True).toarray()
    assert np.allclose(alone, [[1 / 3, 1 / 3, 1 / 3], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    "topology", [*RANDOM, Ring(), Star(), Torus(), Complete(), TwoCliques(), Hierarchical()], ids=lambda topology: topology.kind
)
def test_properties_agree_with_networkx(topology: Topology) -> None:
    n = 100
    made, theirs = graphs.properties(topology, n, seed=2), topology.build(n, 2)
    degrees = [degree for _, degree in theirs.degree()]
    assert made["nodes"] == n
    assert made["links"] == theirs.number_of_edges()
    assert (made["degree_min"], made["degree_max"]) == (min(degrees), max(degrees))
    assert made["degree_mean"] == pytest.approx(np.mean(degrees))
    assert made["clustering"] == pytest.approx(nx.average_clustering(theirs))
    largest = max(nx.connected_components(theirs), key=len)
    assert made["parts"] == nx.number_connected_components(theirs)
    assert made["largest"] == len(largest) / n
    true = nx.diameter(theirs.subgraph(largest))
    assert true - 1 <= made["diameter"] <= true
    if topology not in RANDOM:
        assert made["diameter"] == true


def test_sampled_clustering_is_near_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for topology in (SmallWorld(degree=8), BarabasiAlbert(m=4), Star(), Complete()):
        matrix = topology.csr(500, 0)
        exact = graphs.clustering(matrix)
        monkeypatch.setattr(graphs, "CLUSTERING_WORK", 0)
        assert graphs.clustering(matrix) == pytest.approx(exact, abs=5 * 0.0012)
        monkeypatch.undo()


def test_properties_of_next_to_nothing() -> None:
    empty = Given(edges=()).csr(3, 0)
    made = graphs.properties(empty)
    assert (made["links"], made["diameter"], made["clustering"], made["spectral_gap"], made["parts"]) == (0, 0, 0, 0, 3)
    assert graphs.properties(Ring(), 1)["spectral_gap"] == 1
    with pytest.raises(ScenarioError, match="n: missing"):
        graphs.properties(Ring())


def test_table_has_a_row_for_each() -> None:
    table = graphs.properties_table([Ring(), Star()], 20)
    assert table.index.tolist() == ["ring", "star"]
    assert table.loc["star", "degree_max"] == 19
    named = graphs.properties_table({"few": SmallWorld(degree=2), "many": SmallWorld(degree=6)}, 20)
    assert named.links.to_dict() == {"few": 20, "many": 60}


def test_hubs_hold_scale_free_graphs_together_and_nobody_else_does() -> None:
    """Albert, Jeong and Barabási 2000: with hubs first it is in pieces by 18 %; at random a large part stays."""
    n = 5000
    matrix = BarabasiAlbert(m=2).csr(n, 0)

    def left(by: Any, share: float, generator: np.random.Generator | None = None) -> float:
        alive = np.ones(n, bool)
        alive[graphs.attack_order(matrix, by, generator)[: int(share * n)]] = False
        return graphs.largest_component(matrix, alive)

    assert left("degree", 0.18) < 0.1
    assert left("random", 0.18, np.random.default_rng(0)) > 0.7
    assert left("degree", 0.05) > 0.75


def test_random_graphs_break_where_theory_says() -> None:
    # Random removal of a share f leaves a giant part while ⟨k⟩(1 − f) > 1: 0.75 at mean degree 4. Its size s solves
    # s = (1 − f)(1 − exp(−⟨k⟩ s)).
    n = 20_000
    matrix = ErdosRenyi(mean_degree=4).csr(n, 1)
    order = graphs.attack_order(matrix, "random", np.random.default_rng(2))
    for share in (0.0, 0.3, 0.6, 0.85):
        alive = np.ones(n, bool)
        alive[order[: int(share * n)]] = False
        size = 1.0
        for _ in range(500):
            size = (1 - share) * (1 - np.exp(-4 * size))
        assert graphs.largest_component(matrix, alive) == pytest.approx(size, abs=0.01)


@given(n=st.integers(1, 40), p=st.floats(0, 0.5), seed=st.integers(0, 999))
def test_recalculated_order_always_takes_the_most_connected_that_is_left(n: int, p: float, seed: int) -> None:
    graph = ErdosRenyi(p=p).build(n, seed)
    order = graphs.attack_order(ErdosRenyi(p=p).csr(n, seed), recalculate=True).tolist()
    assert sorted(order) == list(range(n))
    for node in order:
        assert node == min(graph, key=lambda other: (-graph.degree(other), other))
        graph.remove_node(node)


def test_orders() -> None:
    matrix = BarabasiAlbert(m=2).csr(200, 0)
    theirs = nx.betweenness_centrality(BarabasiAlbert(m=2).build(200, 0), normalized=False)
    assert np.allclose(graphs.betweenness(matrix), [theirs[node] for node in range(200)])
    assert graphs.attack_order(matrix, "betweenness")[0] == max(theirs, key=lambda node: theirs[node])
    degree = np.diff(matrix.indptr)[graphs.attack_order(matrix)]
    assert (np.diff(degree) <= 0).all()
    ring = Ring().csr(50, 0)
    assert graphs.attack_order(ring).tolist() == list(range(50))  # ties: the lowest number
    shuffled = graphs.attack_order(ring, "degree", np.random.default_rng(0)).tolist()
    assert shuffled != list(range(50))
    assert sorted(shuffled) == list(range(50))
    assert graphs.attack_order(ring, "random").tolist() == graphs.attack_order(ring, "random").tolist()
    with pytest.raises(ScenarioError, match="by: 'beauty' is not allowed: choose one of random"):
        graphs.attack_order(ring, "beauty")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="recalculate: True is not allowed"):
        graphs.attack_order(ring, "random", recalculate=True)


def test_sampled_betweenness_finds_the_most_central(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = BarabasiAlbert(m=2).csr(1000, 0)
    exact = graphs.attack_order(matrix, "betweenness")[:10]
    monkeypatch.setattr(graphs, "BETWEENNESS_WORK", 300_000)
    sampled = graphs.attack_order(matrix, "betweenness", np.random.default_rng(0))[:10]
    assert len(set(exact.tolist()) & set(sampled.tolist())) >= 8
