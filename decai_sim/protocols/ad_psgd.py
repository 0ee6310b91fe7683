"""Asynchronous decentralized parallel SGD: nobody waits for anybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.learning.values import Mix, Value
from decai_sim.protocols.peer_to_peer import PeerToPeer
from decai_sim.protocols.turns import Turns

if TYPE_CHECKING:
    from decai_sim.learning.jobs import Job
    from decai_sim.protocols.peers import Peers


@dataclass(frozen=True, eq=False)
class _Sent:
    """A model, by which exchange of its sender's it goes, and whether it is the answer."""

    model: Value
    number: int
    answers: bool = False


@dataclass(eq=False)
class _State:
    turns: Turns
    number: list[int]
    """How many exchanges each node has begun."""
    offered: list[Value | None]
    """What each has sent and got no answer to; None: it waits for none."""


class ADPSGD(PeerToPeer, kind="ad_psgd"):
    """Every node trains all the time, while it averages its model with that of a neighbour drawn at random, both meeting halfway.

    What a training changes is added to the model as it is when the training ends, which need not be the one it began with.

    Source: Lian, Zhang, Zhang & Liu, "Asynchronous decentralized parallel stochastic gradient descent" (ICML 2018), Algorithm 1.
    Assumes: nothing of others but an answer. The mean of all models changes by training alone, if every answer comes.
    Deviations: averaging is not atomic, and needs no two kinds of nodes to avoid waiting in circles: each side adds half of the
    difference of what was exchanged to what it has by then, which keeps the sum of both. An answer that is lost, or comes after
    ``patience_s``, leaves the sum changed by that. Nodes train for whole epochs between exchanges.

    Attributes:
        patience_s: after how long without an answer a node turns to somebody else, virtual seconds.

    Example:
        >>> ADPSGD(rounds=5).to_config()["rounds"]
        5
    """

    needs_connected: ClassVar[bool] = True
    agrees: ClassVar[bool] = False

    patience_s: float = Field(default=60.0, gt=0)

    def begin(self, at: Peers) -> None:
        """Everybody trains and turns to somebody."""
        at.state = _State(Turns(at), [0] * at.n, [None] * at.n)
        for node in at.here():
            self.came(at, node)

    def came(self, at: Peers, node: int) -> None:
        """Train, and turn to somebody."""
        self._go_on(at, node)

    def left(self, at: Peers, node: int) -> None:
        """It waits for no answer any more."""
        at.state.offered[node] = None

    def trained(self, at: Peers, node: int, job: Job) -> None:
        """Add what the training has changed, and go on."""
        at.models[node] = _moved(at.models[node], job, job.start, 1.0)
        self._go_on(at, node)
        at.state.turns.count(node)

    def received(self, at: Peers, node: int, src: int, payload: Any) -> None:
        """Meet halfway; answer, if that is asked for."""
        state: _State = at.state
        if not payload.answers:
            mine = at.models[node]
            at.send(node, [src], _Sent(mine, payload.number, answers=True))
            at.models[node] = _moved(mine, payload.model, mine, 0.5)
            return
        offered = state.offered[node]
        if offered is not None and payload.number == state.number[node]:
            at.models[node] = _moved(at.models[node], payload.model, offered, 0.5)
            state.offered[node] = None

    def woke(self, at: Peers, node: int, number: int) -> None:
        """No answer came."""
        if at.state.number[node] == number:
            at.state.offered[node] = None

    def _go_on(self, at: Peers, node: int) -> None:
        state: _State = at.state
        at.train(node, at.models[node])
        if state.offered[node] is not None:
            return
        other = state.turns.neighbour(node)
        if other is not None:
            state.number[node] += 1
            state.offered[node] = at.models[node]
            at.send(node, [other], _Sent(at.models[node], state.number[node]))
            at.wake(node, self.patience_s, state.number[node])


def _moved(model: Value, to: Value, since: Any, share: float) -> Value:
    """``model`` moved by ``share`` of the way from ``since`` to ``to``."""
    if model is since:
        return Mix([model, to], [1 - share, share]) if share != 1 else to
    return Mix([model, to, since], [1.0, share, -share])
