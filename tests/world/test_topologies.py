"""Topologies against closed forms, NetworkX and exact enumeration."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.sparse.csgraph import shortest_path

import decai_sim as ds
from decai_sim.component import _FAMILIES
from decai_sim.errors import ScenarioError
from decai_sim.world import graphs
from decai_sim.world.topologies import (
    BarabasiAlbert,
    Bitcoin,
    Complete,
    EdgeList,
    ErdosRenyi,
    ExponentialGraph,
    Given,
    GraphML,
    Hierarchical,
    Hypercube,
    Kademlia,
    OnePeerExponential,
    PeerSampling,
    RandomEachRound,
    RandomRegular,
    Ring,
    SmallWorld,
    Star,
    Topology,
    Torus,
    TwoCliques,
    barabasi_albert,
    wiring,
)


def degrees(matrix: Any) -> np.ndarray:
    return np.diff(matrix.indptr)


# -- the ones without chance ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topology", "n", "theirs"),
    [
        (Ring(), 7, nx.cycle_graph(7)),
        (Ring(), 2, nx.path_graph(2)),
        (Ring(), 1, nx.empty_graph(1)),
        (Complete(), 6, nx.complete_graph(6)),
        (Complete(), 1, nx.empty_graph(1)),
        (Star(), 6, nx.star_graph(5)),
        (Torus(), 4, nx.cycle_graph([0, 1, 3, 2])),
        (TwoCliques(), 8, nx.barbell_graph(4, 0)),
        (Hierarchical(edge_servers=3), 4, nx.star_graph(3)),
        (Hypercube(), 1, nx.empty_graph(1)),
        (ExponentialGraph(), 2, nx.path_graph(2)),
        (ExponentialGraph(), 6, nx.circulant_graph(6, [1, 2, 4])),
        (ExponentialGraph(), 16, nx.circulant_graph(16, [1, 2, 4, 8])),
        (Given(edges=((2, 0), (0, 1))), 4, nx.Graph([(0, 1), (0, 2), (3, 3)])),
    ],
    ids=lambda value: getattr(value, "kind", value) if not isinstance(value, nx.Graph) else "",
)
def test_graphs_that_have_a_name(topology: Topology, n: int, theirs: nx.Graph) -> None:
    theirs.remove_edges_from(list(nx.selfloop_edges(theirs)))
    assert nx.utils.graphs_equal(topology.build(n, 0), theirs)


@pytest.mark.parametrize(("rows", "n"), [(None, 12), (2, 12), (3, 12), (None, 30), (5, 25)])
def test_torus_is_the_periodic_grid(rows: int | None, n: int) -> None:
    made = Torus(rows=rows).build(n, 0)
    k = rows or {12: 3, 30: 5}[n]
    theirs = nx.convert_node_labels_to_integers(nx.grid_2d_graph(k, n // k, periodic=True), ordering="sorted")
    assert nx.utils.graphs_equal(made, theirs)


def test_hypercube_is_the_hypercube() -> None:
    theirs = nx.relabel_nodes(nx.hypercube_graph(5), lambda bits: int("".join(map(str, bits)), 2))
    assert nx.utils.graphs_equal(Hypercube().build(32, 0), theirs)


def test_hierarchy_has_three_levels() -> None:
    graph = Hierarchical(edge_servers=4).build(103, 0)
    distance = nx.single_source_shortest_path_length(graph, 0)
    assert nx.is_tree(graph)
    assert Counter(distance.values()) == {0: 1, 1: 4, 2: 98}
    assert sorted(graph.degree(server) - 1 for server in range(1, 5)) == [24, 24, 25, 25]
    clusters = Hierarchical(edge_servers=4, clustered=True).build(103, 0)
    below = [sorted(node for node in graph[server] if node) for server in range(1, 5)]
    assert all(clusters.has_edge(a, b) for nodes in below for a, b in itertools.combinations(nodes, 2))
    assert clusters.number_of_edges() == 102 + sum(len(nodes) * (len(nodes) - 1) // 2 for nodes in below)


def test_bridges_join_two_cliques() -> None:
    graph = TwoCliques(bridges=3).build(11, 0)
    assert len(nx.minimum_edge_cut(graph, 0, 10)) == 3
    assert graph.number_of_edges() == 15 + 10 + 3


# -- rounds -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 8, 64])
@pytest.mark.parametrize("begin", [0, 1, 5])
def test_one_peer_exponential_averages_exactly_after_log_n_rounds(n: int, begin: int) -> None:
    values = np.random.default_rng(0).standard_normal(n)
    mean, topology = values.mean(), OnePeerExponential()
    for k in range(begin, begin + n.bit_length() - 1):
        assert np.ptp(values) > 1e-6
        graph = topology.at(n, 0, k)
        assert (degrees(graph) == 1).all()
        values = graphs.mixing(graph, directed=True) @ values
    np.testing.assert_allclose(values, mean, rtol=0, atol=1e-14)


def test_one_peer_exponential_of_other_sizes_does_not() -> None:
    values = np.arange(6.0)
    for k in range(3):
        values = graphs.mixing(OnePeerExponential().at(6, 0, k), directed=True) @ values
    assert np.ptp(values) > 0.1


def test_a_fresh_graph_each_round() -> None:
    topology = RandomEachRound(degree=3)
    assert topology.time_varying
    assert topology.period(10) is None
    rounds = [topology.at(40, 1, k) for k in range(5)]
    assert all((degrees(one) == 3).all() for one in rounds)
    assert len({one.indices.tobytes() for one in rounds}) == 5


def test_peer_sampling_goes_on_from_round_to_round_whatever_was_asked_before() -> None:
    topology = PeerSampling(view=5, shuffle=3)
    forward = [topology.at(60, 2, k).indices.tolist() for k in range(4)]
    assert [topology.at(60, 2, k).indices.tolist() for k in (3, 0, 2, 1)] == [forward[k] for k in (3, 0, 2, 1)]
    assert len(set(map(tuple, forward))) == 4
    kept = [(np.asarray(topology.at(60, 2, k).toarray()) & topology.at(60, 2, k + 1).toarray()).sum() for k in range(3)]
    assert all(60 < links < 240 for links in kept)  # of 300: an exchange changes some of a view, not all


# -- random ones against NetworkX -------------------------------------------------------------------------------------------


@given(n=st.integers(1, 40), degree=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_random_regular_graphs_are_regular(n: int, degree: int, seed: int) -> None:
    topology = RandomRegular(degree=degree)
    if degree >= n or n * degree % 2:
        with pytest.raises(ScenarioError, match=rf"^topology\.degree: {degree} is not allowed: must be"):
            topology.csr(n, seed)
        return
    graph = topology.build(n, seed)
    assert set(dict(graph.degree()).values()) == {degree}
    assert nx.number_of_selfloops(graph) == 0


def test_random_regular_graphs_are_drawn_evenly() -> None:
    # Six nodes of degree two: 60 hexagons, each as likely as the next, and 10 pairs of triangles.
    draws = 3000
    ours = Counter(tuple(RandomRegular(degree=2).csr(6, seed).indices.tolist()) for seed in range(draws))
    assert len(ours) == 70
    links = [wiring.from_links(6, *map(np.array, zip(*made, strict=True))) for made in _two_triangles()]
    triangles = {tuple(matrix.indices.tolist()) for matrix in links}
    assert stats.chisquare([count for made, count in ours.items() if made not in triangles]).pvalue > 1e-3
    assert stats.chisquare([count for made, count in ours.items() if made in triangles]).pvalue > 1e-3
    # NetworkX' generator gives 0.31 of the latter.
    assert sum(ours[made] for made in triangles) / draws == pytest.approx(1 / 7, abs=0.03)


def _two_triangles() -> list[list[tuple[int, int]]]:
    halves = [half for half in itertools.combinations(range(6), 3) if 0 in half]
    others = [tuple(sorted(set(range(6)) - set(half))) for half in halves]
    return [
        [*itertools.combinations(half, 2), *itertools.combinations(other, 2)] for half, other in zip(halves, others, strict=True)
    ]


def test_random_regular_graphs_have_as_many_triangles_as_theory_and_networkx_say() -> None:
    # (d − 1)³/6 in the limit, Poisson (Bollobás 1980); degree 4: 4.5.
    ours = [sum(nx.triangles(RandomRegular(degree=4).build(500, s)).values()) / 3 for s in range(60)]
    theirs = [sum(nx.triangles(nx.random_regular_graph(4, 500, seed=s)).values()) / 3 for s in range(60)]
    assert abs(np.mean(ours) - 4.5) < 4 * np.sqrt(4.5 / 60)
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3


@pytest.mark.parametrize(("n", "rewire"), [(200, 0.05), (200, 0.3), (200, 1.0), (40, 0.3)])
def test_small_worlds_are_as_clustered_and_wide_as_networkx_ones(n: int, rewire: float) -> None:
    ours = [SmallWorld(degree=6, rewire=rewire).csr(n, s) for s in range(100)]
    made = [nx.connected_watts_strogatz_graph(n, 6, rewire, seed=s) for s in range(100)]
    theirs = [wiring.graph(n, list(graph.edges), "theirs") for graph in made]
    assert stats.ttest_ind(*([graphs.clustering(one) for one in both] for both in (ours, theirs))).pvalue > 1e-3
    paths = [[shortest_path(one, unweighted=True).sum() for one in both[:40]] for both in (ours, theirs)]
    assert stats.ttest_ind(*paths).pvalue > 1e-3
    assert stats.ks_2samp(*(np.concatenate([degrees(one) for one in both]) for both in (ours, theirs))).pvalue > 1e-3
    assert all(one.nnz == 6 * n and graphs.components(one).tolist() == [n] for one in ours)
    assert min(degrees(one).min() for one in ours) >= 3  # a node's own links keep one end


def test_small_world_without_rewiring_is_the_ring_lattice() -> None:
    assert nx.utils.graphs_equal(SmallWorld(degree=4, rewire=0).build(15, 3), nx.circulant_graph(15, [1, 2]))


def test_small_worlds_share_of_rewired_links() -> None:
    n, rewire = 20_000, 0.2
    a, b = wiring.links(SmallWorld(degree=8, rewire=rewire).csr(n, 5))
    near = np.minimum((b - a) % n, (a - b) % n) <= 4
    assert 1 - near.mean() == pytest.approx(rewire, abs=4 * np.sqrt(0.16 / (4 * n)) + 1e-3)


@given(n=st.integers(3, 14), half=st.integers(1, 6), rewire=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_small_worlds_keep_their_number_of_links_however_full(n: int, half: int, rewire: float, seed: int) -> None:
    if 2 * half < n:
        try:
            matrix = SmallWorld(degree=2 * half, rewire=rewire).csr(n, seed)
        except ScenarioError as error:
            assert half == 1 and "none of 100 graphs was connected" in str(error)  # noqa: PT018, PT017
            return
        assert matrix.nnz == 2 * half * n


def test_a_small_world_that_is_never_connected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "is_connected", lambda matrix: False)
    with pytest.raises(ScenarioError, match=r"^topology\.rewire: 1 is not allowed: with degree = 2 none of 100"):
        SmallWorld(degree=2, rewire=1).csr(50, 0)


def test_barabasi_albert_is_drawn_as_by_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution of all graphs with m = 2 on six nodes: every newcomer's choices, by hand, against 5,000 graphs."""
    m, n = 2, 6
    exact: Counter[frozenset[tuple[int, int]]] = Counter()

    def arrive(node: int, ends: list[int], edges: frozenset[tuple[int, int]], probability: float) -> None:
        if node == n:
            exact[edges] += probability  # type: ignore[assignment]
            return
        share = {other: ends.count(other) / len(ends) for other in set(ends)}
        for a, b in itertools.permutations(share, m):
            chance = share[a] * share[b] / (1 - share[a])
            arrive(node + 1, [*ends, a, b, node, node], edges | {(a, node), (b, node)}, probability * chance)

    arrive(m + 1, [0, 1, 0, 2], frozenset({(0, 1), (0, 2)}), 1.0)
    draws = 5000
    # Choosing all at once, not one by one, is what has to be right: so nobody comes early here.
    monkeypatch.setattr(barabasi_albert._Arrivals, "EARLY", 0)
    made = (wiring.links(BarabasiAlbert(m=m).csr(n, seed)) for seed in range(draws))
    seen = Counter(frozenset(zip(a.tolist(), b.tolist(), strict=True)) for a, b in made)
    assert set(seen) <= set(exact)
    expected = np.array([exact[edges] for edges in exact]) * draws
    observed = np.array([seen[edges] for edges in exact])
    assert expected.sum() == pytest.approx(draws)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@given(n=st.integers(2, 600), m=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_every_newcomer_makes_m_different_links(n: int, m: int, seed: int) -> None:
    if m >= n:
        with pytest.raises(ScenarioError, match=rf"^topology\.m: {m} is not allowed: must be below nodes = {n}"):
            BarabasiAlbert(m=m).csr(n, seed)
        return
    matrix = BarabasiAlbert(m=m).csr(n, seed)
    _, newer = wiring.links(matrix)
    assert np.bincount(newer, minlength=n).tolist() == [0] + [1] * m + [m] * (n - m - 1)
    assert graphs.components(matrix).tolist() == [n]


def test_barabasi_albert_has_the_degrees_of_networkx_and_of_theory() -> None:
    n, m = 5000, 3
    ours = np.concatenate([degrees(BarabasiAlbert(m=m).csr(n, s)) for s in range(6)])
    theirs = np.array([d for s in range(6) for _, d in nx.barabasi_albert_graph(n, m, seed=s).degree()])
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
    # P(k) = 2m(m+1)/(k(k+1)(k+2)) in the limit (Bollobás, Riordan, Spencer & Tusnády 2001).
    for k in range(m, 9):
        share = 2 * m * (m + 1) / (k * (k + 1) * (k + 2))
        assert (ours == k).mean() == pytest.approx(share, abs=5 * np.sqrt(share / len(ours)) + 1e-3)
    hubs = [degrees(BarabasiAlbert(m=m).csr(n, s)).max() for s in range(20)]
    their_hubs = [max(d for _, d in nx.barabasi_albert_graph(n, m, seed=s).degree()) for s in range(20)]
    assert stats.ks_2samp(hubs, their_hubs).pvalue > 1e-3


def test_erdos_renyi_is_g_n_p() -> None:
    n, p = 300, 0.04
    counts = [ErdosRenyi(p=p).csr(n, s).nnz // 2 for s in range(200)]
    pairs = n * (n - 1) // 2
    assert np.mean(counts) == pytest.approx(pairs * p, abs=4 * np.sqrt(pairs * p * (1 - p) / 200))
    assert np.var(counts) == pytest.approx(pairs * p * (1 - p), rel=0.4)
    ours = np.concatenate([degrees(ErdosRenyi(p=p).csr(n, s)) for s in range(40)])
    assert stats.kstest(ours + np.random.default_rng(0).random(len(ours)), lambda x: _smooth(x, n - 1, p)).pvalue > 1e-4
    assert ErdosRenyi(mean_degree=5).csr(20_000, 0).nnz / 20_000 == pytest.approx(5, abs=0.1)


def _smooth(x: np.ndarray, n: int, p: float) -> np.ndarray:
    whole = np.floor(x)
    return stats.binom.cdf(whole - 1, n, p) + (x - whole) * stats.binom.pmf(whole, n, p)


def test_erdos_renyi_reaches_every_pair_alike() -> None:
    seen = sum(ErdosRenyi(p=0.5).csr(7, s).toarray().astype(int) for s in range(2000))
    off = seen[~np.eye(7, dtype=bool)]
    assert abs(off - 1000).max() < 5 * np.sqrt(500)
    assert ErdosRenyi(p=0).csr(5, 0).nnz == 0


def test_kademlia_routes_in_few_hops() -> None:
    n, seed = 1000, 4
    topology = Kademlia(bucket=3)
    matrix, own = topology.csr(n, seed), topology.identifiers(n, seed)
    rng = np.random.default_rng(0)
    hops = []
    for source, target in rng.integers(0, n, (200, 2)).tolist():
        at, count = source, 0
        while at != target:
            neighbours = matrix.indices[matrix.indptr[at] : matrix.indptr[at + 1]]
            nearest = int(neighbours[(own[neighbours] ^ own[target]).argmin()])
            assert own[nearest] ^ own[target] < own[at] ^ own[target]  # a full bucket always leads nearer
            at, count = nearest, count + 1
        hops.append(count)
    assert max(hops) <= np.log2(n)


def test_kademlia_does_no_more_for_buckets_that_cannot_be_filled() -> None:
    assert (Kademlia(bucket=10**5).csr(9, 0) != Kademlia(bucket=9).csr(9, 0)).nnz == 0


def test_kademlia_buckets_hold_as_many_as_there_are() -> None:
    n, bucket = 64, 2
    topology = Kademlia(bucket=bucket)
    own, linked = topology.identifiers(n, 1), topology.csr(n, 1).toarray() > 0
    for node in range(n):
        prefix = np.frexp((own ^ own[node]).astype(float))[1]  # the distance's highest bit
        for level in np.unique(prefix[prefix > 0]):
            there = (prefix == level) & (np.arange(n) != node)
            assert (linked[node] & there).sum() >= min(bucket, there.sum())


def test_bitcoin_opens_as_many_connections_as_measured() -> None:
    n = 4000
    matrix = Bitcoin().csr(n, 0)
    # Mean out-degree of SimBlock's distribution: 8.645; quantiles as tabulated.
    assert matrix.nnz / 2 / n == pytest.approx(8.645, abs=0.002)
    assert graphs.components(matrix).tolist() == [n]
    few = Bitcoin().csr(5, 0)
    assert (degrees(few) <= 4).all()
    assert Bitcoin().csr(1, 0).nnz == 0


@given(
    n=st.integers(1, 30),
    kind=st.sampled_from([ErdosRenyi(p=0.4), Kademlia(bucket=2), Bitcoin(), Hierarchical(), ExponentialGraph(), Star(), Ring()]),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_sizes_give_simple_symmetric_matrices(n: int, kind: Topology, seed: int) -> None:
    matrix = kind.csr(n, seed)
    assert matrix.shape == (n, n)
    dense = matrix.toarray()
    assert dense.dtype == np.int8
    assert (dense == dense.T).all()
    assert (matrix.data == 1).all()
    assert dense.trace() == 0


# -- what cannot be ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topology", "n", "message"),
    [
        (Torus(), 13, "topology.rows: None is not allowed: nodes = 13 do not fill two or more rows"),
        (Torus(rows=5), 12, "topology.rows: 5 is not allowed: nodes = 12 do not fill 5 rows"),
        (Torus(rows=5), 5, "topology.rows: 5 is not allowed"),
        (Hypercube(), 100, "topology.kind: 'hypercube' is not allowed: nodes = 100 is no power of two such as 64 and 128"),
        (TwoCliques(bridges=4), 7, "topology.bridges: 4 is not allowed: the smaller half of nodes = 7 has 3"),
        (Hierarchical(edge_servers=5), 5, "topology.edge_servers: 5 is not allowed: must be below nodes = 5"),
        (ErdosRenyi(mean_degree=10), 5, "topology.mean_degree: 10 is not allowed: nodes = 5 have at most 4 links each"),
        (Complete(), 100_000, "topology.kind: 'complete' is not allowed: 100000 nodes"),
        (TwoCliques(), 100_000, "topology.kind: 'two_cliques' is not allowed: nodes = 100000"),
        (Hierarchical(edge_servers=1, clustered=True), 100_000, "topology.clustered: True is not allowed"),
    ],
)
def test_impossible_graphs_are_refused_in_one_line(topology: Topology, n: int, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        topology.build(n, 0)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_shuffle_must_fit_the_view() -> None:
    with pytest.raises(ValueError, match="must not exceed view = 3"):
        PeerSampling(view=3, shuffle=4)


# -- files ------------------------------------------------------------------------------------------------------------------


def test_graphml_of_networkx_and_igraph(tmp_path: Path) -> None:
    import igraph

    graph = nx.petersen_graph()
    path = tmp_path / "petersen.graphml"
    nx.write_graphml(graph, path)
    assert GraphML(path).build(10, 0).adj == graph.adj
    shuffled = nx.Graph()
    shuffled.add_nodes_from([3, 1, 0, 2])  # the file's order; the names say which is which
    shuffled.add_edge(3, 0)
    nx.write_graphml(shuffled, path)
    assert sorted(GraphML(path).build(4, 0).edges()) == [(0, 3)]
    igraph.Graph(n=4, edges=[(0, 1), (3, 2)]).write_graphml(str(path))
    assert sorted(GraphML(path).build(4, 0).edges()) == [(0, 1), (2, 3)]
    names = nx.DiGraph([("Zürich", "Genève"), ("Genève", "Zürich"), ("Genève", "Bern")])
    nx.write_graphml(names, path)
    assert sorted(GraphML(path).build(3, 0).edges()) == [(0, 1), (1, 2)]
    again = ds.Scenario(nodes=3, topology={"kind": "graphml", "path": str(path)})
    assert again.graph().number_of_edges() == 2


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><graphml><graph><node id="&b;"/></graph></graphml>'
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("not xml", "syntax error"),
        ("<graphml/>", "there is no graph in it"),
        (BOMB, "document type definition"),
        ("<graphml><graph><node id='a'/><node id='a'/></graph></graphml>", "node 'a' twice"),
        ("<graphml><graph><node/></graph></graphml>", "a node without id"),
        ("<graphml><graph><node id='a'/><edge source='a' target='b'/></graph></graphml>", "names 'b', which is no node"),
        ("<graphml><graph><node id='a'><graph/></node></graph></graphml>", "more than one graph"),
        ("<graphml><graph><hyperedge/></graph></graphml>", "hyperedges"),
        ("<graphml><graph><node id='a'/><node id='b'/></graph></graphml>", "it has 2 nodes, the scenario nodes = 1"),
        ("<graphml><graph><node id='a'/><edge source='a' target='a'/></graph></graphml>", "edge 0 0 is not allowed"),
    ],
)
def test_wrong_graphml_is_refused_in_one_line(text: str | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "g.graphml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ScenarioError, match=reason) as caught:
        GraphML(path).csr(1, 0)
    assert str(caught.value).startswith(f"topology.path: {str(path)!r}")
    assert "\n" not in str(caught.value)


def test_edge_list_names_edges_out_of_range(tmp_path: Path) -> None:
    path = tmp_path / "edges.txt"
    path.write_text("0 1\n1 0\n2 1\n")
    assert EdgeList(path).csr(4, 0).toarray().sum() == 4
    path.write_text("0 9999999999999999999\n")
    with pytest.raises(ScenarioError, match="edge 0 9999999999999999999 is not allowed"):
        EdgeList(path).csr(4, 0)


# -- one's own --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_FAMILIES, "topologies", dict(_FAMILIES["topologies"]))


@pytest.mark.usefixtures("_registry")
def test_ones_own_topology_needs_csr_or_build() -> None:
    class ByBuild(Topology):
        """A path."""

        def build(self, n: int, seed: int) -> nx.Graph:
            return nx.path_graph(n)

    class ByArrays(Topology):
        """A path, too."""

        def csr(self, n: int, seed: int) -> Any:
            return wiring.from_links(n, np.arange(n - 1), np.arange(1, n))

    for topology in (ByBuild(), ByArrays()):
        ds.testing.check_topology(topology)
        assert nx.utils.graphs_equal(topology.build(6, 0), nx.path_graph(6))
        assert topology.csr(6, 0).toarray().tolist() == nx.to_numpy_array(nx.path_graph(6)).tolist()

    class Neither(Topology):
        """Nothing."""

    for method in (Neither().csr, Neither().build):
        with pytest.raises(NotImplementedError, match="neither csr nor build"):
            method(3, 0)


@pytest.mark.usefixtures("_registry")
def test_who_changes_one_of_the_two_changes_both() -> None:
    class Longer(SmallWorld):
        """A small world with one link more, in NetworkX."""

        def build(self, n: int, seed: int) -> nx.Graph:
            graph = super().build(n, seed)
            graph.add_edge(0, n // 2)
            return graph

    class Shorter(Longer):
        """And one less, in arrays."""

        def csr(self, n: int, seed: int) -> Any:
            a, b = wiring.links(super().csr(n, seed))
            return wiring.from_links(n, a[1:], b[1:])

    for topology in (Longer(degree=2, rewire=0), Shorter(degree=2, rewire=0)):
        ds.testing.check_topology(topology)
    assert Longer(degree=2, rewire=0).csr(30, 0).nnz == 62
    assert Shorter(degree=2, rewire=0).build(30, 0).number_of_edges() == 30


@pytest.mark.usefixtures("_registry")
def test_a_graph_on_other_nodes_is_refused() -> None:
    class Named(Topology):
        """Nodes with names."""

        def build(self, n: int, seed: int) -> nx.Graph:
            return nx.Graph([("a", "b")])

    with pytest.raises(ScenarioError, match=r"topology\.kind: 'named' is not allowed: its nodes are not 0 … 1"):
        Named().csr(2, 0)


def test_weights_of_a_networkx_graph_do_not_matter() -> None:
    graph = nx.Graph()
    graph.add_edge(0, 1, weight=7.5)
    assert ds.Scenario(nodes=2, topology=graph).topology.csr(2, 0).data.tolist() == [1, 1]


# -- at a hundred thousand --------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_nodes() -> None:
    n = 100_000
    for topology in (RandomRegular(degree=8), SmallWorld(degree=8), BarabasiAlbert(m=4), ErdosRenyi(), Ring(), Torus()):
        matrix = topology.csr(n, 1)
        assert matrix.shape == (n, n)
        assert matrix.has_canonical_format
        assert matrix.indices.dtype == np.int32
        assert abs(matrix - matrix.T).nnz == 0
    assert set(degrees(RandomRegular(degree=8).csr(n, 1)).tolist()) == {8}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_links_there_and_back(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    expected = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}
    made = wiring.from_links(10, a, b)
    assert set(zip(*(ends.tolist() for ends in wiring.links(made)), strict=True)) == expected
    assert made.toarray().sum() == 2 * len(expected)
    arrows = wiring.from_arrows(10, a, b)
    assert set(zip(*(ends.tolist() for ends in arrows.nonzero()), strict=True)) == {pair for pair in pairs if pair[0] != pair[1]}
    assert abs(wiring.union(arrows) - made).nnz == 0


@given(sizes=st.lists(st.integers(0, 12), min_size=1), count=st.integers(0, 6), seed=st.integers(0, 99))
def test_distinct_numbers(sizes: list[int], count: int, seed: int) -> None:
    chosen = wiring.distinct(np.array(sizes), count, np.random.default_rng(seed))
    for size, row in zip(sizes, chosen.tolist(), strict=True):
        real = [x for x in row if x >= 0]
        assert len(real) == len(set(real)) == min(size, count)
        assert all(x < size for x in real)


def test_distinct_numbers_are_drawn_evenly() -> None:
    chosen = wiring.distinct(np.full(30_000, 5), 2, np.random.default_rng(0))
    pairs = Counter(tuple(sorted(row)) for row in chosen.tolist())
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-3
    assert len(pairs) == 10
