"""A failure detector of heartbeats: whoever has not been heard for a while is suspected."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from decai_sim.world.detections import Detections

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.world.world import World


class Heartbeats:
    """All nodes tell the server every so often that they are there; it suspects those it has not heard for ``timeout_s``.

    Heartbeats are real messages, which queue, and get lost. If each is lost with probability p and the timeout spans m of them
    (⌊timeout / interval⌋, while latency varies little), a node that is there is wrongly suspected (1 − p)·p^m times per
    heartbeat: one that arrives, and then m that do not. A suspicion is withdrawn with the next heartbeat.

    Source: Chandra & Toueg, "Unreliable failure detectors for reliable distributed systems", J. ACM 43 (1996); timeouts against
    losses: Chen, Toueg & Aguilera, "On the quality of service of failure detectors", IEEE Trans. Computers 51 (2002).
    Assumes: the server is the only observer.
    Deviations: a fixed timeout from each arrival.

    Args:
        world: where nodes come and go.
        interval_s: seconds between a node's heartbeats.
        timeout_s: how long after its last heartbeat's arrival a node is suspected, seconds; None: 2.5 intervals.
        nbytes: size of a heartbeat, bytes.

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

    def __init__(self, world: World, interval_s: float = 1.0, timeout_s: float | None = None, nbytes: int = 64) -> None:
        timeout_s = 2.5 * interval_s if timeout_s is None else timeout_s
        if not (0 < interval_s < math.inf and 0 < timeout_s < math.inf):
            raise ValueError(f"interval_s, timeout_s: {interval_s!r}, {timeout_s!r} are not allowed: both must be above 0")
        self._world, self._interval_s, self._timeout_s, self._nbytes = world, interval_s, timeout_s, nbytes
        self._found = Detections(world.nodes)
        self._heard_s = [-math.inf] * world.n
        self._watched = [False] * world.n  # a check is on the clock
        self._started = False
        self.sent = 0
        """Heartbeats sent so far."""

    def start(self) -> None:
        """Begin, each node at a random moment of the first interval; it goes on for as long as the world runs."""
        if self._started:
            raise ValueError("start: it has begun already")
        self._started = True
        clock = self._world.clock
        phase_s = self._world.streams.of("heartbeats").uniform(0.0, self._interval_s, self._world.n).tolist()
        for node in range(self._world.n):
            clock.after(phase_s[node], self._beat, node, clock.now + phase_s[node])

    def detections(self) -> pd.DataFrame:
        """Whom the server has suspected when; columns as in :meth:`~decai_sim.world.detections.Detections.frame`."""
        return self._found.frame()

    def _beat(self, node: int, due_s: float) -> None:
        world = self._world
        if world.nodes.online[node]:
            self.sent += 1
            world.links.send(node, -1, self._nbytes, "heartbeat", self._heard, node)
        world.clock.at(due_s + self._interval_s, self._beat, node, due_s + self._interval_s)

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
