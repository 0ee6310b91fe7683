"""Links that carry no more than so much: a queue each, first in, first out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from decai_sim.world.link_rates import Rates


class Capacities:
    """What directed links carry, and when each will have carried what has been put on it.

    A link has a slot from its first use on: what is never used costs nothing.

    Args:
        rates: what links carry.
        size: number of nodes, the server included.

    Attributes:
        s_per_byte: by slot: how long a byte takes.
        free_s: by slot: when the link is free again.

    Example:
        >>> from decai_sim.world.link_rates import Lognormal
        >>> from decai_sim.seeding import Streams
        >>> links = Capacities(Lognormal(median_bps=8e6, sigma=0).links(3, Streams(1)), 4)
        >>> links.enter(0, 1, 2.0, 1_000_000), links.enter(0, 1, 2.5, 1_000_000), links.enter(0, 2, 2.5, 1_000_000)
        ((2.0, 3.0), (3.0, 4.0), (2.5, 3.5))
    """

    def __init__(self, rates: Rates, size: int) -> None:
        self._rates, self._size = rates, size
        self._slot: dict[int, int] = {}
        self._leading_from: dict[int, list[int]] = {}
        self.s_per_byte, self.free_s = np.zeros((2, 64))

    def slots(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        """The slots of the links from ``src`` to ``dst``; ``(k,)`` each."""
        keys = src % self._size * self._size + dst % self._size
        slot = self._slot
        try:
            return np.array([slot[key] for key in keys.tolist()], dtype=np.int64)
        except KeyError:
            self._make(np.array([key for key in dict.fromkeys(keys.tolist()) if key not in slot], dtype=np.int64))
            return np.array([slot[key] for key in keys.tolist()], dtype=np.int64)

    def slot(self, src: int, dst: int) -> int:
        """:meth:`slots` of a single link."""
        key = src % self._size * self._size + dst % self._size
        slot = self._slot.get(key)
        return int(self.slots(np.array([src]), np.array([dst]))[0]) if slot is None else slot

    def enter(self, src: int, dst: int, t_s: float, nbytes: int) -> tuple[float, float]:
        """Put ``nbytes`` on a link at ``t_s``: when the first of them gets its turn, and when the last one has passed."""
        slot = self.slot(src, dst)
        begins_s = max(t_s, float(self.free_s[slot]))
        self.free_s[slot] = ends_s = begins_s + nbytes * float(self.s_per_byte[slot])
        return begins_s, ends_s

    def clear(self, node: int) -> None:
        """Free all links that lead from ``node``: what was still on them has died with it."""
        self.free_s[self._leading_from.get(node % self._size, [])] = 0.0

    def _make(self, keys: np.ndarray) -> None:
        first = len(self._slot)
        if first + len(keys) > len(self.free_s):
            more = max(len(self.free_s), len(keys))
            self.s_per_byte, self.free_s = (np.append(column, np.zeros(more)) for column in (self.s_per_byte, self.free_s))
        src, dst = np.divmod(keys, self._size)
        server = self._size - 1
        ends = (np.where(end == server, -1, end) for end in (src, dst))
        self.s_per_byte[first : first + len(keys)] = 8 / self._rates.bps(*ends)
        for slot, (key, node) in enumerate(zip(keys.tolist(), src.tolist(), strict=True), first):
            self._slot[key] = slot
            self._leading_from.setdefault(node, []).append(slot)
