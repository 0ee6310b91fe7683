"""Delay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.world.adversaries.base import among
from decai_sim.world.adversaries.relaying import Relaying

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from decai_sim.world.world import World


class Delay(Relaying):
    """They hold up what they pass on for others: what comes through them arrives ``delay_s`` later.

    Source: Gervais, Ritzdorf, Karame and Capkun, "Tampering with the delivery of blocks and transactions in Bitcoin" (CCS 2015),
    for what delays of seconds to minutes are worth to those who cause them.
    Assumes: nobody tells a slow node from a slow link.
    Deviations: what a node says for itself is its own, whatever it is about: requests, digests, and the announcements of
        GossipSub are not held up unless ``own``. Under block relay with one upload at a time the next one waits for the one
        before, delay included.

    Attributes:
        delay_s: by how much, seconds.
        own: whether they hold up their own messages too: news of their own, requests, models, replies to a server.

    Example:
        >>> Delay(share=0.2, by="degree", delay_s=30).delay_s
        30.0
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"share": 0.3}, {"nodes": [2, 5], "delay_s": 0.5, "own": True})

    delay_s: float = Field(default=10.0, gt=0)

    def act(self, world: World, who: list[int], number: int) -> None:
        import numpy as np

        theirs = among(world, who)

        def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
            return np.where(theirs[src], self.delay_s, 0.0)

        self.tamper(world, hold_up)
