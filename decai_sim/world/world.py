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
from decai_sim.world.membership import Heartbeat, Membership
from decai_sim.world.network import Network
from decai_sim.world.nodes import Nodes

if TYPE_CHECKING:
    import scipy.sparse as sp

    from decai_sim.seeding import Streams
    from decai_sim.world.churn.base import Churn
    from decai_sim.world.detections import Detector
    from decai_sim.world.heartbeats import Heartbeats
    from decai_sim.world.listing import Listing
    from decai_sim.world.overlay.base import Overlay
    from decai_sim.world.topologies import Topology

_Work = tuple[float, str, Callable[[], object]]

SERVER = -1
"""The server's node number."""
_VARIES = 1 << 32
"""Numbers of wirings from here on are those of time-varying topologies."""


_SNAPSHOTS = 100
"""Of so many graphs of a time-varying topology, at most, it is known afterwards what they were."""
_PAST_LINKS = 4_000_000
"""How many links those may have together, in each direction."""


class World:
    """Everything that happens in virtual time, for ``n`` nodes and a server.

    Args:
        n: number of nodes.
        network: what their links are like.
        churn: when they are there; None: always.
        devices: how fast they compute.
        streams: the run's streams.
        topology: who is wired to whom; None: nobody.
        membership: who watches whom; None: the server, by heartbeats every 30 s.

    Attributes:
        membership: the server's list of nodes.

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
        membership: Membership | None = None,
    ) -> None:
        self.n = n
        self.streams = streams
        self._topology = topology
        self.rewired = False
        """Whether :attr:`graph` is another than the topology's."""
        self._changes: list[Callable[[sp.csr_array], sp.csr_array]] = []
        self._make: Callable[[], sp.csr_array] = self._first_contacts
        self._contacts: sp.csr_array | None = None
        self._graph: sp.csr_array | None = None
        self._wiring: Wiring | None = None
        self._renewed = 0  # the number of the latest graph, where they change
        self._in_use = False
        self._past: list[tuple[float, Callable[[], sp.csr_array]]] = []
        self._every = 1  # of so many changes of links one is kept
        self._changed = 0
        self.trace = Trace()
        self.clock = Clock()
        self.devices = devices.assign(n, streams)
        profiles = [PROFILES[name] for name in self.devices.tolist()]
        self.flops_per_s = [profile.flops_per_s for profile in profiles]
        self.server_flops_per_s = PROFILES["server"].flops_per_s
        self.paths = network.paths(
            np.array([profile.upload_bps for profile in profiles]),
            np.array([profile.download_bps for profile in profiles]),
            streams,
        )
        self.nodes = Nodes(n, churn, self.clock, streams, self.trace)
        self.links = Links(self.clock, self.paths, self.nodes, self.trace, streams)
        self._watching = Heartbeat() if membership is None else membership
        self.membership: Listing | Heartbeats = self._watching.listing(self)
        self._detector: Detector | None = None
        self._work: dict[int, deque[_Work]] = {}
        self.nodes.on_offline.append(self._drop_work)

    # -- who is wired to whom -------------------------------------------------------------------------------------------------

    @property
    def contacts(self) -> sp.csr_array:
        """``(n, n)`` adjacency matrix: row ``i`` holds the nodes that node ``i`` sends to along the links there are now.

        It is :attr:`graph` itself, except of a time-varying topology whose rounds have directed links.
        """
        if self._contacts is None:
            contacts = self._make()
            for change in self._changes:
                contacts = change(contacts)
            self._contacts = contacts
        return self._contacts

    @property
    def graph(self) -> sp.csr_array:
        """The ``(n, n)`` adjacency matrix, symmetric, of the links there are now, with what :meth:`rewire` made of them.

        Of a time-varying topology these are the links of the present round, once they are in use; see :meth:`use_links`.
        """
        if self._graph is None:
            self._graph = self.contacts
            if self._varies:
                from decai_sim.world.topologies import wiring

                self._graph = wiring.union(self.contacts)
        return self._graph

    def contacts_in(self, server_round: int) -> sp.csr_array:
        """As :attr:`contacts`, in a round that nodes count for themselves, whatever the time is; links are in use from now on."""
        self._in_use = True
        if self._topology is None:
            return self.contacts
        contacts = self._topology.at(self.n, self._topology_seed, server_round)
        for change in self._changes:
            contacts = change(contacts)
        return contacts

    @property
    def wiring(self) -> Wiring:
        """The links of :attr:`contacts`, prepared for :meth:`Bulk.fan_out`; asking for them begins to use them.

        Where the topology varies it is another object after each change: ask for it anew rather than keep it. What is under way
        along links that have gone still arrives.
        """
        if self._wiring is None:
            self.use_links()
            if self._varies:
                # By number, not by how many have been asked for: then looking at one does not change another's draws.
                self._wiring = Wiring(self.contacts, self.links, _VARIES + self._renewed, lasts=False)
            else:
                self._wiring = self.bulk.wire(self.contacts)
        return self._wiring

    @cached_property
    def overlay(self) -> Overlay | None:
        """What keeps up the links of a time-varying topology; None: they stay as they are."""
        return None if self._topology is None else self._topology.overlay(self, self._topology_seed)

    def use_links(self) -> None:
        """From now on nodes use their links: those of a time-varying topology change as the world runs, others stay.

        It is called by those who send along links, and once is enough. Links that nobody uses are not kept up: that would cost
        events, and of some overlays messages, to no end.
        """
        if self._in_use:
            return
        self._in_use = True
        if self._varies and self.overlay is not None:
            self.bulk.look_ahead(self.paths.least_s())  # anybody may be linked to anybody, in some round
            self._past.append((self.clock.now, self._make))
            self.overlay.start()

    def relink(self, make: Callable[[], sp.csr_array], number: int, size: int = 0) -> None:
        """Put other links in the place of those there are; what :meth:`rewire` was told is done to them anew.

        Args:
            make: gives the ``(n, n)`` adjacency matrix, directed or not; called when somebody looks.
            number: of the change; links of different numbers take their jitter and loss from places of their own.
            size: for how many links ``make`` keeps memory.
        """
        self._make, self._renewed = make, number
        self._contacts = self._graph = self._wiring = None
        if not self._past:
            return
        # The latest is always there, in the place of the one before unless that is one to keep.
        now = self.clock.now
        if self._past[-1][0] == now:
            self._past[-1] = now, make
            return
        if self._changed % self._every:
            self._past.pop()
        self._changed += 1
        self._past.append((now, make))
        if len(self._past) > 2 * max(2, min(_SNAPSHOTS, _PAST_LINKS // max(1, size))):
            self._past = [*self._past[:-1:2], self._past[-1]]
            self._every *= 2

    def past_links(self, most: int = _PAST_LINKS) -> list[tuple[float, sp.csr_array]]:
        """What a time-varying topology's links were in the course of a run, and from when on; thinned out evenly.

        Args:
            most: how many links all graphs may have together, in each direction; the first and the last are given whatever they
                have.

        Returns:
            Times, virtual seconds, ascending, and adjacency matrices with what :meth:`rewire` made of them; none where links have
            not changed.
        """
        past = self._past
        if not past:
            return []
        first = past[0][1]().nnz
        step = max(1, math.ceil(len(past) * first / most), math.ceil(len(past) / _SNAPSHOTS))
        found = []
        for t_s, make in [*past[:-1:step], past[-1]]:
            graph = make()
            for change in self._changes:
                graph = change(graph)
            found.append((t_s, graph))
        return found

    def rewire(self, change: Callable[[sp.csr_array], sp.csr_array]) -> None:
        """Change who is wired to whom.

        Args:
            change: from the graph to another one on the same nodes. Where the topology varies it is called for each graph, which
                may be directed, and does the same to equal ones.

        Raises:
            RuntimeError: nodes use the graph's links already.
        """
        if self._in_use:
            raise RuntimeError("too late to rewire: the links are in use")
        self._contacts, self._graph, self.rewired = change(self.contacts), None, True
        self._changes.append(change)

    @property
    def _varies(self) -> bool:
        return self._topology is not None and self._topology.time_varying

    @property
    def _topology_seed(self) -> int:
        return self.streams.integer("topology") % 2**32

    def _first_contacts(self) -> sp.csr_array:
        import scipy.sparse as sp

        if self._topology is None:
            return sp.csr_array((self.n, self.n), dtype=np.int8)  # type: ignore[no-untyped-call]
        if self._varies:
            return self._topology.at(self.n, self._topology_seed, 0)
        return self._topology.csr(self.n, self._topology_seed)

    @cached_property
    def bulk(self) -> Bulk:
        """Moves very many small messages."""
        return Bulk(self.clock, self.links, self.nodes, self.trace)

    def watch(self) -> Detector:
        """Let those watch who are to find out who is there, from now on; once is enough.

        Returns:
            What they find.
        """
        if self._detector is None:
            self._detector = self._watching.watch(self)
        return self._detector

    # -- what happens ---------------------------------------------------------------------------------------------------------

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
