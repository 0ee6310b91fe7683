"""What protocols without a server whose nodes keep in step with those they hear from have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import Field

from decai_sim.protocols.peer_to_peer import PeerToPeer

if TYPE_CHECKING:
    from decai_sim.learning.jobs import Job
    from decai_sim.learning.values import Value
    from decai_sim.protocols.neighbours import Lists
    from decai_sim.protocols.peers import Peers


@dataclass(frozen=True, eq=False)
class Sent:
    """What a node sends when it has trained.

    Attributes:
        round: in which of its rounds.
        model: what.
        weight: what goes with it.
    """

    round: int
    model: Value
    weight: float = 1.0


@dataclass(eq=False)
class Steps:
    """How far the nodes of a run are.

    Attributes:
        round: which round each node is in.
        joined: the round in which each took up work for the last time.
        sent: the last round in which each has sent.
        trained: what each has trained in its round and has not combined yet; None: it is training, or away.
        since_s: when it had.
        missing: those it still waits for.
        awaited: who waits for each.
        heard: what each has heard, by round and sender.
        ended: what each came to in rounds of which no record has been made, by round and node.
        replied: who finished training in those rounds, and began.
        begun: how many began them.
        latest: what each came to in the last round that there is a record of.
        online: how many nodes that are there are in each round.
    """

    round: list[int]
    joined: list[int]
    sent: list[int]
    trained: list[Value | None]
    since_s: list[float]
    missing: list[set[int]]
    awaited: list[set[int]]
    heard: list[dict[int, dict[int, Sent]]]
    latest: list[Value]
    ended: dict[int, dict[int, Value]] = field(default_factory=dict)
    replied: dict[int, list[int]] = field(default_factory=dict)
    begun: Counter[int] = field(default_factory=Counter)
    online: Counter[int] = field(default_factory=Counter)
    more: Any = None


class InRounds(PeerToPeer, abstract=True):
    """Base of protocols in which a node trains, sends, waits for those it is to hear from in this round, and combines.

    Nobody waits for the slowest of all, only for those it hears from: a node may be as many rounds ahead of another as there are
    links between them. A node knows at once which of the others are there, as their connections close when they go, and does not
    wait for those that are not: the scenario's failure detector, which a server goes by, is not asked. One that comes back goes
    on in the first round in which nobody has sent yet, with the model it has.

    Attributes:
        deadline_s: longest a node waits for others after it has trained, virtual seconds; what comes later is not used.
    """

    deadline_s: float = Field(default=600.0, gt=0)

    # -- what a protocol says -------------------------------------------------------------------------------------------------

    @abstractmethod
    def links(self, at: Peers, number: int) -> tuple[Lists, Lists]:
        """Whom each node sends to in round ``number``, and whom it hears from."""

    def half(self, at: Peers, node: int, job: Job) -> Value:
        """What a node holds when it has trained."""
        return job

    def sent(self, at: Peers, node: int, number: int, model: Value, to: list[int]) -> Sent:
        """What it sends then."""
        return Sent(number, model)

    def announce(self, at: Peers, node: int, to: list[int], sent: Sent) -> None:
        """Send it to ``to``."""
        at.send(node, to, sent)

    @abstractmethod
    def combined(self, at: Peers, node: int, own: Value, heard: dict[int, Sent]) -> Value:
        """What it makes of what it holds and what it has heard."""

    def late(self, at: Peers, node: int, src: int, sent: Sent) -> None:
        """Something has come from ``src`` after its round."""

    def gathered(self, at: Peers, node: int, own: Value, heard: dict[int, Sent]) -> None:
        """A node waits no longer; it goes on when :meth:`finish` is called."""
        self.finish(at, node, self.combined(at, node, own, heard))

    # -- how rounds go --------------------------------------------------------------------------------------------------------

    def begin(self, at: Peers) -> None:
        """All that are there train."""
        n = at.n
        at.state = Steps(
            round=[0] * n,
            joined=[1] * n,
            sent=[0] * n,
            trained=[None] * n,
            since_s=[0.0] * n,
            missing=[set() for _ in range(n)],
            awaited=[set() for _ in range(n)],
            heard=[{} for _ in range(n)],
            latest=list(at.models),
        )
        self.prepare(at)
        for node in at.here():
            self._start(at, node, 1)

    def prepare(self, at: Peers) -> None:
        """Get ready, before the first round."""

    def trained(self, at: Peers, node: int, job: Job) -> None:
        """Send what came of it, and wait for others."""
        steps: Steps = at.state
        number = steps.round[node]
        steps.sent[node] = number
        steps.replied.setdefault(number, []).append(node)
        receivers, senders = self.links(at, number)
        to = [other for other in receivers[node] if at.online[other]]
        model = steps.trained[node] = self.half(at, node, job)
        self.announce(at, node, to, self.sent(at, node, number, model, to))
        steps.since_s[node] = at.now
        heard = steps.heard[node].get(number, {})
        missing = steps.missing[node] = {
            other for other in senders[node] if other not in heard and at.online[other] and steps.joined[other] <= number
        }
        for other in missing:
            steps.awaited[other].add(node)
        if missing:
            at.wake(node, self.deadline_s, number)
        else:
            self._combine(at, node)

    def received(self, at: Peers, node: int, src: int, payload: Sent) -> None:
        """Keep it for its round."""
        steps: Steps = at.state
        number, of = steps.round[node], payload.round
        if of < number:
            self.late(at, node, src, payload)
            return
        heard = steps.heard[node]
        if of in heard:
            heard[of][src] = payload
        else:
            heard[of] = {src: payload}
        if of == number and steps.trained[node] is not None:
            self._not_missing(at, node, src)

    def woke(self, at: Peers, node: int, number: int) -> None:
        """The deadline: go on with what there is."""
        steps: Steps = at.state
        if steps.round[node] == number and steps.trained[node] is not None:
            self._combine(at, node)

    def came(self, at: Peers, node: int) -> None:
        """Go on in the first round in which nobody has sent yet: what was sent before has not come here."""
        steps: Steps = at.state
        number = 1 + max(len(at.lab.rounds), steps.sent[node], *(steps.sent[other] for other in at.here()))
        steps.joined[node] = number
        self._start(at, node, number)
        self._record(at)

    def left(self, at: Peers, node: int) -> None:
        """Nobody waits for it any more."""
        steps: Steps = at.state
        self._count(steps, steps.round[node], -1)
        steps.trained[node] = None
        for other in steps.missing[node]:
            steps.awaited[other].discard(node)
        steps.missing[node] = set()
        for other in sorted(steps.awaited[node]):
            self._not_missing(at, other, node)
        self._record(at)

    def _not_missing(self, at: Peers, node: int, other: int) -> None:
        steps: Steps = at.state
        missing = steps.missing[node]
        if other in missing:
            missing.discard(other)
            steps.awaited[other].discard(node)
            if not missing:
                self._combine(at, node)

    def _start(self, at: Peers, node: int, number: int) -> None:
        steps: Steps = at.state
        steps.round[node] = number
        self._count(steps, number, 1)
        if number <= self.rounds:
            steps.begun[number] += 1
            at.train(node, at.models[node])

    def _combine(self, at: Peers, node: int) -> None:
        steps: Steps = at.state
        number, own = steps.round[node], steps.trained[node]
        assert own is not None
        for other in steps.missing[node]:
            steps.awaited[other].discard(node)
        steps.trained[node], steps.missing[node] = None, set()
        self.gathered(at, node, own, dict(sorted(steps.heard[node].pop(number, {}).items())))

    def finish(self, at: Peers, node: int, model: Value) -> None:
        """End the node's round, with ``model``, and begin the next one."""
        steps: Steps = at.state
        number = steps.round[node]
        at.waited_s[node] += at.now - steps.since_s[node]
        at.models[node] = model
        for past in [past for past in steps.heard[node] if past < number]:
            for src, sent in steps.heard[node].pop(past).items():
                self.late(at, node, src, sent)
        steps.ended.setdefault(number, {})[node] = model
        self._count(steps, number, -1)
        self._start(at, node, number + 1)
        self._record(at)

    @staticmethod
    def _count(steps: Steps, number: int, by: int) -> None:
        steps.online[number] += by
        if not steps.online[number]:
            del steps.online[number]

    def _record(self, at: Peers) -> None:
        """Make a record of each round that nobody who is there is in any more."""
        steps: Steps = at.state
        while len(at.lab.rounds) < self.rounds and steps.online and min(steps.online) > len(at.lab.rounds) + 1:
            number = len(at.lab.rounds) + 1
            for node, model in steps.ended.pop(number, {}).items():
                steps.latest[node] = model
            at.record(steps.latest, steps.begun.pop(number, 0), sorted(steps.replied.pop(number, ())))
