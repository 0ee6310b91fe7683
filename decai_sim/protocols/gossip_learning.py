"""Gossip learning: models wander about and are trained where they come by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from decai_sim.learning.values import Mix, Value
from decai_sim.protocols.peer_to_peer import PeerToPeer
from decai_sim.protocols.turns import Turns

if TYPE_CHECKING:
    from decai_sim.learning.jobs import Job
    from decai_sim.protocols.peers import Peers


@dataclass(frozen=True, eq=False)
class _Sent:
    """A model, how many trainings have gone into it, and whether an answer is asked for."""

    model: Value
    age: int
    asks: bool = False


@dataclass(eq=False)
class _State:
    turns: Turns
    age: list[int]
    waiting: list[list[_Sent]]
    """What has come while a node was training."""


class GossipLearning(PeerToPeer, kind="gossip_learning"):
    """Every ``period_s`` every node sends its model to a neighbour drawn at random; who gets one merges it and trains.

    Source: Ormándi, Hegedűs & Jelasity, "Gossip learning with linear models on fully distributed data" (Concurrency and
    Computation 25, 2013), Algorithm 1 with CREATEMODELMU; merging by age and push–pull after Hegedűs, Danner & Jelasity,
    "Decentralized learning works: an empirical comparison of gossip learning and federated learning" (Journal of Parallel and
    Distributed Computing 148, 2021), Algorithms 1 and 3.
    Assumes: nothing of others: nobody waits for anybody. Periods begin at a random time, so that nodes do not act at once.
    Deviations: what comes while a node trains is merged when it has finished, all of it, before it trains once more. Who has
    nobody to send to trains on by itself.

    Attributes:
        period_s: how often a node sends, virtual seconds.
        exchange: ``push``: who gets a model keeps silent; ``push_pull``: it answers with its own as it was.

    Example:
        >>> GossipLearning(exchange="push_pull").period_s
        10.0
    """

    needs_connected: ClassVar[bool] = True
    agrees: ClassVar[bool] = False
    keeps_mean: ClassVar[bool] = False
    examples = ({}, {"exchange": "push_pull", "period_s": 2})

    period_s: float = Field(default=10.0, gt=0)
    exchange: Literal["push", "push_pull"] = "push"

    def begin(self, at: Peers) -> None:
        """Everybody trains, and sends for the first time within a period."""
        at.state = _State(Turns(at), [0] * at.n, [[] for _ in range(at.n)])
        for node in at.here():
            self.came(at, node)

    def came(self, at: Peers, node: int) -> None:
        """Train, and send from time to time."""
        at.wake(node, self.period_s * at.state.turns.uniform(node))
        at.train(node, at.models[node])

    def woke(self, at: Peers, node: int, number: int) -> None:
        """Send to somebody who is there."""
        state: _State = at.state
        other = state.turns.neighbour(node)
        if other is not None:
            at.send(node, [other], _Sent(at.models[node], state.age[node], self.exchange == "push_pull"))
        elif at.busy[node] is None:
            at.train(node, at.models[node])
        at.wake(node, self.period_s)

    def received(self, at: Peers, node: int, src: int, payload: Any) -> None:
        """Merge and train; or later, when what is at work is done."""
        state: _State = at.state
        if payload.asks:
            at.send(node, [src], _Sent(at.models[node], state.age[node]))
        state.waiting[node].append(payload)
        if at.busy[node] is None:
            self._merge(at, node)

    def trained(self, at: Peers, node: int, job: Job) -> None:
        """That is the model now; merge what has come meanwhile."""
        state: _State = at.state
        at.models[node] = job
        state.age[node] += 1
        if state.waiting[node]:
            self._merge(at, node)
        state.turns.count(node)

    def left(self, at: Peers, node: int) -> None:
        """What had come and was not merged is lost."""
        at.state.waiting[node] = []

    def _merge(self, at: Peers, node: int) -> None:
        """By age: who has been trained more counts more."""
        state: _State = at.state
        models = [(at.models[node], state.age[node]), *((sent.model, sent.age) for sent in state.waiting[node])]
        state.waiting[node] = []
        total = sum(age for _, age in models)
        weights = [age / total if total else 1 / len(models) for _, age in models]
        at.models[node] = Mix([model for model, _ in models], weights)
        state.age[node] = max(age for _, age in models)
        at.train(node, at.models[node])
