"""Where links that no wiring has prepared stand in the tables of jitter and loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from decai_sim.world.turns import rank


class Walks:
    """Moves each link on by one place a message, so that losses that come in bursts stay together.

    A link has a walk from its first message on: what is never used costs nothing.

    Args:
        start: from senders and receivers, ``(k,)`` each, to where their links begin.
        size: how many nodes there are, the server included.
        length: of the tables; they are walked through again from their beginning.

    Example:
        >>> walks = Walks(lambda src, dst: 10 * src + dst, size=5, length=100)
        >>> walks.advance(np.array([0, 2, 0]), np.array([1, 3, 1])).tolist()
        [2, 24, 3]
        >>> walks.advance(np.array([0]), np.array([1])).tolist()
        [4]
    """

    def __init__(self, start: Callable[[np.ndarray, np.ndarray], np.ndarray], size: int, length: int) -> None:
        self._start, self._size, self._length = start, size, length
        self._slot: dict[int, int] = {}
        self._cursor = np.zeros(64, dtype=np.int64)

    def advance(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        """The places of one message each from ``src`` to ``dst``, in this order; ``(m,)``."""
        keys, which, counts = np.unique(
            src.astype(np.int64) % self._size * self._size + dst % self._size, return_inverse=True, return_counts=True
        )
        slots = self._slots(keys)
        place = (self._cursor[slots][which] + 1 + rank(which)) % self._length
        self._cursor[slots] = (self._cursor[slots] + counts) % self._length
        found: np.ndarray = place
        return found

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        known = self._slot
        new = np.array([key for key in keys.tolist() if key not in known], dtype=np.int64)
        if len(new):
            first = len(known)
            if first + len(new) > len(self._cursor):
                self._cursor = np.append(self._cursor, np.zeros(max(len(new), len(self._cursor)), dtype=np.int64))
            self._cursor[first : first + len(new)] = self._start(*np.divmod(new, self._size))
            known.update(zip(new.tolist(), range(first, first + len(new)), strict=True))
        return np.array([known[key] for key in keys.tolist()], dtype=np.int64)
