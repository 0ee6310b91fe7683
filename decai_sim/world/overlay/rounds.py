"""Topologies that are another graph each round, in a world."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from decai_sim.world.overlay.base import Overlay

if TYPE_CHECKING:
    from decai_sim.world.topologies.base import Topology
    from decai_sim.world.world import World


class Rounds(Overlay):
    """Round r's graph, from ``r · period_s`` to ``(r + 1) · period_s`` of virtual time; it costs no messages.

    Args:
        world: whose links they are.
        topology: gives the graphs.
        seed: as for :meth:`~decai_sim.world.topologies.Topology.at`.
        period_s: how long a round lasts, seconds.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Internet, Mix, World
        >>> from decai_sim.world.topologies import OnePeerExponential
        >>> world = World(8, Internet(), None, Mix(laptop=1), Streams(1), OnePeerExponential(period_s=5))
        >>> world.use_links(); first = world.contacts[[0]].indices.tolist()
        >>> world.run(12); first, world.contacts[[0]].indices.tolist()
        ([1], [4])
    """

    def __init__(self, world: World, topology: Topology, seed: int, period_s: float) -> None:
        super().__init__(world, period_s)
        self._topology, self._seed = topology, seed

    def start(self) -> None:
        """Begin with the round that it is now."""
        if k := math.floor(self.world.clock.now / self.period_s):
            self.turn(k)
        super().start()

    def turn(self, k: int) -> None:
        """Bring in round ``k``'s graph."""
        self.world.relink(lambda: self._topology.at(self.world.n, self._seed, k), k)

    def missed(self, k: int) -> None:
        """Catch up."""
        self.turn(k)
