"""Heartbeats to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.membership.base import Membership

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.world.detections import Detector
    from decai_sim.world.heartbeats import Heartbeats
    from decai_sim.world.listing import Listing
    from decai_sim.world.world import World


class Heartbeat(Membership):
    """Nodes tell the server every so often that they are there; it strikes off whom it has not heard for ``patience`` periods.

    So a vanished node stays listed for ``patience`` − 1 to ``patience`` periods, and its replies never come.

    Source: Chandra & Toueg, "Unreliable failure detectors for reliable distributed systems", J. ACM 43 (1996). The defaults are
    Flower's ``HEARTBEAT_DEFAULT_INTERVAL`` and ``HEARTBEAT_PATIENCE``.
    Assumes: the server alone watches. Whoever is online at time 0 is known to it.
    Deviations: with ``nbytes`` 0 heartbeats are free: none is lost on the way, and their traffic is not counted; only a partition
        and the server's own absence stop them. With more they are messages of kind ``heartbeat``, which queue, get lost, are
        tampered with and counted; the living are then struck off now and then, and listed again with their next heartbeat.

    Attributes:
        period_s: from one heartbeat of a node to the next, virtual seconds.
        patience: for how many periods the server waits.
        nbytes: size of a heartbeat on the wire, bytes; 0: none is sent, see above.

    Example:
        >>> Heartbeat(period_s=10, patience=3).to_config()
        {'kind': 'heartbeat', 'period_s': 10.0, 'patience': 3, 'nbytes': 0}
    """

    examples = ({}, {"period_s": 5, "patience": 3}, {"period_s": 10, "nbytes": 64})

    period_s: float = Field(default=30.0, gt=0)
    patience: int = Field(default=2, ge=1)
    nbytes: int = Field(default=0, ge=0)

    @property
    def kinds(self) -> tuple[str, ...]:
        """``heartbeat``, if it is sent at all."""
        return ("heartbeat",) if self.nbytes else ()

    def listing(self, world: World) -> Listing | Heartbeats:
        """The server's list as these heartbeats let it see the nodes."""
        import numpy as np

        from decai_sim.world.heartbeats import Heartbeats
        from decai_sim.world.listing import Listing

        if self.nbytes:
            return Heartbeats(world, self.period_s, self.patience * self.period_s, self.nbytes, known=True)

        def delay_s() -> np.ndarray:
            return world.paths.bases_s(np.arange(world.n), np.full(world.n, -1))

        phase_s = world.streams.of("heartbeat").uniform(0.0, self.period_s, world.n)
        return Listing(world.clock, world.nodes, delay_s, phase_s, self.period_s, self.patience)

    def watch(self, world: World) -> Detector:
        """The server's list is the detector."""
        from decai_sim.world.heartbeats import Heartbeats

        if isinstance(world.membership, Heartbeats):
            world.membership.start()
        return world.membership
