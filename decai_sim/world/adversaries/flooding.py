"""Flooding with junk."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.adversaries.base import Adversary, Carried
from decai_sim.world.targets import check_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decai_sim.world.bulk import Arrivals
    from decai_sim.world.world import World


JUNK = "junk"
"""What the trace calls junk."""


class Flooding(Adversary):
    """They send junk to some nodes, or to all their neighbours, at a steady rate: queues fill, and what is real waits in them.

    An attacker puts ``8 · nbytes · per_s`` bits a second on the way to each of its targets, as far as its own upload rate allows.
    A target whose download rate they exceed together falls behind for as long as it lasts.

    Source: flooding attacks: Mirkovic & Reiher, "A taxonomy of DDoS attack and DDoS defense mechanisms", ACM CCR 34 (2004).
    Assumes: targets take in junk before they know it for what it is, and pass nothing of it on.
    Deviations: junk is made of real messages, of kind ``junk``. With the network's ``queueing`` at ``uplink`` receivers have no
        queue that could fill, and only what attackers themselves send waits: a scenario that names ``victims`` then is refused;
        use ``both``, or ``fair``. For junk that comes from elsewhere, and does not pass through the attackers' own links, see
        the fault ``dos``.

    Attributes:
        victims: who gets it, −1 being the server; None: all neighbours of the attackers.
        nbytes: size of a junk message, bytes.
        per_s: how many each attacker sends to each target a second.
        at_s: when it begins, virtual seconds.
        for_s: how long it lasts, seconds.

    Example:
        >>> Flooding(nodes=[3, 4], victims=[0], nbytes=100_000, per_s=20).victims
        (0,)
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"share": 0.3, "for_s": 5.0},
        {"nodes": [4, 7], "victims": [0, -1], "nbytes": 50_000, "per_s": 2.0, "at_s": 3.0, "for_s": 4.0},
    )

    victims: tuple[int, ...] | None = Field(default=None, min_length=1)
    nbytes: int = Field(default=10_000, ge=1)
    per_s: float = Field(default=10.0, gt=0, le=1e6)
    at_s: float = Field(default=0.0, ge=0)
    for_s: float = Field(default=60.0, gt=0)

    def check(self, n: int) -> None:
        super().check(n)
        check_nodes(self.victims or (), n, "victims")

    def check_carried(self, carried: Carried) -> None:
        super().check_carried(carried)
        if carried.queueing == "nowhere":
            raise ScenarioError(f"kind: {self.kind!r} is not allowed: this network has no queues that could fill")
        if self.victims is not None and carried.queueing == "uplink":
            raise ScenarioError(
                f"victims: {list(self.victims)} is not allowed: with network.queueing 'uplink' no queue of theirs could fill; "
                "choose 'both' or 'fair'"
            )

    def act(self, world: World, who: list[int], number: int) -> None:
        import numpy as np

        if self.victims is None and not world.graph.nnz:
            raise ScenarioError("victims: None is not allowed: this world's nodes have no links, and so no neighbours to flood")
        attackers = np.array(who, dtype=np.int64)
        victims = None if self.victims is None else np.array(sorted(set(self.victims)), dtype=np.int64)
        times = math.ceil(round(self.for_s * self.per_s, 9))
        box = world.bulk.open(_ignored, anyone=victims is not None)

        def tick(i: int) -> None:
            now, here = world.clock.now, attackers[np.array(world.nodes.online)[attackers]]
            if victims is None:
                links, _ = world.wiring.of(here)
                src, dst = world.wiring.src[links], world.wiring.dst[links]
            else:
                src, dst = np.repeat(here, len(victims)), np.tile(victims, len(here))
                src, dst = src[src != dst], dst[src != dst]
            world.bulk.send(box, np.full(len(src), now), src, dst, self.nbytes, JUNK, np.full(len(src), i))
            if i + 1 < times:
                world.clock.at(self.at_s + (i + 1) / self.per_s, tick, i + 1)

        world.clock.at(self.at_s, tick, 0)


def _ignored(arrivals: Arrivals) -> None:
    """Junk has arrived."""
