"""Where to draw the nodes of a graph: fast, the same every time, and filling the space there is."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np

GRID_FROM = 1000
"""From this many nodes on, forces act between near nodes only: 5,000 nodes take half a second instead of half a minute."""
DENSE = 0.5
"""From this share of all possible links on, forces pull everything into one lump, and nothing is lost by ignoring them."""
PULLING = 500_000
"""More links than these do not all pull: so many random ones of them give the same picture, and 12 million took a minute."""
REMEMBERED = 1_000_000
"""Of graphs with more links than these the answer is not kept: telling them apart would take all their links in memory."""
CIRCLE_TO = 200
"""More nodes than this would touch each other on a circle; they fill a disc instead."""


def positions(n: int, edges: np.ndarray) -> np.ndarray:
    """Place the nodes of an undirected graph.

    The order and the direction of links do not matter, nor do repeated links and links from a node to itself. The last few
    answers are kept.

    Args:
        n: number of nodes.
        edges: ``(m, 2)``, the linked nodes.

    Returns:
        ``(n, 2)`` float32 within [−1, 1]²; read-only, since it is shared.

    Example:
        >>> ring = positions(4, np.array([[0, 1], [1, 2], [2, 3], [3, 0]]))
        >>> np.hypot(*ring.T).round(3).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    pairs = np.asarray(edges).reshape(-1, 2)
    links = each_once(n, pairs[:, 0], pairs[:, 1])
    return _remembered(n, links.tobytes()) if len(links) <= REMEMBERED else _positions(n, links)


def each_once(n: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Every link between two different nodes once, however often and in whichever direction it was named.

    Returns:
        ``(m, 2)`` int64, the lower node first; ascending.
    """
    codes = np.minimum(u, v).astype(np.int64)
    codes *= n  # in place: of all links among 5,000 nodes every array takes 100 MB
    codes += np.maximum(u, v).astype(np.int64, copy=False)
    codes = codes[u != v]
    codes.sort()
    codes = codes[np.diff(codes, prepend=-1) > 0]
    links = np.empty((len(codes), 2), dtype=np.int64)
    np.divmod(codes, max(n, 1), out=(links[:, 0], links[:, 1]))
    return links


@lru_cache(maxsize=8)
def _remembered(n: int, links: bytes) -> np.ndarray:
    return _positions(n, np.frombuffer(links, dtype=np.int64).reshape(-1, 2))


def _positions(n: int, links: np.ndarray) -> np.ndarray:
    placed = _place(n, links).astype(np.float32)
    placed.setflags(write=False)
    return placed


def _place(n: int, links: np.ndarray) -> np.ndarray:
    if n < 2:
        return np.zeros((n, 2))
    if len(links) == 0:
        return _disc(n)
    parts = _parts(n, links)
    if len(parts) == 1:
        return _component(n, links)
    placed = np.zeros((n, 2))
    for (nodes, own_links), (left, low, right, high) in zip(parts, _rectangles([len(nodes) for nodes, _ in parts]), strict=True):
        own = np.zeros((1, 2)) if len(nodes) == 1 else _component(len(nodes), own_links)
        margin = 0.88 if len(nodes) > 1 else 0.0
        placed[nodes] = [(left + right) / 2, (low + high) / 2] + own * margin * [(right - left) / 2, (high - low) / 2]
    return np.asarray(placed / np.abs(placed).max())


def _parts(n: int, links: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The nodes that reach each other, ascending, and the links among them, numbered within the part; the largest part first."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    if np.bincount(links.ravel(), minlength=n).min() >= n // 2:  # any two nodes are linked or have a neighbour in common
        return [(np.arange(n), links)]
    ones = np.ones(len(links), dtype=np.int8)
    matrix = sp.coo_array((ones, (links[:, 0], links[:, 1])), shape=(n, n))  # type: ignore[no-untyped-call]
    count, part = connected_components(matrix, directed=False)
    if count == 1:
        return [(np.arange(n), links)]
    sizes = np.bincount(part)
    begins = np.cumsum(sizes) - sizes
    nodes = np.argsort(part, kind="stable")
    within = np.empty(n, dtype=np.int64)
    within[nodes] = np.arange(n) - begins[part[nodes]]
    of = part[links[:, 0]]
    own = within[links[np.argsort(of, kind="stable")]]
    split = np.split(own, np.cumsum(np.bincount(of, minlength=count))[:-1])
    return [(nodes[begins[i] : begins[i] + sizes[i]], split[i]) for i in np.argsort(-sizes, kind="stable")]


def _component(n: int, links: np.ndarray) -> np.ndarray:
    """A connected graph of two or more nodes, within [−1, 1]²."""
    if n == 2:
        return np.array([[-1.0, 0.0], [1.0, 0.0]])
    ring = (np.bincount(links.ravel()) == 2).all()
    if not ring and n > 3 and len(links) >= DENSE * n * (n - 1) / 2:
        return _circle(n) if n <= CIRCLE_TO else _disc(n)
    import igraph

    if len(links) > PULLING:
        links = links[np.random.default_rng(0).choice(len(links), PULLING, replace=False)]
    graph: Any = igraph.Graph(n=n, edges=links)  # type: ignore[no-untyped-call]
    if ring:
        place: np.ndarray = np.argsort(graph.dfs(0)[0])
        return np.asarray(_circle(n)[place])
    # igraph draws from one generator for all its callers: ours for this while, then the one it starts with.
    igraph.set_random_number_generator(random.Random(0))
    try:
        pulled = np.array(graph.layout_fruchterman_reingold(grid=n >= GRID_FROM).coords)
    finally:
        igraph.set_random_number_generator(random)
    return _spread(pulled, even=0.6 if n >= GRID_FROM else 0.0)


def _circle(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _disc(n: int) -> np.ndarray:
    """Like the seeds of a sunflower: evenly over a disc."""
    k = np.arange(n)
    radius, angle = np.sqrt((k + 0.5) / n), k * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _spread(placed: np.ndarray, even: float) -> np.ndarray:
    """Fill [−1, 1]²: stragglers are drawn in, and ``even`` (0…1) evens out how crowded the middle is.

    Direction from the middle and the order of distances from it stay.
    """
    placed = placed - np.median(placed, axis=0)
    placed = placed / np.maximum(np.percentile(np.abs(placed), 95, axis=0), 1e-9)
    radius = np.hypot(*placed.T)
    limit = max(float(np.percentile(radius, 97)), 1e-9)
    far = np.maximum(radius - limit, 0.0)
    wanted = np.minimum(radius, limit) + far / (1 + far / (0.15 * limit))
    rank = np.sqrt((np.argsort(np.argsort(radius, kind="stable"), kind="stable") + 0.5) / len(radius))
    wanted = (1 - even) * wanted / wanted.max() + even * rank
    placed = placed * (wanted / np.maximum(radius, 1e-12))[:, None]
    low, high = placed.min(axis=0), placed.max(axis=0)
    return np.asarray((placed - (low + high) / 2) / np.maximum((high - low) / 2, 1e-9))


def _rectangles(sizes: list[int]) -> list[tuple[float, float, float, float]]:
    """Divide [−1, 1]² into rectangles of areas like ``sizes``: halve the list by weight, and the space across its longer side."""
    found = [(0.0, 0.0, 0.0, 0.0)] * len(sizes)
    before = np.concatenate([[0], np.cumsum(sizes)])
    todo = [(0, len(sizes), (-1.0, -1.0, 1.0, 1.0))]
    while todo:
        start, stop, (left, low, right, high) = todo.pop()
        if stop - start == 1:
            found[start] = (left, low, right, high)
            continue
        half = (before[start] + before[stop]) / 2
        cut = min(max(int(np.searchsorted(before, half)), start + 1), stop - 1)
        share = float((before[cut] - before[start]) / (before[stop] - before[start]))
        if right - left >= high - low:
            middle = left + share * (right - left)
            sides = (left, low, middle, high), (middle, low, right, high)
        else:
            middle = low + share * (high - low)
            sides = (left, low, right, middle), (left, middle, right, high)
        todo += [(start, cut, sides[0]), (cut, stop, sides[1])]
    return found
