"""Hierarchical federation: clients, edge servers and a cloud."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.learning.values import Mix, Value
from decai_sim.protocols.peer_to_peer import PeerToPeer
from decai_sim.protocols.turns import Turns

if TYPE_CHECKING:
    from decai_sim.learning.jobs import Job
    from decai_sim.protocols.base import Lab
    from decai_sim.protocols.peers import Peers


@dataclass(frozen=True, eq=False)
class _Sent:
    """A model on its way up, with the samples it stands for, or down."""

    model: Value
    round: int
    samples: float = 0.0
    up: bool = True
    to_cloud: bool = False


@dataclass(eq=False)
class _State:
    """What each node knows.

    Attributes:
        turns: counts trainings.
        home: the edge server that each node is linked to; edge servers and the cloud are their own.
        above: the one that each has now; -1: there is none.
        below: the nodes of each edge server, itself among them.
        round: which of its edge server's rounds each is in.
        got: what an edge server has of its nodes, in this round.
        gone_up: the average an edge server has sent to the cloud, until it gets an answer.
        at_cloud: what the cloud has of edge servers in it.
        at_work: which round's model each is training, or has trained last.
        since_s: when those who wait for the next model had trained.
    """

    turns: Turns
    home: list[int]
    above: list[int]
    below: dict[int, list[int]]
    round: list[int]
    got: dict[int, dict[int, _Sent]]
    gone_up: dict[int, Value]
    at_cloud: dict[int, _Sent]
    at_work: list[int]
    since_s: dict[int, float] = field(default_factory=dict)


class HierarchicalFederation(PeerToPeer, kind="hierarchical"):
    """Clients train; their edge server averages them; every so many times the cloud averages the edge servers.

    Source: Liu, Zhang, Song & Letaief, "Client-edge-cloud hierarchical federated learning" (ICC 2020), Algorithm 1 (HierFAVG):
    its κ1 is ``local_epochs`` or ``local_steps``, its κ2 ``edge_rounds``. Averages weigh models by samples, equation (5).
    Assumes: topology ``hierarchical``: node 0 is the cloud, those next to it are edge servers.
    Deviations: cloud and edge servers have data of their own and train as clients do; the cloud's are an edge server's of its
    own. Who averages waits for those below that are there, and no longer than ``deadline_s``. Clients whose edge server has
    gone turn to the one with the fewest nodes, where all have gone to the cloud, and train by themselves where that has gone,
    too, until somebody is back; they return to their own with what they have. An edge server goes on without a cloud.
    Who comes back trains the model it had until it is handed another; what was trained of a model that has been replaced
    meanwhile is not used.

    Attributes:
        edge_rounds: how many times edge servers average between two averages of the cloud, κ2.
        deadline_s: longest a server waits for those below it, and an edge server for the cloud, virtual seconds.

    Raises:
        ScenarioError: there is a node that is more than two links from node 0.

    Example:
        >>> HierarchicalFederation(edge_rounds=5).edge_rounds
        5
    """

    needs_connected: ClassVar[bool] = True
    example_topology: ClassVar[str] = "hierarchical"
    agrees: ClassVar[bool] = False
    keeps_mean: ClassVar[bool] = False

    edge_rounds: int = Field(default=2, ge=1)
    deadline_s: float = Field(default=600.0, gt=0)

    def begin(self, at: Peers) -> None:
        """Everybody trains."""
        home = _edge_servers(at.lab)
        below: dict[int, list[int]] = {}
        for node, server in enumerate(home):
            below.setdefault(server, []).append(node)
        got: dict[int, dict[int, _Sent]] = {server: {} for server in below}
        at.state = _State(Turns(at), home, [*home], below, [1] * at.n, got, {}, {}, [1] * at.n)
        for server in sorted(below):
            if not at.online[server]:
                self._turn_elsewhere(at, server)
        for node in at.here():
            self._train(at, node)

    def came(self, at: Peers, node: int) -> None:
        """Take up the round that the edge server is in; an edge server begins a new one, with those that turn to it again."""
        state: _State = at.state
        if node in state.below:
            state.round[node] += 1
            self._train(at, node)
            for other in range(at.n):
                if other != node and (state.home[other] == node or state.above[other] < 0):
                    self._turn_to(at, other, node)
            return
        server = state.above[node]
        state.round[node] = state.round[server if server >= 0 else node]
        self._train(at, node)

    def left(self, at: Peers, node: int) -> None:
        """Nobody waits for it any more; what an edge server or the cloud had been told is lost."""
        state: _State = at.state
        self._waited(at, node)
        if node in state.below:
            state.got[node] = {}
            state.gone_up.pop(node, None)
            self._turn_elsewhere(at, node)
        if node == 0:
            state.at_cloud = {}
            for server in sorted(state.gone_up):
                self._down(at, server, state.gone_up[server])
        self._average(at, state.above[node])
        self._average_all(at)

    def _turn_elsewhere(self, at: Peers, gone: int) -> None:
        """The nodes of an edge server that has gone turn to others, edge servers before the cloud."""
        state: _State = at.state
        for node in [node for node in state.below[gone] if node != gone]:
            there = [server for server in state.below if at.online[server]]
            server = min(there, key=lambda one: (one == 0, len(state.below[one]), one), default=-1)
            self._turn_to(at, node, server)

    def _turn_to(self, at: Peers, node: int, server: int) -> None:
        """``node`` has another edge server from now on, whose round it takes part in with what it trains or has trained."""
        state: _State = at.state
        before, state.above[node] = state.above[node], server
        if before >= 0:
            state.below[before].remove(node)
        if server >= 0:
            state.below[server].append(node)
            state.round[node] = state.round[server]
        state.at_work[node] = state.round[node]
        if at.online[node] and at.busy[node] is None:
            if server >= 0:
                self._tell(at, node)
            else:
                self._waited(at, node)
                self._train(at, node)
        if before >= 0:
            self._average(at, before)  # which may have waited for it alone

    def trained(self, at: Peers, node: int, job: Job) -> None:
        """Tell the edge server, which may be oneself."""
        state: _State = at.state
        if state.at_work[node] != state.round[node]:  # it has been handed the next model meanwhile
            self._train(at, node)
            at.state.turns.count(node)
            return
        at.models[node] = job
        if state.above[node] < 0:
            self._train(at, node)
        else:
            state.since_s[node] = at.now
            self._tell(at, node)
        at.state.turns.count(node)

    def _tell(self, at: Peers, node: int) -> None:
        """What ``node`` has trained goes to its edge server."""
        state: _State = at.state
        sent = _Sent(at.models[node], state.round[node], max(1.0, float(at.lab.problem.n_samples[node])))
        server = state.above[node]
        if server == node:
            at.wake(node, self.deadline_s, state.round[node])
            self._take(at, server, node, sent)
        else:
            at.send(node, [server], sent)

    def received(self, at: Peers, node: int, src: int, payload: Any) -> None:
        """A model from below or from above."""
        state: _State = at.state
        if payload.to_cloud:
            self._at_cloud(at, src, payload)
        elif payload.up:
            self._take(at, node, src, payload)
        elif src == state.above[node]:
            state.round[node] = payload.round
            at.models[node] = payload.model
            self._waited(at, node)
            if at.busy[node] is None:
                self._train(at, node)
        elif node in state.gone_up and payload.round == state.round[node]:
            self._down(at, node, payload.model)

    def woke(self, at: Peers, node: int, number: int) -> None:
        """The deadline of a server, for those below it; with a negative number, for the cloud."""
        state: _State = at.state
        if number > 0 and state.round[node] == number and node not in state.gone_up:
            self._average(at, node, late=True)
        elif number < 0 and state.round[node] == -number and node in state.gone_up:
            if node == 0:
                self._average_all(at, late=True)
            else:
                self._down(at, node, state.gone_up[node])

    def _take(self, at: Peers, server: int, src: int, sent: _Sent) -> None:
        state: _State = at.state
        if sent.round == state.round[server]:
            state.got[server][src] = sent
            self._average(at, server)

    def _average(self, at: Peers, server: int, late: bool = False) -> None:
        """What an edge server does when it has heard of all that it can hear of."""
        state: _State = at.state
        if server < 0 or not at.online[server] or server in state.gone_up or not state.got[server]:
            return
        got = state.got[server]
        if not late and any(
            node not in got and at.online[node] and self._at_work(at, node, server) for node in state.below[server]
        ):
            return
        samples = sum(sent.samples for sent in got.values())
        model = _mean(got)
        state.got[server] = {}
        number = state.round[server]
        if number % self.edge_rounds:
            self._down(at, server, model)
            return
        state.gone_up[server] = model
        sent = _Sent(model, number, samples, to_cloud=True)
        if server == 0:
            at.wake(0, self.deadline_s, -number)
            self._at_cloud(at, 0, sent)
        elif at.online[0]:
            at.wake(server, self.deadline_s, -number)
            at.send(server, [0], sent)
        else:
            self._down(at, server, model)

    @staticmethod
    def _at_work(at: Peers, node: int, server: int) -> bool:
        """Whether a node works on its edge server's round, or soon will."""
        state: _State = at.state
        return state.round[node] <= state.round[server]

    def _at_cloud(self, at: Peers, server: int, sent: _Sent) -> None:
        at.state.at_cloud[server] = sent
        self._average_all(at)

    def _average_all(self, at: Peers, late: bool = False) -> None:
        """What the cloud does when it has heard of all edge servers that are there."""
        state: _State = at.state
        got = state.at_cloud
        if not got or not at.online[0]:
            return
        if not late and any(server not in got and at.online[server] for server in state.below):
            return
        model = _mean(got)
        state.at_cloud = {}
        for server, sent in sorted(got.items()):
            if server != 0 and at.online[server]:
                at.send(0, [server], _Sent(model, sent.round, up=False))
        if 0 in state.gone_up:
            self._down(at, 0, model)

    def _down(self, at: Peers, server: int, model: Value) -> None:
        """An edge server hands its nodes the model of the next round."""
        state: _State = at.state
        state.gone_up.pop(server, None)
        state.got[server] = {}
        state.round[server] += 1
        self._waited(at, server)
        at.models[server] = model
        others = [node for node in state.below[server] if node != server and at.online[node]]
        at.send(server, others, _Sent(model, state.round[server], up=False))
        if at.online[server] and at.busy[server] is None:
            self._train(at, server)

    @staticmethod
    def _train(at: Peers, node: int) -> None:
        at.state.at_work[node] = at.state.round[node]
        at.train(node, at.models[node])

    @staticmethod
    def _waited(at: Peers, node: int) -> None:
        """A node goes on, after it had trained."""
        state: _State = at.state
        at.waited_s[node] += at.now - state.since_s.pop(node, at.now)


def _mean(got: dict[int, _Sent]) -> Mix:
    total = sum(sent.samples for sent in got.values())
    sent = [got[sender] for sender in sorted(got)]
    return Mix([one.model for one in sent], [one.samples / total for one in sent])


def _edge_servers(lab: Lab) -> list[int]:
    """Of every node its edge server; of edge servers and the cloud, themselves."""
    graph = lab.graph
    above = [-1] * lab.world.n
    above[0] = 0
    for server in graph[0]:
        above[server] = server
    for node in sorted(graph):
        if above[node] < 0:
            servers = sorted(other for other in graph[node] if above[other] == other and other != 0)
            if not servers:
                raise ScenarioError(
                    f"topology.kind: {lab.topology.kind!r} is not allowed: under protocol 'hierarchical' node "
                    f"{node} is more than two links from node 0, the cloud; 'hierarchical' is a topology of such nodes"
                )
            above[node] = servers[0]
    return above
