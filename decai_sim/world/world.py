"""One simulated internet: clock, nodes, links and what the server sees of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from decai_sim.trace import Trace
from decai_sim.world.clock import Clock
from decai_sim.world.devices import PROFILES, Devices
from decai_sim.world.links import Links
from decai_sim.world.membership import Membership
from decai_sim.world.network import Network
from decai_sim.world.nodes import Nodes

if TYPE_CHECKING:
    from decai_sim.seeding import Streams
    from decai_sim.world.churn.base import Churn

SERVER = -1
"""The server's node number."""


class World:
    """Everything that happens in virtual time, for ``n`` nodes and a server.

    Args:
        n: number of nodes.
        network: what their links are like.
        churn: when they are there; None: always.
        devices: how fast they compute.
        streams: the run's streams.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Exponential, Internet, Mix
        >>> world = World(3, Internet(), Exponential(), Mix(laptop=1), Streams(7))
        >>> world.links.send(-1, 0, 1000, "hello", print, "arrived")
        >>> while world.clock.now < 10 and world.clock.step(): pass
        arrived
    """

    def __init__(self, n: int, network: Network, churn: Churn | None, devices: Devices, streams: Streams) -> None:
        self.n = n
        self.trace = Trace()
        self.clock = Clock()
        self.devices = devices.assign(n, streams)
        profiles = [PROFILES[name] for name in self.devices.tolist()]
        self.flops_per_s = [profile.flops_per_s for profile in profiles]
        self.paths = network.paths(
            np.array([profile.upload_bps for profile in profiles]),
            np.array([profile.download_bps for profile in profiles]),
            streams,
        )
        self.nodes = Nodes(n, churn, self.clock, streams, self.trace)
        self.links = Links(self.clock, self.paths, self.nodes, self.trace)
        # The heartbeat's path is the link's own; -1 is the address of no message, so no jitter is shared with one.
        delay_s = np.array([self.paths.latency_s(node, SERVER, -1) for node in range(n)])
        phase_s = streams.of("heartbeat").uniform(0.0, 30.0, n)
        self.membership = Membership(self.clock, self.nodes, delay_s, phase_s)
        self._busy_until_s = [0.0] * n
        self._running: dict[int, str] = {}
        self.nodes.on_offline.append(self._drop_work)

    def compute(self, node: int, flops: float, detail: str, done: Callable[[], object]) -> None:
        """Keep ``node`` busy with ``flops`` of work, after what it is already doing; ``done()`` is called at the end.

        If the node is offline or goes offline before, the work is lost and ``done`` is never called.
        """
        if not self.nodes.online[node]:
            return
        now = self.clock.now
        start = max(now, self._busy_until_s[node])
        end = start + flops / self.flops_per_s[node]
        self._busy_until_s[node] = end
        self.clock.at(start, self._begin, node, self.nodes.session[node], end, detail, done)

    def _begin(self, node: int, session: int, end_s: float, detail: str, done: Callable[[], object]) -> None:
        if self.nodes.session[node] != session:
            return
        self._running[node] = detail
        self.trace.event(self.clock.now, node, "job_start", detail)
        self.clock.at(end_s, self._end, node, session, detail, done)

    def _end(self, node: int, session: int, detail: str, done: Callable[[], object]) -> None:
        if self.nodes.session[node] != session:
            return
        del self._running[node]
        self.trace.event(self.clock.now, node, "job_end", detail)
        done()

    def _drop_work(self, node: int, began_s: float) -> None:
        self._busy_until_s[node] = 0.0
        if node in self._running:
            self.trace.event(self.clock.now, node, "job_lost", self._running.pop(node))
