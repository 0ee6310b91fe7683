"""Delay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.world.adversaries.base import Adversary, among

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from decai_sim.world.world import World


class Delay(Adversary):
    """They hold up everything they send: what passes through them arrives ``delay_s`` later.

    Source: Gervais, Ritzdorf, Karame and Capkun, "Tampering with the delivery of blocks and transactions in Bitcoin" (CCS 2015),
    for what delays of seconds to minutes are worth to those who cause them.
    Assumes: nobody tells a slow node from a slow link.
    Deviations: links do not know what is relayed from what is a node's own: its own news and requests, and what it sends to the
        server, are held up as well. Under block relay with one upload at a time the next one waits for the one before, delay
        included.

    Attributes:
        delay_s: by how much, seconds.

    Example:
        >>> Delay(share=0.2, by="degree", delay_s=30).delay_s
        30.0
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"share": 0.3}, {"nodes": [2, 5], "delay_s": 0.5})

    delay_s: float = Field(default=10.0, gt=0)

    def act(self, world: World, who: list[int], number: int) -> None:
        import numpy as np

        theirs = among(world, who)

        def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
            return np.where(theirs[src], self.delay_s, 0.0)

        world.links.tamper.append(hold_up)
