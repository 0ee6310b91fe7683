"""One simulated internet: clock, nodes, links and what the server sees of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from decai_sim.trace import Trace
from decai_sim.world.bulk import Bulk, Wiring
from decai_sim.world.clock import Clock
from decai_sim.world.devices import PROFILES, Devices
from decai_sim.world.links import Links
from decai_sim.world.membership import Membership
from decai_sim.world.network import Network
from decai_sim.world.nodes import Nodes

if TYPE_CHECKING:
    import scipy.sparse as sp

    from decai_sim.seeding import Streams
    from decai_sim.world.churn.base import Churn
    from decai_sim.world.topologies import Topology

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
        topology: who is wired to whom; None: nobody.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Exponential, Internet, Mix
        >>> world = World(3, Internet(), Exponential(), Mix(laptop=1), Streams(7))
        >>> world.links.send(-1, 0, 1000, "hello", print, "arrived")
        >>> while world.clock.now < 10 and world.clock.step(): pass
        arrived
    """

    def __init__(
        self,
        n: int,
        network: Network,
        churn: Churn | None,
        devices: Devices,
        streams: Streams,
        topology: Topology | None = None,
    ) -> None:
        self.n = n
        self.streams = streams
        self._topology = topology
        self.rewired = False
        """Whether :attr:`graph` is another than the topology's."""
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
        self.links = Links(self.clock, self.paths, self.nodes, self.trace, streams)
        delay_s = self.paths.bases_s(np.arange(n), np.full(n, SERVER))
        phase_s = streams.of("heartbeat").uniform(0.0, 30.0, n)
        self.membership = Membership(self.clock, self.nodes, delay_s, phase_s)
        self._work: dict[int, deque[_Work]] = {}
        self.nodes.on_offline.append(self._drop_work)

    @cached_property
    def graph(self) -> sp.csr_array:
        """The ``(n, n)`` adjacency matrix of the topology, with what :meth:`rewire` made of it."""
        import scipy.sparse as sp

        if self._topology is None:
            return sp.csr_array((self.n, self.n), dtype=np.int8)  # type: ignore[no-untyped-call]
        return self._topology.csr(self.n, self.streams.integer("topology") % 2**32)

    def rewire(self, change: Callable[[sp.csr_array], sp.csr_array]) -> None:
        """Change who is wired to whom.

        Args:
            change: from the graph to another one on the same nodes.

        Raises:
            RuntimeError: nodes use the graph's links already.
        """
        if "wiring" in vars(self):
            raise RuntimeError("too late to rewire: the links are in use")
        self.graph, self.rewired = change(self.graph), True

    @cached_property
    def bulk(self) -> Bulk:
        """Moves very many small messages."""
        return Bulk(self.clock, self.links, self.nodes, self.trace)

    @cached_property
    def wiring(self) -> Wiring:
        """The topology's links, prepared for :meth:`Bulk.fan_out`."""
        return self.bulk.wire(self.graph)

    def run(self, until_s: float = math.inf) -> None:
        """Let everything happen up to and including virtual time ``until_s``, and stand there; ``inf``: to the end."""
        self.clock.run(until_s)
        if self.clock.now < until_s < math.inf:
            self.clock.env._now = until_s

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
