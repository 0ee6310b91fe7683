"""What several faults do to the same links at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from decai_sim.world.links import Links
    from decai_sim.world.world import World


class Effects:
    """Keeps account of the faults under way in one world, so that the end of one does not undo another.

    Slowdowns multiply; nodes can reach each other if no partition separates them.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._factors: dict[tuple[str, int], list[float]] = {}
        self._cuts: list[Sequence[int]] = []

    @staticmethod
    def of(world: World) -> Effects:
        """The account of ``world``."""
        found: Effects = world.__dict__.setdefault("_effects_of_faults", Effects(world.links))  # lives as long as the world
        return found

    def begin(self, what: Literal["slow", "lag"], node: int, factor: float) -> None:
        """Slow the links of ``node`` down (``slow``: rates, ``lag``: latencies) by one more factor."""
        self._factors.setdefault((what, node), []).append(factor)
        self._apply(what, node)

    def end(self, what: Literal["slow", "lag"], node: int, factor: float) -> None:
        """Take a factor back."""
        self._factors[what, node].remove(factor)
        self._apply(what, node)

    def _apply(self, what: Literal["slow", "lag"], node: int) -> None:
        getattr(self._links, what)(node, math.prod(self._factors[what, node]))

    def cut(self, groups: Sequence[int]) -> None:
        """Separate nodes of different ``groups`` (``n + 1`` numbers, the server's last)."""
        self._cuts.append(groups)
        self._partition()

    def heal(self, groups: Sequence[int]) -> None:
        """Undo one :meth:`cut`."""
        self._cuts.remove(groups)
        self._partition()

    def _partition(self) -> None:
        if not self._cuts:
            self._links.partition(None)
            return
        names: dict[tuple[int, ...], int] = {}
        self._links.partition([names.setdefault(sides, len(names)) for sides in zip(*self._cuts, strict=True)])
