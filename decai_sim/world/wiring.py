"""The links of a graph, prepared for very many messages along them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from decai_sim.world.links import TABLE
from decai_sim.world.turns import ranges, rank

if TYPE_CHECKING:
    import scipy.sparse as sp

    from decai_sim.world.links import Links

_FEW = 1 << 14
"""Links worked out at once: what is in between stays in the cache."""


class Wiring:
    """The links of a graph, from every node to its neighbours.

    Args:
        graph: ``(n, n)`` adjacency matrix; row ``i`` holds the links that lead from node ``i``.
        links: the world's.
        number: which of the world's wirings it is; every one takes its messages' jitter and loss from places of its own.
        lasts: whether it is there for good. If not, and if losses come in bursts, places stay with the ends of links.

    Attributes:
        begins: ``(n + 1,)`` where each node's links begin.
        src, dst: ``(m,)`` their ends.
        base_s: ``(m,)`` their latencies.
        cursor: ``(m,)`` where they stand in the tables of jitter and loss.
        slot: ``(m,)`` where their capacities are found; None: they have none.
    """

    __slots__ = ("_keys", "_last", "base_s", "begins", "cursor", "dst", "lasts", "slot", "src")

    def __init__(self, graph: sp.csr_array, links: Links, number: int = 0, lasts: bool = True) -> None:
        self.lasts = lasts
        self.begins = graph.indptr.astype(np.int64)
        self.dst = graph.indices.astype(np.int64)
        self.src = np.repeat(np.arange(graph.shape[0]), np.diff(self.begins))
        self._keys = self.src * graph.shape[0] + self.dst
        self.base_s, self.cursor = np.empty(len(self.dst)), np.empty(len(self.dst), np.int64)
        for at in range(0, len(self.dst), _FEW):
            few = slice(at, at + _FEW)
            self.base_s[few] = links.paths.bases_s(self.src[few], self.dst[few])
            self.cursor[few] = links.place.array(self.src[few], self.dst[few], -1 - number) * TABLE
        self.slot = None if links.capacities is None else links.capacities.slots(self.src, self.dst)
        self._last = np.empty(len(self.dst), dtype=np.int32)

    def of(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The links of all ``nodes``, one node after the other, and for each of them whose in ``nodes`` it is."""
        return ranges(self.begins[nodes], self.begins[nodes + 1])

    def link(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        """The numbers of the links from ``src`` to ``dst``, which there must be; ``(k,)`` each."""
        n = len(self.begins) - 1
        links: np.ndarray = np.searchsorted(self._keys, src.astype(np.int64) * n + dst)  # rows follow each other and are sorted
        return links

    def advance(self, links: np.ndarray) -> np.ndarray:
        """Where in the tables one message each along ``links``, in this order, finds its jitter and loss; ``(m,)``."""
        place: np.ndarray = self.cursor[links] + 1
        numbers = np.arange(len(links), dtype=np.int32)
        self._last[links] = numbers  # of equal ones the last is kept
        if (self._last[links] != numbers).any():  # more than one message on a link
            place += rank(links)
        place %= TABLE
        self.cursor[links] = place
        return place
