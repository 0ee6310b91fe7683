"""What a graph is like: weights to average with, spectral gap, distances, clustering, and what is left when nodes go.

Graphs are ``(n, n)`` sparse adjacency matrices as :meth:`Topology.csr` gives them.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies import Topology, wiring

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

Array = np.ndarray[Any, np.dtype[Any]]

EXACT_TO = 600
"""Up to this many nodes all eigenvalues are computed; of larger graphs the one that is wanted."""
CLUSTERING_WORK = 5_000_000
"""Pairs of neighbours that are looked at one by one; where there are more, so many as ``CLUSTERING_SAMPLES`` are drawn."""
CLUSTERING_SAMPLES = 200_000
"""Standard error 0.0011 at most."""
BETWEENNESS_WORK = 20_000_000
"""Nodes times links up to which betweenness is exact, a few seconds; beyond, from as many nodes' paths as that allows."""


def metropolis(csr: sp.csr_array) -> sp.csr_array:
    """Metropolis weights of an undirected graph: W_ij = 1/(1 + max(d_i, d_j)) along links, the rest of each row on its diagonal.

    Symmetric and doubly stochastic, so that averaging with it keeps the mean and ends there (Xiao, Boyd & Lall, "A scheme for
    robust distributed sensor fusion based on average consensus", IPSN 2005; also Boyd, Diaconis & Xiao 2004).

    Returns:
        ``(n, n)`` float64.

    Example:
        >>> from decai_sim.world import Ring
        >>> metropolis(Ring().csr(4, 0)).toarray()[0].round(3).tolist()
        [0.333, 0.333, 0.0, 0.333]
    """
    import scipy.sparse as sp

    n = csr.shape[0]
    degree = np.diff(csr.indptr)
    rows = np.repeat(np.arange(n), degree)
    weights = sp.csr_array((1 / (1 + np.maximum(degree[rows], degree[csr.indices])), csr.indices, csr.indptr), shape=(n, n))
    made: sp.csr_array = (weights + sp.diags_array(1 - weights.sum(axis=1))).tocsr()
    return made


def mixing(csr: sp.csr_array, directed: bool = False) -> sp.csr_array:
    """Weights to average with: :func:`metropolis`, or for a directed graph equal weights on oneself and those one contacts.

    Equal weights are doubly stochastic, and so keep the mean, where everybody is contacted by as many as it contacts.

    Args:
        csr: the graph.
        directed: whether to take links as they are directed.

    Returns:
        ``(n, n)`` float64, rows sum to one.

    Example:
        >>> from decai_sim.world.topologies import OnePeerExponential
        >>> mixing(OnePeerExponential().at(4, 0, 0), directed=True).toarray()[0].tolist()
        [0.5, 0.5, 0.0, 0.0]
    """
    import scipy.sparse as sp

    if not directed:
        return metropolis(csr)
    share = sp.diags_array(1 / (1.0 + np.diff(csr.indptr)))
    made: sp.csr_array = (share @ (csr.astype(float) + sp.eye_array(csr.shape[0]))).tocsr()
    return made


def spectral_gap(weights: sp.csr_array) -> float:
    """One minus the second largest absolute eigenvalue, g: the distance to the mean shrinks at least by 1 − g each round.

    Computed from all eigenvalues up to 600 nodes, beyond by Lanczos' method (Arnoldi's where the weights are not symmetric),
    and where that does not converge, as on long rings, by inversion near 1.

    Args:
        weights: ``(n, n)``, rows sum to one.

    Returns:
        0 (never agree; within rounding, such as a graph in parts) … 1 (agree at once).

    Example:
        >>> from decai_sim.world import Ring
        >>> round(spectral_gap(metropolis(Ring().csr(64, 0))), 5)  # 2/3 (1 − cos 2π/64)
        0.00321
    """
    n = weights.shape[0]
    if n < 2:
        return 1.0
    symmetric = abs(weights - weights.T).max() < 1e-12
    if n <= EXACT_TO:
        dense = weights.toarray()
        values = np.linalg.eigvalsh(dense) if symmetric else np.linalg.eigvals(dense)
        second = np.abs(np.delete(values, np.abs(values - 1).argmin())).max()
    else:
        second = _second_symmetric(weights) if symmetric else _second_directed(weights)
    return max(0.0, 1.0 - float(second))


def _start(n: int) -> Array:
    """Where iterations begin: the same every time, and not in the way of any symmetry of the graph."""
    return np.random.default_rng(0).standard_normal(n)


def _second_symmetric(weights: sp.csr_array) -> float:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n = weights.shape[0]
    without_mean = LinearOperator((n, n), matvec=lambda x: weights @ x - x.mean(), dtype=float)  # type: ignore[call-arg, misc]
    try:
        for tolerance in (1e-7, 0):  # 0: as near as can be
            found = eigsh(without_mean, k=1, which="LM", v0=_start(n), ncv=40, maxiter=100, tol=tolerance)[0]
            if 1 - abs(found[0]) > 1e-3:
                break
        return float(abs(found[0]))
    except ArpackNoConvergence:
        # Slow graphs are long and thin, which factorise well. Just above 1, so that the matrix is not singular.
        near = eigsh(weights.tocsc(), k=2, sigma=1 + 1e-9, which="LM", v0=_start(n), return_eigenvectors=False)
        far = eigsh(weights, k=1, which="SA", v0=_start(n), tol=1e-4, return_eigenvectors=False)
        return float(max(near.min(), abs(far[0])))


def _second_directed(weights: sp.csr_array) -> float:
    from scipy.sparse.linalg import eigs

    values = eigs(weights, k=3, which="LM", v0=_start(weights.shape[0]), ncv=60, return_eigenvectors=False)
    return float(np.abs(np.delete(values, np.abs(values - 1).argmin())).max())


def components(csr: sp.csr_array, alive: Array | None = None) -> Array:
    """Sizes of the connected parts, largest first.

    Args:
        csr: the graph; links count in both directions.
        alive: ``(n,)`` bool, which nodes are left; None: all.
    """
    from scipy.sparse.csgraph import connected_components

    left = csr if alive is None else csr[np.flatnonzero(alive)][:, np.flatnonzero(alive)]
    if left.shape[0] == 0:
        return np.empty(0, np.int64)
    sizes: Array = np.sort(np.bincount(connected_components(left, directed=False)[1]))[::-1]
    return sizes


def largest_component(csr: sp.csr_array, alive: Array | None = None) -> float:
    """Share of all ``n`` nodes that are in the largest connected part of what is alive.

    Args:
        csr: the graph.
        alive: ``(n,)`` bool, which nodes are left; None: all.

    Example:
        >>> from decai_sim.world.topologies import Star
        >>> star = Star().csr(10, 0)
        >>> largest_component(star), largest_component(star, np.arange(10) > 0)
        (1.0, 0.1)
    """
    sizes = components(csr, alive)
    return float(sizes[0]) / csr.shape[0] if len(sizes) else 0.0


def clustering(csr: sp.csr_array, generator: np.random.Generator | None = None) -> float:
    """Mean share of pairs of a node's neighbours that are linked, 0 where there is no pair (Watts & Strogatz 1998).

    Exact up to 5 million pairs; beyond, the share of linked ones among 200,000 random pairs of neighbours of random nodes.

    Args:
        csr: the graph, undirected.
        generator: what to draw pairs from; None: the same every time.
    """
    n = csr.shape[0]
    if n == 0:
        return 0.0
    degree = np.diff(csr.indptr).astype(np.int64)
    if (degree**2).sum() <= CLUSTERING_WORK:
        whole = csr.astype(np.int64)
        closed = (whole @ whole).multiply(whole).sum(axis=1)
        pairs = degree * (degree - 1)
        return float(np.divide(closed, pairs, out=np.zeros(n), where=pairs > 0).mean())
    generator = np.random.default_rng(0) if generator is None else generator
    nodes = generator.integers(0, n, CLUSTERING_SAMPLES)
    nodes = nodes[degree[nodes] > 1]
    one = generator.integers(0, degree[nodes])
    other = generator.integers(0, degree[nodes] - 1)
    other += other >= one
    ends = (csr.indices[csr.indptr[nodes] + which] for which in (one, other))
    return float(np.asarray(csr[*ends]).sum() / CLUSTERING_SAMPLES)


def diameter(csr: sp.csr_array, sweeps: int = 4) -> int:
    """The longest of the shortest paths, estimated from below: to the last node reached and back, a few times over.

    Exact on trees, rings, tori and hypercubes; rarely short by more than one elsewhere (double sweep, Magnien, Latapy & Habib,
    "Fast computation of empirically tight bounds for the diameter of massive graphs", JEA 13, 2009). Of a graph in parts, that
    of the largest.

    Args:
        csr: the graph, undirected.
        sweeps: how many times to go there and back.
    """
    from scipy.sparse.csgraph import connected_components, dijkstra

    if csr.shape[0] == 0:
        return 0
    labels = connected_components(csr, directed=False)[1]
    members = np.flatnonzero(labels == np.bincount(labels).argmax())
    degree = np.diff(csr.indptr)[members]
    begin = members[[degree.argmax(), degree.argmin(), 0, len(members) // 2]]
    longest = 0
    for sweep in range(sweeps):
        at = int(begin[sweep % len(begin)])
        for _ in range(2):
            steps = dijkstra(csr, directed=True, indices=at, unweighted=True)
            steps[np.isinf(steps)] = -1
            at = int(steps.argmax())
            longest = max(longest, int(steps[at]))
    return longest


def betweenness(csr: sp.csr_array, generator: np.random.Generator | None = None) -> Array:
    """``(n,)`` share of other nodes' shortest paths that lead through each node, up to a common factor (Freeman 1977).

    Exact for small graphs; beyond, from paths that begin at random nodes ("Centrality estimation in large networks",
    International Journal of Bifurcation and Chaos 17, 2007), enough to tell the most central from the rest.

    Args:
        csr: the graph, undirected.
        generator: what to draw those nodes from; None: the same every time.
    """
    import igraph

    n = csr.shape[0]
    a, b = wiring.links(csr)
    graph: Any = igraph.Graph(n=n, edges=np.stack([a, b], axis=1))
    sources = None
    enough = max(BETWEENNESS_WORK // max(len(a) + n, 1), 30)
    if n > enough:
        generator = np.random.default_rng(0) if generator is None else generator
        sources = np.sort(generator.choice(n, enough, replace=False)).tolist()
    return np.asarray(graph.betweenness(directed=False, sources=sources))


def attack_order(
    csr: sp.csr_array,
    by: Literal["random", "degree", "betweenness"] = "degree",
    generator: np.random.Generator | None = None,
    recalculate: bool = False,
) -> Array:
    """In which order to remove nodes, the most important first.

    Args:
        csr: the graph, undirected.
        by: ``degree``, ``betweenness``, or ``random``.
        generator: decides draws and ties; None: ties go to the lowest number, and draws are the same every time.
        recalculate: whether degrees are those in what is left (the most connected *remaining* node goes next), not in the
            whole graph.

    Returns:
        ``(n,)`` node numbers, each once.

    Raises:
        ScenarioError: ``by`` is something else, or ``recalculate`` is asked of other than degrees.

    Example:
        >>> from decai_sim.world.topologies import Star
        >>> int(attack_order(Star().csr(5, 0))[0])
        0
    """
    n = csr.shape[0]
    if recalculate and by != "degree":
        raise ScenarioError(f"recalculate: True is not allowed: only for by = 'degree', not {by!r}")
    tie = np.arange(n) if generator is None else generator.permutation(n)
    if by == "random":
        return tie if generator is not None else np.random.default_rng(0).permutation(n)
    if by == "degree":
        return _peeled(csr, tie) if recalculate else np.lexsort((tie, -np.diff(csr.indptr)))
    if by == "betweenness":
        return np.lexsort((tie, -betweenness(csr, generator)))
    raise ScenarioError(f"by: {by!r} is not allowed: choose one of random, degree, betweenness")


def _peeled(csr: sp.csr_array, tie: Array) -> Array:
    """Nodes by their degree in what is left. One after the other, since each removal changes the degrees of others."""
    degree = np.diff(csr.indptr).tolist()
    neighbours = np.split(csr.indices, csr.indptr[1:-1])
    heap = [(-d, t, node) for node, (d, t) in enumerate(zip(degree, tie.tolist(), strict=True))]
    heapq.heapify(heap)
    rank = tie.tolist()
    order: list[int] = []
    while heap:
        negative, _, node = heapq.heappop(heap)
        if -negative != degree[node]:  # it has lost neighbours since, or is gone
            continue
        order.append(node)
        degree[node] = -1
        for other in neighbours[node].tolist():
            if degree[other] >= 0:
                degree[other] -= 1
                heapq.heappush(heap, (-degree[other], rank[other], other))
    return np.array(order, dtype=np.int64)


def properties(graph: sp.csr_array | Topology, n: int | None = None, seed: int = 0) -> dict[str, float]:
    """A graph in numbers.

    Args:
        graph: an undirected graph's matrix, or a topology.
        n: number of nodes, needed of a topology.
        seed: the topology's, and of what is sampled.

    Returns:
        ``nodes``, ``links``, ``degree_min``, ``degree_mean``, ``degree_max``, ``diameter`` (of the largest part, estimated
        from below), ``clustering``, ``spectral_gap`` (of the Metropolis weights), ``parts`` and ``largest`` (the largest
        part's share of nodes).

    Raises:
        ScenarioError: a topology without ``n``, or without a graph on ``n`` nodes.

    Example:
        >>> from decai_sim.world import Complete
        >>> made = properties(Complete(), 5)
        >>> made["links"], made["diameter"], made["clustering"], round(made["spectral_gap"], 9)
        (10, 1, 1.0, 1.0)
    """
    if isinstance(graph, Topology):
        if n is None:
            raise ScenarioError("n: missing, a topology needs a number of nodes")
        graph = graph.csr(n, seed)
    degree = np.diff(graph.indptr)
    sizes = components(graph)
    count = graph.shape[0]
    return {
        "nodes": count,
        "links": int(degree.sum()) // 2,
        "degree_min": int(degree.min(initial=np.iinfo(np.int32).max)) if count else 0,
        "degree_mean": float(degree.mean()) if count else 0.0,
        "degree_max": int(degree.max(initial=0)),
        "diameter": diameter(graph),
        "clustering": clustering(graph, np.random.default_rng(seed)),
        "spectral_gap": spectral_gap(metropolis(graph)) if len(sizes) <= 1 else 0.0,
        "parts": len(sizes),
        "largest": float(sizes[0]) / count if count else 0.0,
    }


def properties_table(topologies: Sequence[Topology] | Mapping[str, Topology], n: int, seed: int = 0) -> pd.DataFrame:
    """:func:`properties` of several topologies on ``n`` nodes, a row each.

    Args:
        topologies: in the order of the rows, which are named by their kind, or by the keys of a mapping.
        n: number of nodes.
        seed: the topologies'.

    Raises:
        ScenarioError: one has no graph on ``n`` nodes.

    Example:
        >>> from decai_sim.world import Complete, Ring
        >>> properties_table([Ring(), Complete()], 10).diameter.to_dict()
        {'ring': 5, 'complete': 1}
    """
    import pandas as pd

    if isinstance(topologies, Mapping):
        names, made = list(topologies), list(topologies.values())
    else:
        names, made = [topology.kind for topology in topologies], list(topologies)
    return pd.DataFrame([properties(topology, n, seed) for topology in made], index=pd.Index(names, name="topology"))
