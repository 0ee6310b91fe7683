"""Where to put what is few: adversaries, faults, servers."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import scipy.sparse as sp

Array = np.ndarray[Any, np.dtype[Any]]

PLACES = ("random", "degree", "betweenness", "cut", "region:NAME")
"""What :func:`place` understands."""


def place(
    where: str,
    count: int,
    csr: sp.csr_array,
    regions: Array | None,
    generator: np.random.Generator,
    field: str = "placement",
) -> Array:
    """Choose ``count`` nodes of a graph.

    Args:
        where: ``random``; ``degree``, those with the most links; ``betweenness``, those on the most shortest paths; ``cut``,
            those at the ends of the links between two halves, of the largest connected part, that few links join;
            ``region:NAME``, random ones of a region.
        count: how many.
        csr: ``(n, n)`` adjacency matrix, undirected.
        regions: ``(n,)`` names of the nodes' regions (what follows is not read), needed for ``region:NAME``.
        generator: decides draws, and who of equals is chosen.
        field: what an error calls ``where``.

    Returns:
        ``(count,)`` int64 node numbers, ascending.

    Raises:
        ScenarioError: ``where`` is something else, or there are too few nodes, or no such region.

    Example:
        >>> from decai_sim.world.topologies import TwoCliques
        >>> place("cut", 2, TwoCliques().csr(20, 0), None, np.random.default_rng(0)).tolist()
        [9, 10]
    """
    from decai_sim.world.graphs import attack_order

    n = csr.shape[0]
    if not 0 <= count <= n:
        raise ScenarioError(f"{field}: {where!r} is not allowed: {count} of {n} nodes cannot be chosen")
    if where == "random":
        chosen = generator.choice(n, count, replace=False)
    elif where in ("degree", "betweenness"):
        chosen = attack_order(csr, where, generator)[:count]  # type: ignore[arg-type]
    elif where == "cut":
        chosen = _at_the_cut(csr, generator)[:count]
    elif where.startswith("region:"):
        chosen = generator.choice(_members(where, count, n, regions, field), count, replace=False)
    else:
        raise ScenarioError(f"{field}: {where!r} is not allowed: choose one of {', '.join(PLACES)}")
    return np.sort(chosen).astype(np.int64)


def _members(where: str, count: int, n: int, regions: Array | None, field: str) -> Array:
    name = where.removeprefix("region:")
    known = np.asarray([] if regions is None else regions)[:n]
    members = np.flatnonzero(known == name)
    if not len(members):
        there = ", ".join(sorted(set(known.tolist()))) or "none"
        raise ScenarioError(f"{field}: {where!r} is not allowed: no node is in that region; there are: {there}")
    if len(members) < count:
        raise ScenarioError(f"{field}: {where!r} is not allowed: {len(members)} nodes are in that region, {count} are wanted")
    return members


def bisection(csr: sp.csr_array) -> Array:
    """``(n,)`` position of each node along the graph's slowest direction; the median splits it in halves few links join.

    The second eigenvector of the normalised Laplacian (Fiedler 1973; von Luxburg, "A tutorial on spectral clustering",
    Statistics and Computing 17, 2007), which minimises a relaxed form of the cut between halves. Nodes outside the largest
    connected part have no position, NaN; see :func:`halves` for all.

    Args:
        csr: the graph, undirected.
    """
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n = csr.shape[0]
    position = np.full(n, np.nan)
    labels = connected_components(csr, directed=False)[1]
    members = np.flatnonzero(labels == np.bincount(labels).argmax())
    part = csr[members][:, members].astype(float)
    degree = np.diff(part.indptr)
    if len(members) < 3:
        position[members] = np.arange(len(members))
        return position
    scale = 1 / np.sqrt(degree)
    walk = sp.diags_array(scale) @ part @ sp.diags_array(scale)
    first = np.sqrt(degree / degree.sum())
    if len(members) <= 600:
        vector = np.linalg.eigh(walk.toarray() - 2 * np.outer(first, first))[1][:, -1]
    else:

        def multiply(x: Array) -> Array:  # half a step, so that the eigenvalue wanted is the largest in size
            made: Array = 0.5 * (x + walk @ x) - first * (first @ x)
            return made

        begin = np.random.default_rng(0).standard_normal(len(members))
        operator = LinearOperator(walk.shape, matvec=multiply, dtype=float)  # type: ignore[call-arg, misc]
        try:
            vector = eigsh(operator, k=1, which="LA", v0=begin, ncv=40, maxiter=50, tol=1e-4)[1][:, 0]
        except ArpackNoConvergence:  # long and thin, which factorises well
            inverse = eigsh(walk.tocsc(), k=2, sigma=1 + 1e-9, which="LM", v0=begin)
            vector = inverse[1][:, inverse[0].argmin()]
    position[members] = vector * scale
    return position


def halves(csr: sp.csr_array) -> Array:
    """``(n,)`` bool: which nodes are in the second of two halves, ⌊n/2⌋ nodes and the others, that few links join.

    A connected graph is split at the median of :func:`bisection`. Of several parts as many as possible stay whole: the largest
    first, each goes into the first half if there is room, and at most one is split for what room is left.

    Args:
        csr: the graph, undirected.
    """
    from scipy.sparse.csgraph import connected_components

    n = csr.shape[0]
    labels = connected_components(csr, directed=False)[1]
    sizes = np.bincount(labels)
    room, fits = n // 2, np.zeros(len(sizes), dtype=bool)
    order = np.argsort(-sizes, kind="stable")
    for label, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if size <= room:
            fits[label] = True
            room -= size
    second: Array = ~fits[labels]
    apart = order[~fits[order]]
    if room:  # whoever did not fit is larger than what room was left, and still is
        second[_fewest_links(csr, [np.flatnonzero(labels == label) for label in apart[-_TRIED:].tolist()], room)] = False
    return second


_TRIED = 20
"""Of so many parts, the smallest that will do, the one is split that costs the fewest links."""


def _fewest_links(csr: sp.csr_array, parts: list[Array], count: int) -> Array:
    """``count`` nodes of one of the ``parts``, at one of its ends, whom few links join to the rest."""
    best: tuple[float, Array] = np.inf, np.empty(0, np.int64)
    for members in parts:
        order = members[np.argsort(bisection(csr[members][:, members]), kind="stable")]
        for end in (order[:count], order[-count:]):
            inside = np.zeros(csr.shape[0], dtype=bool)
            inside[end] = True
            across = float((~inside[csr[end].indices]).sum())
            if across < best[0]:
                best = across, end
    return best[1]


def _at_the_cut(csr: sp.csr_array, generator: np.random.Generator) -> Array:
    """All nodes, those with the most links across the cut first, then those nearest to it."""
    n = csr.shape[0]
    position = bisection(csr)
    middle = np.nanmedian(position)
    side = position > middle
    rows = np.repeat(np.arange(n), np.diff(csr.indptr))
    across = np.bincount(rows[side[rows] != side[csr.indices]], minlength=n)
    across[np.isnan(position)] = 0
    away = np.nan_to_num(np.abs(position - middle), nan=np.inf)
    return np.lexsort((generator.permutation(n), away, -across))
