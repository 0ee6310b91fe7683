"""What several faults do to the same links and devices at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from decai_sim.world.world import World


_What = Literal["slow", "lag", "compute"]


class Effects:
    """Keeps account of the faults under way in one world, so that the end of one does not undo another.

    Slowdowns multiply; nodes can reach each other if no partition separates them. Whoever comes to be in another part has an
    event ``part`` in the trace, with the part's number: 0 is that of node 0, and everybody's while the network is whole.
    """

    def __init__(self, world: World) -> None:
        self._world, self._links = world, world.links
        self._factors: dict[tuple[str, int], list[float]] = {}
        self._speeds: dict[int, float] = {}  # what devices do that nothing slows down
        self._cuts: list[Sequence[int]] = []
        self._parts = [0] * (world.n + 1)

    @staticmethod
    def of(world: World) -> Effects:
        """The account of ``world``."""
        found: Effects = world.__dict__.setdefault("_effects_of_faults", Effects(world))  # lives as long as the world
        return found

    def begin(self, what: _What, node: int, factor: float) -> None:
        """Slow ``node`` down (``slow``: rates of its links, ``lag``: their latencies, ``compute``: itself) by one more factor."""
        self._factors.setdefault((what, node), []).append(factor)
        self._apply(what, node)

    def end(self, what: _What, node: int, factor: float) -> None:
        """Take a factor back."""
        self._factors[what, node].remove(factor)
        self._apply(what, node)

    def _apply(self, what: _What, node: int) -> None:
        factor = math.prod(self._factors[what, node])
        if what == "compute":
            speed = self._speeds.setdefault(node, self._world.flops_per_s[node])
            self._world.flops_per_s[node] = speed / factor
            return
        getattr(self._links, what)(node, factor)

    def cut(self, groups: Sequence[int]) -> None:
        """Separate nodes of different ``groups`` (``n + 1`` numbers, the server's last)."""
        self._cuts.append(groups)
        self._partition()

    def heal(self, groups: Sequence[int]) -> None:
        """Undo one :meth:`cut`."""
        self._cuts.remove(groups)
        self._partition()

    def _partition(self) -> None:
        import numpy as np

        names: dict[tuple[int, ...], int] = {}
        sides = zip(*self._cuts, strict=True) if self._cuts else [()] * len(self._parts)
        parts = [names.setdefault(side, len(names)) for side in sides]
        self._links.partition(parts if len(names) > 1 else None)
        moved = np.flatnonzero(np.array(parts) != self._parts)
        node = np.where(moved == self._world.n, -1, moved)
        now = np.full(len(moved), self._world.clock.now)
        self._world.trace.many_events(now, node, "part", [f"part {parts[place]}" for place in moved.tolist()])
        self._parts = parts
