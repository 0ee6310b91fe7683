"""Stochastic gradient push: learning over links that lead one way only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from decai_sim.learning.values import Mix, Value
from decai_sim.protocols.in_rounds import InRounds, Sent
from decai_sim.protocols.neighbours import Lists, Neighbours

if TYPE_CHECKING:
    from decai_sim.learning.jobs import Job
    from decai_sim.protocols.peers import Peers


LEAST_WEIGHT = 0.1
"""Who has less gives nothing away; ours."""
MOST_STRETCHED = 2.0
"""By how much training moves the ratio further than it moved the model it began with, at most; ours."""


class SGP(InRounds, kind="sgp"):
    """Each node holds a sum of shares of models and the sum of the shares' weights; their ratio is its model.

    In a round a node trains from the ratio z = x / w, moves x by what the training changed, and sends equal shares of x and of
    w to those it has links to, and to itself. All x together, and all w, stay what they are however links lead, so that the
    ratios tend to the mean of all models, not to one that favours those whom many links lead from.

    Source: Assran, Loizou, Ballas & Rabbat, "Stochastic gradient push for distributed deep learning" (ICML 2019), Algorithm 1;
    push-sum after Kempe, Dobra & Gehrke, "Gossip-based computation of aggregate information" (FOCS 2003).
    Assumes: a node waits for those it hears from, no longer than its deadline. What comes later is added when it comes.
    Who has gone is known at once, as connections close (see ``InRounds``).
    Deviations: nodes train for whole epochs between exchanges. A node whose weight has fallen below a tenth, because those it
    hears from have gone, keeps all of it until more has come, and tells the others so. What training changes is divided by the
    weight, yet not stretched to more than twice its length: beyond that nodes with little weight diverge. A share that is
    lost takes its weight with it: the ratios stay averages of models, of fewer; ``running_sums`` mends that.

    Attributes:
        running_sums: send, in place of a share, the sum of all shares so far, from which the other takes what it has had. What is
            lost arrives with the next message over the same link, and ratios tend to the mean of all models where messages are
            lost, too, if links stay; each costs two models of memory. Hadjicostis, Vaidya & Domínguez-García, "Robust distributed
            average consensus via exchange of running sums" (IEEE Transactions on Automatic Control 61(6), 2016), section IV.

    Example:
        >>> SGP(rounds=5).to_config()["rounds"]
        5
    """

    needs_connected: ClassVar[bool] = True
    examples = ({}, {"running_sums": True})

    running_sums: bool = False

    def prepare(self, at: Peers) -> None:
        """Everybody begins with weight 1."""
        at.state.more = _Sums(Neighbours(at.lab), list(at.models), [1.0] * at.n)

    def links(self, at: Peers, number: int) -> tuple[Lists, Lists]:
        """Those of the topology, which may lead one way only."""
        found: tuple[Lists, Lists] = at.state.more.neighbours(number)
        return found

    def half(self, at: Peers, node: int, job: Job) -> Value:
        """X moved by as much as training has moved z."""
        assert isinstance(job.start, Value)
        sums: _Sums = at.state.more
        share = min(1.0, MOST_STRETCHED * sums.w[node])
        return Mix([sums.x[node], job, job.start], [1.0, share, -share])

    def sent(self, at: Peers, node: int, number: int, model: Value, to: list[int]) -> Sent:
        """Equal shares, one of which stays here."""
        sums: _Sums = at.state.more
        if sums.w[node] < LEAST_WEIGHT:
            sums.x[node] = model
            return Sent(number, model, 0.0)
        share = 1 / (1 + len(to))
        sums.x[node], sums.w[node] = Mix([model], [share]), share * sums.w[node]
        return Sent(number, sums.x[node], sums.w[node])

    def announce(self, at: Peers, node: int, to: list[int], sent: Sent) -> None:
        """A share to each, or what each has been given so far."""
        if not self.running_sums:
            super().announce(at, node, to, sent)
            return
        given = at.state.more.given
        for other in to:
            given[node, other] = total = _plus(given.get((node, other)), sent)
            at.send(node, [other], total)

    def combined(self, at: Peers, node: int, own: Value, heard: dict[int, Sent]) -> Value:
        """The sums of shares, and their ratio."""
        sums: _Sums = at.state.more
        self._add(sums, node, heard)
        return Mix([sums.x[node]], [1 / sums.w[node]])

    def late(self, at: Peers, node: int, src: int, sent: Sent) -> None:
        """Add it all the same."""
        self._add(at.state.more, node, {src: sent})

    def came(self, at: Peers, node: int) -> None:
        """What came late before it left counts, too."""
        sums: _Sums = at.state.more
        at.models[node] = Mix([sums.x[node]], [1 / sums.w[node]])
        super().came(at, node)

    def _add(self, sums: _Sums, node: int, heard: dict[int, Sent]) -> None:
        shares = [sent for sent in heard.values() if sent.weight]
        if self.running_sums:
            shares = [share for src, sent in heard.items() for share in sums.new(src, node, sent)]
        if shares:
            sums.x[node] = Mix([sums.x[node], *(share.model for share in shares)], [1.0] * (1 + len(shares)))
            sums.w[node] += sum(share.weight for share in shares)


@dataclass(eq=False)
class _Sums:
    """What nodes hold, and under running sums what has passed each link.

    Attributes:
        neighbours: whom nodes send to, and hear from.
        x: sums of shares, by node.
        w: sums of their weights.
        given: the sum of what the first of two nodes has sent to the second.
        had: what of that has come there.
    """

    neighbours: Neighbours
    x: list[Value]
    w: list[float]
    given: dict[tuple[int, int], Sent] = field(default_factory=dict)
    had: dict[tuple[int, int], Sent] = field(default_factory=dict)

    def new(self, src: int, node: int, sent: Sent) -> list[Sent]:
        """What ``sent``, a sum of all that ``src`` has sent, adds to what ``node`` has had of it: one share, or none."""
        had = self.had.get((src, node))
        if had is not None and had.round >= sent.round:
            return []
        self.had[src, node] = sent
        share = sent if had is None else Sent(sent.round, Mix([sent.model, had.model], [1.0, -1.0]), sent.weight - had.weight)
        return [share] if share.weight else []


def _plus(sum_: Sent | None, share: Sent) -> Sent:
    """A sum of shares, and one more; a share without weight adds nothing."""
    if sum_ is None:
        return share
    if not share.weight:
        return Sent(share.round, sum_.model, sum_.weight)
    return Sent(share.round, Mix([sum_.model, share.model], [1.0, 1.0]), sum_.weight + share.weight)
