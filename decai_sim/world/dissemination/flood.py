"""Flooding."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.world.dissemination.base import Dissemination

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.world.dissemination.spread import Spread


class Flood(Dissemination):
    """Whoever hears something new sends it on at once to all neighbours but the one it came from.

    Source: flooding, as in Lynch, "Distributed Algorithms" (1996), ch. 4.
    Assumes: a connected topology. Every link carries every item once or twice: fast, robust and expensive.
    Deviations: none.

    Example:
        >>> Flood().to_config()
        {'kind': 'flood'}
    """

    kinds: ClassVar[tuple[str, ...]] = ("item",)

    def spread(self, at: Spread, t_s: np.ndarray, nodes: np.ndarray, items: np.ndarray, came_from: np.ndarray) -> None:
        """To all neighbours but one."""
        at.fan_out(t_s, nodes, items, but=came_from)
