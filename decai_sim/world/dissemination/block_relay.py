"""How blocks travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from decai_sim.world.dissemination.base import Dissemination

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.world.bulk import Arrivals
    from decai_sim.world.dissemination.spread import Spread


class BlockRelay(Dissemination):
    """Nodes announce what they have to all neighbours (INV); who lacks it asks the first to announce it (GETDATA) and gets it.

    Source: the Bitcoin protocol as measured by Decker & Wattenhofer, "Information propagation in the Bitcoin network" (P2P 2013),
    and as simulated by SimBlock (Aoki et al., arXiv:1901.09777), whose 10 ms a message and one upload at a time are the defaults.
    Assumes: a request that is not answered is made anew, to the last other one to announce the item, after ``timeout_s``.
    Deviations: no headers-first synchronisation, no compact blocks.

    Attributes:
        processing_s: how long a node looks at a message before it answers, seconds.
        control_bytes: size of an INV or a GETDATA.
        one_at_a_time: whether a node begins to send a block only when the one before has arrived.
        timeout_s: how long a node waits for what it has asked for, seconds.

    Example:
        >>> BlockRelay(one_at_a_time=False).processing_s
        0.01
    """

    examples = ({}, {"one_at_a_time": False, "processing_s": 0.0})

    kinds: ClassVar[tuple[str, ...]] = ("inv", "getdata", "block")
    relays: ClassVar[tuple[str, ...]] = ("inv", "block")

    processing_s: float = Field(default=0.01, ge=0)
    control_bytes: int = Field(default=61, ge=1)
    one_at_a_time: bool = True
    timeout_s: float = Field(default=120.0, gt=0)

    def prepare(self, at: Spread) -> None:
        """Nobody has asked for anything."""
        import numpy as np

        at.state = _Asked(np.full(at.reached_s.shape, -np.inf), np.full(at.reached_s.shape, -1, dtype=np.int32))

    def spread(self, at: Spread, t_s: np.ndarray, nodes: np.ndarray, items: np.ndarray, came_from: np.ndarray) -> None:
        """Announce to all neighbours but one."""
        how = {"but": came_from, "longer_s": self.processing_s}
        at.bulk.fan_out(at.box, t_s, nodes, at.wiring, self.control_bytes, "inv", items, **how)

    def arrived(self, at: Spread, arrivals: Arrivals) -> None:
        """Take in blocks; ask for what is announced; answer requests."""
        import numpy as np

        names = "block", "inv", "getdata", "remind"
        blocks, announced, requests, reminders = (arrivals[arrivals.kind == at.kind(name)] for name in names)
        at.pass_on(blocks)
        asked: _Asked = at.state
        if len(announced):
            asked.other[announced.item, announced.dst] = announced.src
            self._ask(at, announced)
        if len(reminders):
            reminders.src = asked.other[reminders.item, reminders.dst].astype(np.int64)
            self._ask(at, reminders)
        if len(requests):
            t_s, src, dst, items = requests.t_s, requests.dst, requests.src, requests.item
            at.send(t_s, src, dst, at.nbytes(items), "block", items, alone=self.one_at_a_time)

    def _ask(self, at: Spread, announced: Arrivals) -> None:
        """Ask for what one neither has nor is waiting for."""
        import numpy as np

        asked_s = at.state.asked_s
        t_s, node, items = announced.t_s, announced.dst, announced.item
        lacks = np.flatnonzero((at.reached_s[items, node] > t_s) & (asked_s[items, node] + self.timeout_s <= t_s))
        _, first = np.unique(items[lacks] * at.n + node[lacks], return_index=True)
        lacks = lacks[np.sort(first)]
        if not len(lacks):
            return
        t_s, node, items, src = t_s[lacks], node[lacks], items[lacks], announced.src[lacks]
        asked_s[items, node] = t_s
        at.send(t_s, node, src, self.control_bytes, "getdata", items, longer_s=self.processing_s)
        at.remind(t_s + self.timeout_s, node, "remind", items)


@dataclass
class _Asked:
    asked_s: np.ndarray
    """``(items, n)`` when each node last asked for each item."""
    other: np.ndarray
    """``(items, n)`` who was the last to announce it to each node."""
