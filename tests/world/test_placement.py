"""Where the few are put."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.errors import ScenarioError
from decai_sim.world.placement import bisection, place
from decai_sim.world.topologies import BarabasiAlbert, ErdosRenyi, Given, Ring, SmallWorld, Star, Torus, TwoCliques

REGIONS = np.array(["EU", "NA", "EU", "AP", "EU", "NA"])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(
    where=st.sampled_from(["random", "degree", "betweenness", "cut", "region:EU"]),
    n=st.integers(1, 30),
    share=st.floats(0, 1),
    p=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_places_are_different_nodes_and_the_same_each_time(where: str, n: int, share: float, p: float, seed: int) -> None:
    count, matrix, regions = int(share * n), ErdosRenyi(p=p).csr(n, seed), np.full(n + 1, "EU")  # the server is the last
    first, again = (place(where, count, matrix, regions, np.random.default_rng(seed)) for _ in range(2))
    assert first.dtype == np.int64
    assert first.tolist() == again.tolist() == sorted(set(first.tolist()))
    assert len(first) == count
    assert set(first.tolist()) <= set(range(n))


def test_the_most_connected_and_the_most_central() -> None:
    graph = BarabasiAlbert(m=2).build(300, 1)
    matrix = BarabasiAlbert(m=2).csr(300, 1)
    chosen = place("degree", 10, matrix, None, rng())
    rest = set(range(300)) - set(chosen.tolist())
    assert min(graph.degree(node) for node in chosen.tolist()) >= max(graph.degree(node) for node in rest)
    theirs = nx.betweenness_centrality(graph)
    best = sorted(theirs, key=lambda node: -theirs[node])[:10]
    assert place("betweenness", 10, matrix, None, rng()).tolist() == sorted(best)
    assert place("degree", 1, Star().csr(9, 0), None, rng()).tolist() == [0]


def test_equals_are_chosen_by_lot() -> None:
    ring = Ring().csr(100, 0)
    chosen = [tuple(place("degree", 5, ring, None, np.random.default_rng(s)).tolist()) for s in range(5)]
    assert len(set(chosen)) == 5


def test_in_a_region() -> None:
    ring = Ring().csr(5, 0)
    assert place("region:EU", 3, ring, REGIONS, rng()).tolist() == [0, 2, 4]
    assert place("region:NA", 1, ring, REGIONS, rng()).tolist() == [1]  # the sixth is the server


def test_at_the_cut() -> None:
    assert place("cut", 2, TwoCliques().csr(30, 0), None, rng()).tolist() == [14, 15]
    assert place("cut", 6, TwoCliques(bridges=3).csr(30, 0), None, rng()).tolist() == [12, 13, 14, 15, 16, 17]
    # A long grid is cut across its short side, whichever column that is; two links a row, for it is closed.
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(40, 4), ordering="sorted")
    chosen = place("cut", 8, Given.of(grid).csr(160, 0), None, rng())
    assert sorted(set((chosen // 4).tolist())) == [19, 20]


@pytest.mark.parametrize("n", [200, 2000])
def test_removing_the_cut_parts_what_hubs_do_not(n: int) -> None:
    # Two small worlds with five links between them.
    half = n // 2
    one = SmallWorld(degree=6).build(half, 0)
    graph = nx.disjoint_union(one, SmallWorld(degree=6).build(half, 1))
    graph.add_edges_from((k, half + 3 * k) for k in range(5))
    matrix = Given.of(graph).csr(n, 0)
    chosen = place("cut", 10, matrix, None, rng())
    graph.remove_nodes_from(chosen.tolist())
    assert [len(part) for part in nx.connected_components(graph)] == [half - 5, half - 5]


def test_bisection_is_the_fiedler_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    position = bisection(Given.of(nx.path_graph(9)).csr(9, 0))
    assert (np.diff(position) > 0).all() or (np.diff(position) < 0).all()
    parts = bisection(Given(edges=((0, 1), (1, 2), (2, 3), (5, 6))).csr(7, 0))
    assert np.isnan(parts).tolist() == [False] * 4 + [True] * 3
    # Lanczos, and on a long torus inversion, agree with each other about halves: as many links as can be said by hand.
    matrix = Torus(rows=4).csr(4000, 0)
    position = bisection(matrix)
    side = position > np.median(position)
    rows = np.repeat(np.arange(4000), np.diff(matrix.indptr))
    assert (side[rows] != side[matrix.indices]).sum() / 2 <= 16  # twice four, and as many where the median falls


@pytest.mark.parametrize(
    ("where", "count", "message"),
    [
        ("moon", 1, "placement: 'moon' is not allowed: choose one of random, degree, betweenness, cut, region:NAME"),
        ("random", 6, "placement: 'random' is not allowed: 6 of 5 nodes cannot be chosen"),
        ("region:EU", 4, "placement: 'region:EU' is not allowed: 3 nodes are in that region, 4 are wanted"),
        ("region:XX", 1, "placement: 'region:XX' is not allowed: no node is in that region; there are: AP, EU, NA"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(where: str, count: int, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        place(where, count, Ring().csr(5, 0), REGIONS, rng())
    assert str(caught.value) == message


def test_regions_need_regions() -> None:
    with pytest.raises(ScenarioError, match=r"^attack\.place: 'region:EU' is not allowed: .*there are: none"):
        place("region:EU", 1, Ring().csr(5, 0), None, rng(), field="attack.place")
