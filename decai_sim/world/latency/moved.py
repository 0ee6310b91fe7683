"""Latencies of nodes that stand somewhere else than they were drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.latency.base import Delays

if TYPE_CHECKING:
    import numpy as np


class Moved(Delays):
    """Latencies as they were, but for some nodes that stand where another one stands.

    Args:
        delays: as they were.
        size: number of nodes, the server included.
        nodes: ``(k,)`` who moves.
        to: ``(k,)`` to whose place.
    """

    def __init__(self, delays: Delays, size: int, nodes: np.ndarray, to: np.ndarray) -> None:
        import numpy as np

        self._delays, self._near_s = delays, delays.least_s()
        self._place = np.append(np.arange(size - 1), -1)
        self._place[nodes] = self._place[to]

    def base_s(self, src: int, dst: int) -> float:
        a, b = int(self._place[src]), int(self._place[dst])
        if a == b and src != dst:
            return self._near_s or self._delays.base_s(src, dst)
        return self._delays.base_s(a, b)

    def bases_s(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        import numpy as np

        a, b = self._place[src], self._place[dst]
        together = (a == b) & (src != dst)
        latency = self._delays.bases_s(np.where(together, src, a), np.where(together, dst, b))
        return np.where(together, self._near_s, latency) if self._near_s else latency

    def least_s(self) -> float:
        return self._near_s
