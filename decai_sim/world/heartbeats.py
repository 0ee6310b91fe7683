"""A failure detector of heartbeats: whoever has not been heard for a while is suspected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from decai_sim.world.detections import Detections, Detector

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from decai_sim.world.world import World


class Heartbeats(Detector):
    """All nodes tell the server every so often that they are there; it suspects those it has not heard for ``timeout_s``.

    Heartbeats are real messages, which queue, and get lost. If each is lost with probability p and the timeout spans m of them
    (⌊timeout / interval⌋, while latency varies little), a node that is there is wrongly suspected (1 − p)·p^m times per
    heartbeat: one that arrives, and then m that do not. A suspicion is withdrawn with the next heartbeat. Who comes online sends
    one at once.

    Source: Chandra & Toueg, "Unreliable failure detectors for reliable distributed systems", J. ACM 43 (1996); timeouts against
    losses: Chen, Toueg & Aguilera, "On the quality of service of failure detectors", IEEE Trans. Computers 51 (2002).
    Assumes: the server is the only observer.
    Deviations: a fixed timeout from each arrival.

    Args:
        world: where nodes come and go.
        interval_s: seconds between a node's heartbeats.
        timeout_s: how long after its last heartbeat's arrival a node is suspected, seconds; None: 2.5 intervals.
        nbytes: size of a heartbeat, bytes.
        known: whether the server has heard those who are online at time 0 before that.

    Raises:
        ValueError: an interval or timeout is not above 0.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Internet, Mix, World
        >>> from decai_sim.world.faults import Crash
        >>> world = World(5, Internet(), None, Mix(laptop=1), Streams(1))
        >>> Crash(nodes=[3], at_s=10).install(world)
        >>> detector = Heartbeats(world, interval_s=1)
        >>> detector.start(); world.run(20)
        >>> detector.detections()[["node", "wrong"]].values.tolist()
        [[3, False]]
    """

    def __init__(
        self, world: World, interval_s: float = 1.0, timeout_s: float | None = None, nbytes: int = 64, *, known: bool = False
    ) -> None:
        timeout_s = 2.5 * interval_s if timeout_s is None else timeout_s
        if not (0 < interval_s < math.inf and 0 < timeout_s < math.inf):
            raise ValueError(f"interval_s, timeout_s: {interval_s!r}, {timeout_s!r} are not allowed: both must be above 0")
        self._world, self._interval_s, self._timeout_s, self._nbytes = world, interval_s, timeout_s, nbytes
        self._found = Detections(world.nodes)
        self._heard_s = [-math.inf] * world.n
        self._watched = [False] * world.n  # a check is on the clock
        self._started = False
        self._phase_s = world.streams.of("heartbeats").uniform(0.0, interval_s, world.n).tolist()
        if known:
            for node in range(world.n):
                if world.nodes.online[node]:
                    self._heard_s[node] = self._phase_s[node] - interval_s
        self.sent = 0
        """Heartbeats sent so far."""

    def start(self) -> None:
        """Begin, each node at a random moment of the first interval; it goes on for as long as the world runs."""
        if self._started:
            raise ValueError("start: it has begun already")
        self._started = True
        world, now = self._world, self._world.clock.now
        for node in range(world.n):
            if self._heard_s[node] > -math.inf:
                self._watched[node] = True
                world.clock.at(self._heard_s[node] + self._timeout_s, self._look, node)
            if world.nodes.online[node]:
                due_s = now + self._phase_s[node]
                world.clock.at(due_s, self._beat, node, due_s, world.nodes.session[node])
        world.nodes.on_online.append(self._came)

    def detections(self) -> pd.DataFrame:
        """Whom the server has suspected when; columns as in :meth:`~decai_sim.world.detections.Detections.frame`."""
        return self._found.frame()

    def trust(self, node: int) -> float:
        """1 if ``node`` is not suspected, and has been heard, else 0."""
        return float(self.lists(node))

    # -- as the server's list -------------------------------------------------------------------------------------------------

    def listed(self) -> np.ndarray:
        """Nodes that have been heard and are not suspected now, ascending."""
        import numpy as np

        return np.flatnonzero(np.array(self._heard_s) + self._timeout_s > self._world.clock.now)

    def lists(self, node: int) -> bool:
        """Whether ``node`` is among them."""
        return self.lapses_s(node) > self._world.clock.now

    def lapses_s(self, node: int) -> float:
        """When ``node`` is suspected if no other heartbeat of it arrives, virtual seconds."""
        return self._heard_s[node] + self._timeout_s

    def mute(self, nodes: Sequence[int] | np.ndarray) -> None:
        """Nothing: heartbeats are messages, and what stops those stops them."""

    def unmute(self, nodes: Sequence[int] | np.ndarray) -> None:
        """Nothing."""

    # -- beats ----------------------------------------------------------------------------------------------------------------

    def _came(self, node: int) -> None:
        if node >= 0:
            self._beat(node, self._world.clock.now, self._world.nodes.session[node])

    def _beat(self, node: int, due_s: float, session: int) -> None:
        world = self._world
        if world.nodes.online[node] and world.nodes.session[node] == session:
            self.sent += 1
            world.links.send(node, -1, self._nbytes, "heartbeat", self._heard, node)
            world.clock.at(due_s + self._interval_s, self._beat, node, due_s + self._interval_s, session)

    def _heard(self, node: int) -> None:
        self._heard_s[node] = self._world.clock.now
        if not self._watched[node]:
            self._watched[node] = True
            self._world.clock.after(self._timeout_s, self._look, node)

    def _look(self, node: int) -> None:
        due_s = self._heard_s[node] + self._timeout_s
        now = self._world.clock.now
        if now < due_s:  # it has been heard since
            self._world.clock.at(due_s, self._look, node)
            return
        self._watched[node] = False
        self._found.record(now, -1, node, "suspect")
