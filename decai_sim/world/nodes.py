"""Who is there: online and offline periods as they happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from decai_sim.trace import Trace
from decai_sim.world.clock import Clock

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams
    from decai_sim.world.churn.base import Churn


class Nodes:
    """Online state of ``n`` nodes and of the server (node −1, always online).

    Attributes:
        online: who is online now; index −1 is the server.
        session: how many times each node has gone offline; work begun in one session does not survive it.
        since_s: when each node's present state began.
        ended_s: per node, when each of its past sessions ended, by session number.
        on_offline: called with a node that goes and the time its session began.
        on_online: called with a node that comes.
    """

    def __init__(self, n: int, churn: Churn | None, clock: Clock, streams: Streams, trace: Trace) -> None:
        self._clock, self._churn, self._streams, self._trace, self._n = clock, churn, streams, trace, n
        self._periods: list[np.ndarray] = []
        self.session = [0] * (n + 1)
        self.since_s = [0.0] * (n + 1)
        self.ended_s: list[dict[int, float]] = [{} for _ in range(n + 1)]
        self.online_before_s = [0.0] * n
        self.on_offline: list[Callable[[int, float], object]] = []
        self.on_online: list[Callable[[int], object]] = []
        started = [True] * n if churn is None else churn.start(n, streams).tolist()
        self._started: list[bool] = started
        self.online = [*started, True]
        for node in range(n):
            if started[node]:
                trace.event(0.0, node, "online")
        if churn is not None:
            for node in range(n):
                self._schedule(node, 0)

    def online_s(self) -> list[float]:
        """Seconds each node has been online so far."""
        now = self._clock.now
        return [
            before + (now - self.since_s[node] if self.online[node] else 0.0) for node, before in enumerate(self.online_before_s)
        ]

    def _schedule(self, node: int, k: int) -> None:
        import numpy as np

        assert self._churn is not None
        while len(self._periods) <= k:
            online = np.array(self._started) ^ bool(len(self._periods) % 2)
            self._periods.append(self._churn.periods(len(self._periods), online, self._streams))
        length = float(self._periods[k][node])
        if length < float("inf"):
            self._clock.after(length, self._toggle, node, k)

    def _toggle(self, node: int, k: int) -> None:
        now = self._clock.now
        if self.online[node]:
            self.online[node] = False
            self.ended_s[node][self.session[node]] = now
            self.session[node] += 1
            began = self.since_s[node]
            self.online_before_s[node] += now - began
            self.since_s[node] = now
            self._trace.event(now, node, "offline")
            for left in self.on_offline:
                left(node, began)
        else:
            self.online[node] = True
            self.since_s[node] = now
            self._trace.event(now, node, "online")
            for came in self.on_online:
                came(node)
        self._schedule(node, k + 1)
