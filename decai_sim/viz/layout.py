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
    pairs = np.sort(np.asarray(edges, dtype=np.int64).reshape(-1, 2), axis=1)
    codes = np.unique(pairs[pairs[:, 0] != pairs[:, 1]] @ np.array([n, 1]))
    return _positions(n, codes.tobytes())


@lru_cache(maxsize=8)
def _positions(n: int, codes: bytes) -> np.ndarray:
    edges = np.stack(np.divmod(np.frombuffer(codes, dtype=np.int64), max(n, 1)), axis=1)
    placed = _place(n, edges).astype(np.float32)
    placed.setflags(write=False)
    return placed


def _place(n: int, edges: np.ndarray) -> np.ndarray:
    if n < 2:
        return np.zeros((n, 2))
    if len(edges) == 0:
        return _disc(n)
    import igraph

    graph: Any = igraph.Graph(n=n, edges=edges)  # type: ignore[no-untyped-call]
    parts = sorted(graph.connected_components(), key=len, reverse=True)
    # igraph draws from one generator for all its callers: ours for this while, then the one it starts with.
    igraph.set_random_number_generator(random.Random(0))
    try:
        if len(parts) == 1:
            return _component(graph)
        placed = np.zeros((n, 2))
        for nodes, (left, low, right, high) in zip(parts, _rectangles([len(part) for part in parts]), strict=True):
            own = np.zeros((1, 2)) if len(nodes) == 1 else _component(graph.induced_subgraph(nodes))
            margin = 0.88 if len(nodes) > 1 else 0.0
            placed[nodes] = [(left + right) / 2, (low + high) / 2] + own * margin * [(right - left) / 2, (high - low) / 2]
        return np.asarray(placed / np.abs(placed).max())
    finally:
        igraph.set_random_number_generator(random)


def _component(graph: Any) -> np.ndarray:
    """A connected graph of two or more nodes, within [−1, 1]²."""
    n, m = graph.vcount(), graph.ecount()
    degrees = np.array(graph.degree())
    if n == 2:
        return np.array([[-1.0, 0.0], [1.0, 0.0]])
    if (degrees == 2).all():
        place: np.ndarray = np.argsort(graph.dfs(0)[0])
        return np.asarray(_circle(n)[place])
    if n > 3 and m >= DENSE * n * (n - 1) / 2:
        return _circle(n) if n <= CIRCLE_TO else _disc(n)
    pulled = np.array(graph.layout_fruchterman_reingold(grid=n >= GRID_FROM).coords)
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
