"""What topologies are made with: links as arrays, and random links that are simple.

A link between two nodes is also written as one number, its *code*: the lower node in the upper 32 bits, the higher in the
lower, so that sets of links are sorted arrays.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import networkx as nx
    import scipy.sparse as sp

Array = np.ndarray[Any, np.dtype[Any]]

_LOW = (1 << 32) - 1

DENSE_TO = 20_000
"""Complete graphs, and tables of all pairs, are made up to this many nodes: 400 MB a table of bytes."""
PASSES = 64
"""How often random links that are there already are drawn anew before the free ones are looked up one by one."""


def from_links(n: int, a: Array, b: Array) -> sp.csr_array:
    """The symmetric adjacency matrix of links ``a[k] — b[k]``; repeated links count once, links from a node to itself not.

    Args:
        n: number of nodes.
        a: ``(m,)`` node numbers.
        b: ``(m,)`` node numbers.

    Returns:
        ``(n, n)`` int8 ones with sorted indices.

    Example:
        >>> from_links(3, np.array([0, 2, 1]), np.array([1, 1, 2])).toarray().tolist()
        [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    a, b = _apart(a, b)
    return _from_codes(n, np.concatenate([a << 32 | b, b << 32 | a]))


def from_arrows(n: int, a: Array, b: Array) -> sp.csr_array:
    """The adjacency matrix of directed links ``a[k] → b[k]``, as :func:`from_links` otherwise.

    Example:
        >>> from_arrows(2, np.array([0]), np.array([1])).toarray().tolist()
        [[0, 1], [0, 0]]
    """
    a, b = _apart(a, b)
    return _from_codes(n, a << 32 | b)


def _apart(a: Array, b: Array) -> tuple[Array, Array]:
    apart = a != b
    return (a, b) if apart.all() else (a[apart], b[apart])


def _from_codes(n: int, codes: Array) -> sp.csr_array:
    codes = np.sort(codes, kind="stable")  # mostly in stretches that ascend already
    new = codes[1:] != codes[:-1]
    if not new.all():
        codes = codes[np.append(True, new)]
    counts = np.bincount(codes >> 32, minlength=n)
    return _assemble(n, np.append(0, np.cumsum(counts)), codes & _LOW)


def _assemble(n: int, indptr: Array, indices: Array) -> sp.csr_array:
    import scipy.sparse as sp

    kind = np.int32 if len(indices) < 2**31 else np.int64
    matrix = sp.csr_array((np.ones(len(indices), np.int8), indices.astype(kind), indptr.astype(kind)), shape=(n, n))
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


def links(matrix: sp.csr_array) -> tuple[Array, Array]:
    """Every link of a symmetric matrix once: ``(m,)`` lower ends and ``(m,)`` upper ends, ascending.

    Example:
        >>> [ends.tolist() for ends in links(from_links(3, np.array([2, 2]), np.array([0, 1])))]
        [[0, 1], [2, 2]]
    """
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    upper = rows < matrix.indices
    return rows[upper], matrix.indices[upper].astype(np.int64)


def union(matrix: sp.csr_array) -> sp.csr_array:
    """The undirected graph of a directed one: linked if either contacts the other."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return from_links(matrix.shape[0], rows, matrix.indices.astype(np.int64))


def is_connected(matrix: sp.csr_array) -> bool:
    """Whether every node can be reached from every other."""
    from scipy.sparse.csgraph import breadth_first_order

    n = matrix.shape[0]
    return n > 0 and bool(len(breadth_first_order(matrix, 0, directed=True, return_predecessors=False)) == n)


def complete(n: int) -> sp.csr_array:
    """The complete graph.

    Raises:
        ScenarioError: for more than ``DENSE_TO`` nodes.
    """
    if n > DENSE_TO:
        raise ScenarioError(f"topology.kind: 'complete' is not allowed: {n} nodes would be more than {DENSE_TO}, too many links")
    others = np.arange(max(n - 1, 0), dtype=np.int32)
    indices = others[None, :] + (others[None, :] >= np.arange(n)[:, None])
    return _assemble(n, np.arange(n + 1) * max(n - 1, 0), indices.ravel())


def graph(n: int, edges: list[tuple[int, int]], where: str) -> sp.csr_array:
    """The adjacency matrix of links that somebody brought along.

    Args:
        n: number of nodes.
        edges: pairs of node numbers.
        where: what an error calls them.

    Raises:
        ScenarioError: an end is no node, or both ends of an edge are the same.
    """
    for a, b in edges:
        if not (0 <= a < n and 0 <= b < n) or a == b:
            raise ScenarioError(f"{where}: edge {a} {b} is not allowed: ends must differ and lie in 0…{n - 1} (nodes = {n})")
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return from_links(n, ends[:, 0], ends[:, 1])


def codes_of(a: Array, b: Array) -> Array:
    """Links as codes, in the order given."""
    return np.minimum(a, b) << 32 | np.maximum(a, b)


def ends_of(codes: Array) -> tuple[Array, Array]:
    """The lower and the higher ends of links."""
    return codes >> 32, codes & _LOW


def first(codes: Array) -> Array:
    """``(m,)`` bool: which are the first with their number. Quick where few are there twice."""
    ascending = np.sort(codes)
    twice = ascending[1:][ascending[1:] == ascending[:-1]]
    mask = np.ones(len(codes), bool)
    if len(twice):
        suspects = np.flatnonzero(contains(np.unique(twice), codes))
        mask[suspects] = False
        mask[suspects[np.unique(codes[suspects], return_index=True)[1]]] = True
    return mask


def contains(ascending: Array, codes: Array) -> Array:
    """``(m,)`` bool: which codes are in the sorted array."""
    if not len(ascending):
        return np.zeros(len(codes), bool)
    found: Array = ascending[np.minimum(np.searchsorted(ascending, codes), len(ascending) - 1)] == codes
    return found


def merge(ascending: Array, codes: Array) -> Array:
    """The sorted array with codes put in their place."""
    if len(codes) < len(ascending) // 100:
        codes = np.sort(codes)
        return np.insert(ascending, np.searchsorted(ascending, codes), codes)
    return np.sort(np.concatenate([ascending, np.sort(codes)]), kind="stable")


def partners(n: int, sources: Array, taken: Array, generator: np.random.Generator, given_up: Array | None = None) -> Array:
    """A random partner for every source, so that no link leads to the node itself or is there twice.

    Args:
        n: number of nodes.
        sources: ``(m,)`` node numbers; one that stands there twice gets two partners.
        taken: sorted codes of links that are there already.
        generator: where to draw from.
        given_up: ``(m,)`` codes of the links that the sources give up for it, one after the other: none is taken before its turn,
            nor by the source itself.

    Returns:
        ``(m,)`` node numbers; −1 where a source was already wired to everybody when its turn came.
    """
    targets = np.full(len(sources), -1, np.int64)
    turns = np.empty(0, np.int64) if given_up is None else np.argsort(given_up)
    old = turns if given_up is None else given_up[turns]
    waiting = np.arange(len(sources))
    for _ in range(PASSES if n <= DENSE_TO else 100 * PASSES):
        if not len(waiting):
            return targets
        own, drawn = sources[waiting], generator.integers(0, n, len(waiting))
        codes = codes_of(own, drawn)
        good = (own != drawn) & ~contains(taken, codes)
        back = np.flatnonzero(contains(old, codes))
        good[back] &= turns[np.searchsorted(old, codes[back])] < waiting[back]
        good[good] = first(codes[good])
        targets[waiting[good]] = drawn[good]
        taken = merge(taken, codes[good])
        waiting = waiting[~good]
    if n <= DENSE_TO:  # nearly everything is taken: the few links that are free have to be looked up
        free = np.ones((n, n), bool)
        np.fill_diagonal(free, False)
        a, b = ends_of(taken)
        free[a, b] = free[b, a] = False
        for k in waiting.tolist():
            source = sources[k]
            choice = np.flatnonzero(free[source])
            if len(choice):
                target = targets[k] = generator.choice(choice)
                free[source, target] = free[target, source] = False
    return targets


def regular(n: int, degree: int, generator: np.random.Generator) -> sp.csr_array:
    """A random simple graph in which every node has ``degree`` links; ``n · degree`` must be even and ``degree < n``.

    Stubs, ``degree`` a node, are paired at random; those whose pair would be a loop or a second link are paired again among
    themselves, and if nothing else is possible change partners with a link that is there.
    """
    if degree > (n - 1) // 2 and n > 1:  # what is missing is sparser, and so quicker to draw
        missing = regular(n, n - 1 - degree, generator)
        there = ~np.eye(n, dtype=bool)
        rows = np.repeat(np.arange(n), np.diff(missing.indptr))
        there[rows, missing.indices] = False
        return from_arrows(n, *np.nonzero(there))
    codes = _paired(n, degree, generator)
    while codes is None:
        codes = _paired(n, degree, generator)
    a, b = ends_of(codes)
    return from_links(n, a, b)


def _paired(n: int, degree: int, generator: np.random.Generator) -> Array | None:
    stubs = np.repeat(np.arange(n), degree)
    accepted = np.empty(0, np.int64)
    stuck = 0
    while len(stubs) and stuck < 10:
        stubs = generator.permutation(stubs)
        a, b = stubs[::2], stubs[1::2]
        codes = codes_of(a, b)
        good = a != b
        good[good] = first(codes[good])
        good &= ~contains(accepted, codes)
        accepted = merge(accepted, codes[good])
        stubs = np.concatenate([a[~good], b[~good]])
        stuck = 0 if good.any() else stuck + 1
    for one, other in stubs.reshape(2, -1).T.tolist():
        swapped = _swapped(one, other, accepted, generator)
        if swapped is None:
            return None
        accepted = swapped
    return accepted


def _swapped(a: int, b: int, accepted: Array, generator: np.random.Generator) -> Array | None:
    """``a — c`` and ``b — d`` in place of a random link ``c — d``; None if none of many will do."""
    for _ in range(1000):
        if not len(accepted):
            return None
        k = int(generator.integers(len(accepted)))
        c, d = int(accepted[k]) >> 32, int(accepted[k]) & _LOW
        if generator.random() < 0.5:
            c, d = d, c
        new = codes_of(np.array([a, b]), np.array([c, d]))
        if a != c and b != d and new[0] != new[1] and not contains(accepted, new).any():
            return merge(np.delete(accepted, k), new)
    return None


def distinct(sizes: Array, count: int, generator: np.random.Generator) -> Array:
    """For every row up to ``count`` different random numbers below its size (Floyd's sampling, all rows at once).

    Args:
        sizes: ``(m,)`` how many numbers a row may choose from.
        count: how many it chooses; all there are if there are fewer.
        generator: where to draw from.

    Returns:
        ``(m, count)`` int64, −1 where there are no more.

    Example:
        >>> distinct(np.array([0, 1, 9]), 2, np.random.default_rng(0))[:2].tolist()
        [[-1, -1], [0, -1]]
    """
    chosen = np.full((len(sizes), count), -1, np.int64)
    counts = np.minimum(sizes, count)
    for j in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > j)
        top = sizes[rows] - counts[rows] + j
        drawn = generator.integers(0, top + 1)
        again = (chosen[rows, :j] == drawn[:, None]).any(axis=1)
        chosen[rows, j] = np.where(again, top, drawn)
    return chosen


def as_graph(matrix: sp.csr_array) -> nx.Graph:
    """A symmetric matrix as a NetworkX graph without attributes."""
    import networkx as nx

    made = nx.Graph()
    made.add_nodes_from(range(matrix.shape[0]))
    a, b = links(matrix)
    made.add_edges_from(zip(a.tolist(), b.tolist(), strict=True))
    return made
