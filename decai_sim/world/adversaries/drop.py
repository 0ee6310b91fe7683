"""Dropping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.world.adversaries.base import among
from decai_sim.world.adversaries.relaying import Relaying

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from decai_sim.seeding import Counter
    from decai_sim.world.world import World


class Drop(Relaying):
    """They drop what they should pass on for others, each message with probability ``p``; with 1 they are black holes.

    Source: black holes and selective forwarding: Karlof & Wagner, "Secure routing in wireless sensor networks: attacks and
    countermeasures", Ad Hoc Networks 1 (2003).
    Assumes: they still count as online: what is asked of them is not asked of somebody else before a timeout.
    Deviations: what a node says for itself is its own, whatever it is about: requests, digests, and the announcements of
        GossipSub are not dropped unless ``own``. What they drop is in the trace as sent by them and lost; in networks that
        retransmit it is drawn anew for every try.

    Attributes:
        p: probability that a message is dropped.
        own: whether they drop their own messages too (news of their own, requests, models, replies to a server): with ``p`` 1
            they only listen.

    Example:
        >>> Drop(share=0.1, by="betweenness").p
        1.0
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"share": 0.3}, {"share": 0.5, "p": 0.5}, {"nodes": [3], "own": True})

    p: float = Field(default=1.0, gt=0, le=1)

    def act(self, world: World, who: list[int], number: int) -> None:
        import numpy as np

        theirs, draws = among(world, who), _Draws(world, number)

        def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
            dropped = theirs[src]
            if self.p < 1 and dropped.any():
                dropped[dropped] = draws.next(src[dropped], kind) < self.p
            return np.where(dropped, np.inf, 0.0)

        self.tamper(world, hold_up)


class _Draws:
    """Uniform numbers for messages, found by sender, kind, and how many of that kind it has sent before.

    So they are the same whether messages are moved one by one or many at once, and whatever others do.
    """

    def __init__(self, world: World, number: int) -> None:
        self._world, self._number = world, number
        self._of_kind: dict[str, tuple[Counter, np.ndarray]] = {}

    def next(self, src: np.ndarray, kind: str) -> np.ndarray:
        """``(m,)`` numbers for the next messages of this kind, in the order in which they are sent."""
        import numpy as np

        if kind not in self._of_kind:
            counter = self._world.streams.counter("adversaries", self._number, kind)
            self._of_kind[kind] = counter, np.zeros(self._world.n, dtype=np.int64)
        counter, sent = self._of_kind[kind]
        order = np.argsort(src, kind="stable")
        senders, begins, counts = np.unique(src[order], return_index=True, return_counts=True)
        rank = np.empty(len(src), dtype=np.int64)
        rank[order] = np.arange(len(src)) - np.repeat(begins, counts)
        rank += sent[src]
        sent[senders] += counts
        return counter.array(src, rank)
