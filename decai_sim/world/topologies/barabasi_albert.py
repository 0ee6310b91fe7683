"""Barabási–Albert graphs."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp


class BarabasiAlbert(Topology):
    """Nodes arrive one by one and wire themselves to ``m`` others, preferring those with many links: a few become hubs.

    The degrees' tail falls as k⁻³.

    Source: Barabási & Albert, "Emergence of scaling in random networks", Science 286 (1999); drawn as in Batagelj & Brandes,
    "Efficient generation of large random networks", Physical Review E 71 (2005): the end of a random earlier link is a node drawn
    in proportion to its degree.
    Assumes: newcomers know everybody's degree.
    Deviations: begins with a star of m + 1 nodes, as NetworkX does; the source leaves the beginning open. The m neighbours
    differ: one that was drawn twice is drawn again. The distribution is that of ``networkx.barabasi_albert_graph``.

    Attributes:
        m: links that a newcomer makes; the mean degree is near 2 m.

    Raises:
        ScenarioError: ``m`` is not below the number of nodes.

    Example:
        >>> BarabasiAlbert(m=2).build(100, seed=0).number_of_edges()
        196
    """

    m: int = Field(default=4, ge=1)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """A graph with hubs."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        if self.m >= n:
            raise ScenarioError(f"topology.m: {self.m} is not allowed: must be below nodes = {n}")
        newcomers = np.repeat(np.arange(self.m + 1, n), self.m)
        chosen = _Arrivals(n - self.m - 1, self.m, np.random.default_rng(seed)).chosen()
        leaves = np.arange(1, self.m + 1)
        return wiring.from_links(n, np.concatenate([np.zeros_like(leaves), newcomers]), np.concatenate([leaves, chosen.ravel()]))


class _Arrivals:
    """Whom each of ``count`` newcomers chooses.

    The ends of all links stand in one list: of the star ``0 1 0 2 … 0 m``, then of every newcomer ``m`` times itself and its
    ``m`` choices. Newcomer ``t`` draws places among the ``2m(1 + t)`` before its own. A place may hold an earlier choice, which
    is again a place: chains that are followed for all at once, about half of them ending at each step.
    """

    EARLY = 256
    """Newcomers that choose one by one: they often draw a node twice, and all others copy from them."""

    def __init__(self, count: int, m: int, generator: np.random.Generator) -> None:
        import numpy as np

        self.count, self.m, self.generator = count, m, generator
        self.star = np.zeros(2 * m, np.int64)
        self.star[1::2] = np.arange(1, m + 1)
        self.nodes = np.empty(count * m, np.int64)
        """``(count · m,)`` all choices, a newcomer's next to each other."""

    def chosen(self) -> np.ndarray:
        """``(count, m)`` node numbers, all different within a row."""
        early = min(self.count, self.EARLY)
        for row in range(early):
            self._choose(row)
        if early < self.count:
            self._choose_all(early)
        return self.nodes.reshape(self.count, self.m)

    def _choose(self, row: int, given: Sequence[int] = ()) -> None:
        """A newcomer's choices while all before it are settled: those given; drawn where there are none or they repeat."""
        seen: set[int] = set()
        for k in range(self.m):
            node = given[k] if k < len(given) else self._drawn(row)
            while node in seen:
                node = self._drawn(row)
            seen.add(node)
            self.nodes[row * self.m + k] = node

    def _drawn(self, row: int) -> int:
        place = int(self.generator.random() * (2 * self.m * (1 + row)))
        if place < 2 * self.m:
            return int(self.star[place])
        newcomer, column = divmod(place - 2 * self.m, 2 * self.m)
        return newcomer + self.m + 1 if column < self.m else int(self.nodes[newcomer * self.m + column - self.m])

    def _choose_all(self, early: int) -> None:
        """All choices from newcomer ``early`` on."""
        import numpy as np

        begin, m = early * self.m, self.m
        places = self.generator.random(len(self.nodes) - begin)
        places *= np.repeat(2 * m * np.arange(1 + early, 1 + self.count), m)
        row, column = np.divmod(places.astype(np.int64) - 2 * m, 2 * m)
        made = row + m + 1
        made[row < 0] = self.star[column[row < 0]]
        # Which choice a place holds, −1 where it holds no choice.
        parents = np.append(np.full(begin, -1), np.where((row >= 0) & (column >= m), row * m + column - m, -1))
        self.nodes[begin:] = made
        waiting = np.flatnonzero(parents >= 0)
        at = parents[waiting]
        self.copies = np.sort(at << 32 | waiting)
        while len(waiting):
            self.nodes[waiting] = self.nodes[at]
            follow = parents[at] >= 0
            waiting, at = waiting[follow], parents[at[follow]]
        self._make_different(early)

    def _make_different(self, early: int) -> None:
        """Choose again what is in a row twice, in order of arrival; who had copied the old choice copies the new one.

        When a row's turn comes all above it are settled, and what is below was drawn without regard to it: as if the nodes had
        come one by one.
        """
        import numpy as np

        heap = self._repeating(np.arange(early, self.count))
        while heap:
            row = heapq.heappop(heap)
            slots = np.arange(row * self.m, (row + 1) * self.m)
            old = self.nodes[slots]
            self._choose(row, old.tolist())  # nothing changes if a row above has changed it already
            touched = self._pass_on(slots[self.nodes[slots] != old])
            for other in self._repeating(np.unique(touched // self.m)):
                heapq.heappush(heap, other)

    def _repeating(self, rows: np.ndarray) -> list[int]:
        """Those of the rows, ascending, that have a node twice."""
        import numpy as np

        ordered = np.sort(self.nodes.reshape(self.count, self.m)[rows], axis=1)
        twice: list[int] = rows[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)].tolist()
        return twice

    def _pass_on(self, changed: np.ndarray) -> np.ndarray:
        """Choices that copy the changed ones, directly or not, take their new nodes; which these are."""
        import numpy as np

        touched = []
        while len(changed):
            low, high = np.searchsorted(self.copies, changed << 32), np.searchsorted(self.copies, (changed + 1) << 32)
            many = high - low
            where = np.repeat(low - np.append(0, np.cumsum(many)[:-1]), many) + np.arange(many.sum())
            copying = self.copies[where] & 0xFFFFFFFF
            self.nodes[copying] = np.repeat(self.nodes[changed], many)
            touched.append(copying)
            changed = copying
        return np.concatenate(touched) if touched else changed
