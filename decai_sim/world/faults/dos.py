"""Denial of service."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.faults.base import note
from decai_sim.world.faults.targets import Targeted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decai_sim.world.world import World


class DoS(Targeted, kind="dos"):
    """Junk floods the access links of chosen nodes: their queues fill, and everybody else's messages wait in them or are dropped.

    Against a link of rate C, junk of rate r < C leaves C − r for others; with r ≥ C the queue grows until the end or until
    it is full.

    Source: flooding attacks: Mirkovic & Reiher, "A taxonomy of DDoS attack and DDoS defense mechanisms", ACM CCR 34 (2004).
    Assumes: the attackers' own links are no bottleneck.
    Deviations: junk arrives once per tick, as one piece; it fills the queues of both directions, since a flood of requests calls
        forth answers, and is not among the messages of the trace. A network without download queues (``queueing="uplink"``, the
        default) has only those for uploads to fill; an ideal one has none, and is refused.

    Attributes:
        rate_bps: junk per node, bits per second.
        for_s: how long it lasts, seconds.
        tick_s: time between pieces of junk, seconds.

    Example:
        >>> DoS(nodes=[-1], rate_bps=2e9, for_s=60).kind
        'dos'
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"share": 0.3, "at_s": 5.0, "for_s": 10.0},)

    rate_bps: float = Field(default=100e6, gt=0)
    for_s: float = Field(default=60.0, gt=0)
    tick_s: float = Field(default=0.1, ge=1e-3)

    def install(self, world: World, number: int = 0) -> None:
        if world.paths.instant:
            raise ScenarioError("kind: 'dos' is not allowed: this network has no queues that could fill")
        chosen = self.chosen(world, number)
        links, both_too = world.links, world.paths.queueing != "uplink"
        if not any(links.up_s[node] or (both_too and links.down_s[node]) for node in chosen):
            raise ScenarioError(
                "kind: 'dos' is not allowed: no queue of these nodes could fill, their rates know no limit; give the network "
                "upload_bps"
            )
        ticks = math.ceil(self.for_s / self.tick_s)
        nbytes = self.rate_bps / 8 * self.for_s / ticks

        def tick(i: int) -> None:
            if i == 0:
                note(world, f"flood of {len(chosen)}")
            if i == ticks:
                note(world, f"end of the flood of {len(chosen)}")
                return
            for node in chosen:
                if world.nodes.online[node]:
                    world.links.occupy(node, nbytes)
            world.clock.at(self.at_s + (i + 1) * self.for_s / ticks, tick, i + 1)

        world.clock.at(self.at_s, tick, 0)
