"""How blocks travel."""

from __future__ import annotations

from collections import deque
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
        one_at_a_time: whether a node begins to send a block only when the one before has arrived, or has not within
            ``timeout_s``; until then it does not enter the node's upload queue, and what else the node sends goes ahead.
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

        shape = at.reached_s.shape
        at.state = _State(np.full(shape, -np.inf), np.full(shape, -1, dtype=np.int32), _Uploads(at, self.timeout_s))

    def spread(self, at: Spread, t_s: np.ndarray, nodes: np.ndarray, items: np.ndarray, came_from: np.ndarray) -> None:
        """Announce to all neighbours but one."""
        how = {"but": came_from, "longer_s": self.processing_s}
        at.bulk.fan_out(at.box, t_s, nodes, at.wiring, self.control_bytes, "inv", items, **how)

    def arrived(self, at: Spread, arrivals: Arrivals) -> None:
        """Take in blocks; ask for what is announced; answer requests."""
        state: _State = at.state
        block, inv, getdata, remind = (at.kind(name) for name in ("block", "inv", "getdata", "remind"))
        at.pass_on(arrivals[arrivals.kind == block])
        named = arrivals[(arrivals.kind == inv) | (arrivals.kind == remind)]
        if len(named):
            self._name_others(state, named, named.kind == remind)
            self._ask(at, named)
        requests = arrivals[arrivals.kind == getdata]
        if self.one_at_a_time:
            state.uploads.arrived(arrivals)
        elif len(requests):
            items = requests.item
            at.send(requests.t_s, requests.dst, requests.src, at.nbytes(items), "block", items)

    @staticmethod
    def _name_others(state: _State, named: Arrivals, reminds: np.ndarray) -> None:
        """Keep who announces what, and let reminders name who did so last before them."""
        import numpy as np

        for i in np.flatnonzero(reminds).tolist():
            item, node = named.item[i], named.dst[i]
            earlier = np.flatnonzero((named.item[:i] == item) & (named.dst[:i] == node))
            named.src[i] = named.src[earlier[-1]] if len(earlier) else state.other[item, node]
        state.other[named.item, named.dst] = named.src

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
class _State:
    asked_s: np.ndarray
    """``(items, n)`` when each node last asked for each item."""
    other: np.ndarray
    """``(items, n)`` who was the last to announce it to each node."""
    uploads: _Uploads


class _Uploads:
    """The blocks that nodes have been asked for, each node's one after the other."""

    def __init__(self, at: Spread, timeout_s: float) -> None:
        self._at, self._timeout_s = at, timeout_s
        self._under_way: dict[int, tuple[int, int, int, int]] = {}  # by sender: in which session, to whom, what, how manieth
        self._waiting: dict[int, deque[tuple[int, int]]] = {}
        self._begun = 0
        self._out: list[tuple[float, int, int, int]] = []

    def arrived(self, arrivals: Arrivals) -> None:
        """Begin what can be begun, in order of time: requests come, blocks arrive, blocks are given up."""
        import numpy as np

        at = self._at
        block, request, overdue = (at.kind(name) for name in ("block", "getdata", "overdue"))
        some = arrivals[np.isin(arrivals.kind, (block, request, overdue))]
        columns = (some.t_s, some.kind, some.src, some.dst, some.item)
        for t_s, kind, src, dst, item in zip(*(column.tolist() for column in columns), strict=True):
            if kind == request:
                self._asked(t_s, dst, src, item)
            elif kind == block and self._under_way.get(src, ())[1:3] == (dst, item):
                self._next(t_s, src)
            elif kind == overdue and self._under_way.get(dst, ())[3:] == (item,):
                self._next(t_s, dst)
        out, self._out = self._out, []
        if out:
            t_s, src, dst, items = (np.array(column) for column in zip(*out, strict=True))
            at.send(t_s, src, dst, at.nbytes(items), "block", items)
            first = self._begun - len(out)
            at.remind(t_s + self._timeout_s, src, "overdue", first + np.arange(len(out)))

    def _asked(self, t_s: float, node: int, other: int, item: int) -> None:
        under_way = self._under_way.get(node)
        if under_way is not None and under_way[0] != self._at.world.nodes.session[node]:
            del self._under_way[node]  # it has gone meanwhile, and what waited with it
            self._waiting.pop(node, None)
            under_way = None
        if under_way is None:
            self._begin(t_s, node, other, item)
        else:
            self._waiting.setdefault(node, deque()).append((other, item))

    def _next(self, t_s: float, node: int) -> None:
        session = self._under_way.pop(node)[0]
        waiting = self._waiting.get(node)
        if waiting and session == self._at.world.nodes.session[node]:
            self._begin(t_s, node, *waiting.popleft())
        else:
            self._waiting.pop(node, None)

    def _begin(self, t_s: float, node: int, other: int, item: int) -> None:
        self._under_way[node] = (self._at.world.nodes.session[node], other, item, self._begun)
        self._begun += 1
        self._out.append((t_s, node, other, item))
