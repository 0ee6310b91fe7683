"""Who is there: online and offline periods as they happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from decai_sim.errors import ScenarioError
from decai_sim.trace import Trace
from decai_sim.world.clock import Clock

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams
    from decai_sim.world.churn.base import Churn


class Nodes:
    """Online state of ``n`` nodes and of the server (node −1, always online unless something holds it).

    Two things decide it. Churn says when a node would be there by itself; it is worked out ahead, a stretch of time at once for
    all nodes together, and only the next change waits on the clock. On top of it a fault may :meth:`hold` a node offline, or make
    it :meth:`depart` for good; churn goes on underneath, and shows again once nothing holds the node.

    The lists have ``n + 1`` entries, the server's last, and are changed in place: whoever reads them often may keep them.

    Attributes:
        online: who is online now.
        session: how many times each node has gone offline; work begun in one session does not survive it.
        since_s: when each node's present state began.
        left_s: when each node last went offline; −inf before.
        ended_s: per node, when each of its past sessions ended, by session number.
        on_offline: called with a node that goes and the time its session began.
        on_online: called with a node that comes.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> nodes = Nodes(2, None, Clock(), Streams(1), Trace())
        >>> nodes.hold(0, "fire"); nodes.hold(0, "flood"); nodes.release(0, "fire"); nodes.online
        [False, True, True]
        >>> nodes.release(0, "flood"); nodes.online
        [True, True, True]
    """

    def __init__(self, n: int, churn: Churn | None, clock: Clock, streams: Streams, trace: Trace) -> None:
        self._clock, self._trace, self._n = clock, trace, n
        here = None if churn is None else churn.start(n, streams)
        started: list[bool] = [True] * n if here is None else here.tolist()
        self.online = [*started, True]
        self.session = [0] * (n + 1)
        self.since_s = [0.0] * (n + 1)
        self.left_s = [float("-inf")] * (n + 1)
        self.ended_s: list[dict[int, float]] = [{} for _ in range(n + 1)]
        self.on_offline: list[Callable[[int, float], object]] = []
        self.on_online: list[Callable[[int], object]] = []
        self._online_before_s = [0.0] * (n + 1)
        self._present = list(self.online)  # what churn says, whatever holds a node
        self._held: dict[int, list[str]] = {}
        self._gone: set[int] = set()
        for node in range(n):
            if started[node]:
                trace.event(0.0, node, "online")
        if churn is not None and here is not None:
            self._ahead = _Ahead(churn, here, streams)
            self._wait()

    def online_s(self) -> list[float]:
        """Seconds each node (not the server) has been online so far."""
        now = self._clock.now
        return [
            before + (now - self.since_s[node] if self.online[node] else 0.0)
            for node, before in enumerate(self._online_before_s[: self._n])
        ]

    def hold(self, node: int, reason: str) -> None:
        """Keep ``node`` offline, whatever churn says, until as many calls of :meth:`release` have let it go.

        Args:
            node: its number, −1 for the server.
            reason: what the trace says of it, as detail of the event ``offline`` if the node was there.
        """
        held = self._held.setdefault(node, [])
        held.append(reason)
        if len(held) == 1 and self.online[node]:
            self._leave(node, reason)

    def release(self, node: int, reason: str) -> None:
        """Undo one :meth:`hold` of ``node`` for ``reason``; it comes back if that was the last and churn says it is there.

        Raises:
            ValueError: nothing holds it for that reason.
        """
        held = self._held.get(node, [])
        if reason not in held:
            raise ValueError(f"node {node}: nothing holds it for {reason!r}")
        held.remove(reason)
        if not held:
            del self._held[node]
            if self._present[node] and node not in self._gone:
                self._come(node, reason)

    def depart(self, node: int, reason: str = "departed") -> None:
        """Take ``node`` offline for good."""
        if node in self._gone:
            return
        self._gone.add(node)
        if self.online[node]:
            self._leave(node, reason)

    def all_departed(self) -> bool:
        """Whether every node (the server aside) has gone for good, whatever churn says."""
        return len(self._gone - {-1}) == self._n

    def _wait(self) -> None:
        change = self._ahead.next()
        if change is not None:
            t_s, node = change
            self._clock.at(t_s, self._toggle, node)

    def _toggle(self, node: int) -> None:
        # First of all, so that of two changes at one instant nothing made by the first comes between them.
        self._wait()
        here = self._present[node] = not self._present[node]
        if node in self._held or node in self._gone:
            return
        if here:
            self._come(node, "")
        else:
            self._leave(node, "")

    def _leave(self, node: int, reason: str) -> None:
        now, began = self._clock.now, self.since_s[node]
        self.online[node] = False
        self.ended_s[node][self.session[node]] = now
        self.session[node] += 1
        self._online_before_s[node] += now - began
        self.since_s[node] = self.left_s[node] = now
        self._trace.event(now, node, "offline", reason)
        for left in self.on_offline:
            left(node, began)

    def _come(self, node: int, reason: str) -> None:
        now = self._clock.now
        self.online[node] = True
        self.since_s[node] = now
        self._trace.event(now, node, "online", reason)
        for came in self.on_online:
            came(node)


class _Ahead:
    """The changes that churn makes, in order of time, worked out a stretch at once.

    Memory holds one stretch, not the history: a stretch ends where half the nodes have changed once more. The first ones are
    shorter, so that a world is soon there.
    """

    def __init__(self, churn: Churn, started: np.ndarray, streams: Streams) -> None:
        import numpy as np

        self._churn, self._started, self._streams = churn, started, streams
        n = len(started)
        self._k = np.zeros(n, dtype=np.int64)  # which period each node is in at the end of the stretch
        self._ends_s = np.zeros(n)  # and when that ends
        self._enter(0, np.ones(n, dtype=bool))
        self._times: list[float] = []
        self._nodes: list[int] = []
        self._at = 0
        self._short = 5

    def next(self) -> tuple[float, int] | None:
        """When the next change is and which node's; None if there is none any more."""
        if self._at == len(self._times) and not self._stretch():
            return None
        self._at += 1
        return self._times[self._at - 1], self._nodes[self._at - 1]

    def _enter(self, k: int, who: np.ndarray) -> None:
        """``who`` begin their ``k``-th period at the end of the one before."""
        import numpy as np

        began = np.where(who, self._ends_s, 0.0)
        lengths = self._churn.periods(k, self._started ^ bool(k % 2), began, self._streams)[who]
        if not (lengths >= 0).all():
            raise ScenarioError(f"churn: {self._churn!r} has a period of {lengths.min()} s: a period is 0 s or longer")
        self._k[who] = k
        self._ends_s[who] += lengths

    def _stretch(self) -> bool:
        import numpy as np

        ends = self._ends_s[np.isfinite(self._ends_s)]
        if not len(ends):
            return False
        place = len(ends) >> self._short
        self._short = max(1, self._short - 1)
        until = np.partition(ends, place)[place]
        times, nodes = [], []
        due = self._ends_s <= until
        while due.any():
            # Those furthest behind first: every period's draws are then made once.
            k = int(self._k[due].min())
            who = due & (self._k == k)
            times.append(self._ends_s[who])
            nodes.append(np.flatnonzero(who))
            self._enter(k + 1, who)
            due = self._ends_s <= until
        t_s, node = np.concatenate(times), np.concatenate(nodes)
        order = np.argsort(t_s, kind="stable")
        self._times, self._nodes, self._at = t_s[order].tolist(), node[order].tolist(), 0
        return True
