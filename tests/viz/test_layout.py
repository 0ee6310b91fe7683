"""Layouts fill the space, and are the same every time."""

from __future__ import annotations

import random

import networkx as nx
import numpy as np
import pytest

from decai_sim.viz import layout
from decai_sim.viz.layout import positions

GRAPHS = {
    "one node": nx.empty_graph(1),
    "two": nx.path_graph(2),
    "nobody linked": nx.empty_graph(50),
    "ring": nx.cycle_graph(12),
    "star": nx.star_graph(20),
    "complete": nx.complete_graph(30),
    "large and complete": nx.complete_graph(300),
    "small world": nx.watts_strogatz_graph(200, 4, 0.1, seed=1),
    "large": nx.watts_strogatz_graph(1500, 6, 0.1, seed=1),
    "in parts": nx.disjoint_union_all([nx.gnm_random_graph(80, 200, seed=1), nx.cycle_graph(9), nx.empty_graph(11)]),
    "random, some alone": nx.gnm_random_graph(300, 400, seed=1),
    "large and complete, in parts": nx.disjoint_union_all([nx.complete_graph(250), nx.cycle_graph(9), nx.empty_graph(3)]),
    "two complete halves": nx.disjoint_union(nx.complete_graph(21), nx.complete_graph(21)),
    "two complete halves, one larger": nx.disjoint_union(nx.complete_graph(21), nx.complete_graph(20)),
    "almost complete": nx.complement(nx.cycle_graph(40)),
    "pairs": nx.Graph([(2 * i, 2 * i + 1) for i in range(60)]),
}


def edges_of(graph: nx.Graph) -> np.ndarray:
    return np.array(list(graph.edges()), dtype=np.int64).reshape(-1, 2)


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_every_node_has_a_place_of_its_own_within_the_frame(graph: nx.Graph) -> None:
    placed = positions(len(graph), edges_of(graph))
    assert placed.shape == (len(graph), 2)
    assert placed.dtype == np.float32
    assert np.isfinite(placed).all()
    assert np.abs(placed).max() <= 1.0
    assert len(np.unique(placed, axis=0)) == len(graph)


@pytest.mark.parametrize("graph", [g for g in GRAPHS.values() if len(g) > 2])
def test_the_space_is_used(graph: nx.Graph) -> None:
    placed = positions(len(graph), edges_of(graph))
    assert np.ptp(placed, axis=0).min() > 1.5
    cells = np.unique(np.floor(2.5 * (placed + 1)).astype(int), axis=0)  # of 5 × 5
    assert len(cells) >= min(len(graph), 12) * 2 // 3


def test_a_ring_is_a_circle_with_neighbours_side_by_side() -> None:
    nodes = np.random.default_rng(0).permutation(40)
    ring = np.stack([nodes, np.roll(nodes, 1)], axis=1)
    placed = positions(40, ring)
    assert np.hypot(*placed.T) == pytest.approx(1)
    assert np.hypot(*(placed[ring[:, 0]] - placed[ring[:, 1]]).T) == pytest.approx(2 * np.sin(np.pi / 40), rel=1e-4)


def test_parts_do_not_mix() -> None:
    placed = positions(40, edges_of(nx.disjoint_union(nx.cycle_graph(20), nx.complete_graph(20))))
    left, right = placed[:20], placed[20:]
    apart = [left[:, axis].max() < right[:, axis].min() or right[:, axis].max() < left[:, axis].min() for axis in (0, 1)]
    assert any(apart)


@pytest.mark.parametrize("graph", [graph for graph in GRAPHS.values() if graph.number_of_edges()])
def test_parts_are_found_with_their_links(graph: nx.Graph) -> None:
    n = len(graph)
    names = np.random.default_rng(0).permutation(n)  # so that no part is a row of numbers
    shuffled = nx.relabel_nodes(graph, dict(enumerate(names.tolist())))
    links = edges_of(shuffled)
    parts = layout._parts(n, layout.each_once(n, links[:, 0], links[:, 1]))
    assert [len(nodes) for nodes, _ in parts] == sorted(map(len, nx.connected_components(graph)), reverse=True)
    assert {frozenset(nodes.tolist()) for nodes, _ in parts} == set(map(frozenset, nx.connected_components(shuffled)))
    together = nx.Graph([nodes[link].tolist() for nodes, own in parts for link in own])
    assert set(map(frozenset, together.edges())) == set(map(frozenset, shuffled.edges()))


def test_of_very_many_links_some_pull_and_the_picture_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = nx.random_partition_graph([60, 60], 0.7, 0.02, seed=1)
    edges = edges_of(graph)
    assert 2000 < len(edges) < layout.DENSE * 120 * 119 / 2
    every = layout._positions(120, edges)
    monkeypatch.setattr(layout, "PULLING", 1000)
    some = layout._positions(120, edges)
    assert not np.array_equal(some, every)
    assert np.array_equal(some, layout._positions(120, edges))
    for placed in (some, every):
        middles = placed[:60].mean(axis=0), placed[60:].mean(axis=0)
        nearer = np.argmin([np.hypot(*(placed - middle).T) for middle in middles], axis=0)
        assert (nearer == np.arange(120) // 60).all()  # the two communities stand apart


def test_answers_about_very_many_links_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = edges_of(GRAPHS["small world"])
    monkeypatch.setattr(layout, "REMEMBERED", len(edges) - 1)
    layout._remembered.cache_clear()
    first = positions(200, edges)
    assert layout._remembered.cache_info().currsize == 0
    assert np.array_equal(first, positions(200, edges[::-1]))
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    monkeypatch.setattr(layout, "REMEMBERED", len(edges))
    assert np.array_equal(first, positions(200, edges))
    assert layout._remembered.cache_info().currsize == 1


def test_the_same_graph_is_placed_the_same_however_it_is_written() -> None:
    edges = edges_of(GRAPHS["in parts"])
    first = positions(100, edges).copy()
    layout._remembered.cache_clear()
    again = positions(100, np.concatenate([edges[::-1, ::-1], edges[:5], [[3, 3]]]))
    assert np.array_equal(first, again)


def test_the_last_answers_are_kept_and_safe() -> None:
    edges = edges_of(GRAPHS["small world"])
    assert positions(200, edges) is positions(200, edges.copy())
    with pytest.raises(ValueError, match="read-only"):
        positions(200, edges)[0] = 0


def test_other_random_numbers_are_left_alone() -> None:
    import igraph

    layout._remembered.cache_clear()
    random.seed(5)
    before = random.getstate()
    positions(200, edges_of(GRAPHS["small world"]))
    assert random.getstate() == before
    igraph.Graph.Erdos_Renyi(n=10, m=20)  # draws from Python's generator again
    assert random.getstate() != before
