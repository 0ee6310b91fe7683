"""One simulated internet: clock, nodes, links and what the server sees of them."""

from __future__ import annotations

from collections import deque
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

_Work = tuple[float, str, Callable[[], object]]

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
        self._work: dict[int, deque[_Work]] = {}
        self.nodes.on_offline.append(self._drop_work)

    def compute(self, node: int, flops: float, detail: str, done: Callable[[], object]) -> None:
        """Keep ``node`` busy with ``flops`` of work, after what it is already doing; ``done()`` is called at the end.

        If the node is offline or goes offline before, the work is lost and ``done`` is never called.
        """
        if not self.nodes.online[node]:
            return
        queue = self._work.setdefault(node, deque())
        queue.append((flops, detail, done))
        if len(queue) == 1:
            self._begin(node)

    def _begin(self, node: int) -> None:
        flops, detail, _ = self._work[node][0]
        self.trace.event(self.clock.now, node, "job_start", detail)
        self.clock.after(flops / self.flops_per_s[node], self._end, node, self.nodes.session[node])

    def _end(self, node: int, session: int) -> None:
        if self.nodes.session[node] != session:
            return
        queue = self._work[node]
        _, detail, done = queue.popleft()
        self.trace.event(self.clock.now, node, "job_end", detail)
        if queue:
            self._begin(node)
        done()

    def _drop_work(self, node: int, began_s: float) -> None:
        queue = self._work.pop(node, None)
        if queue:
            self.trace.event(self.clock.now, node, "job_lost", queue[0][1])
