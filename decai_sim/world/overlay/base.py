"""Links that change while a world runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decai_sim.world.world import World


class Overlay:
    """Who keeps up the links of a time-varying topology in a world: every ``period_s`` it takes a turn, in which they change.

    Turns are at whole multiples of the period. While nobody is online there are none, so that who waits for a node in vain can
    find out.

    Args:
        world: whose links they are.
        period_s: seconds between turns.
    """

    def __init__(self, world: World, period_s: float) -> None:
        self.world, self.period_s = world, period_s
        self._waits = False

    def start(self) -> None:
        """Begin now."""
        self.world.nodes.on_online.append(self._came)
        self._go_on(math.floor(self.world.clock.now / self.period_s))

    def turn(self, k: int) -> None:
        """Change the links by :meth:`~decai_sim.world.world.World.relink`; it is ``k`` periods since the beginning."""
        raise NotImplementedError

    def missed(self, k: int) -> None:
        """There may have been no turns up to the ``k``-th, while nobody was online."""

    def _turn(self, k: int) -> None:
        self.turn(k)
        self._go_on(k)

    def _go_on(self, k: int) -> None:
        self._waits = any(self.world.nodes.online[: self.world.n])
        if self._waits:
            self.world.clock.at((k + 1) * self.period_s, self._turn, k + 1)

    def _came(self, node: int) -> None:
        if not self._waits and node >= 0:
            k = math.floor(self.world.clock.now / self.period_s)
            self.missed(k)
            self._go_on(k)
