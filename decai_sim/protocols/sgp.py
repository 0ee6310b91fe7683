"""Stochastic gradient push: learning over links that lead one way only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.learning.values import Mix, Value
from decai_sim.protocols.in_rounds import InRounds, Sent
from decai_sim.protocols.neighbours import Lists, Neighbours

if TYPE_CHECKING:
    from decai_sim.learning.jobs import Job
    from decai_sim.protocols.peers import Peers


LEAST_WEIGHT = 0.1
"""Who has less gives nothing away; ours."""


class SGP(InRounds, kind="sgp"):
    """Each node holds a sum of shares of models and the sum of the shares' weights; their ratio is its model.

    In a round a node trains from the ratio z = x / w, moves x by what the training changed, and sends equal shares of x and of
    w to those it has links to, and to itself. All x together, and all w, stay what they are however links lead, so that the
    ratios tend to the mean of all models, not to one that favours those whom many links lead from.

    Source: Assran, Loizou, Ballas & Rabbat, "Stochastic gradient push for distributed deep learning" (ICML 2019), Algorithm 1;
    push-sum after Kempe, Dobra & Gehrke, "Gossip-based computation of aggregate information" (FOCS 2003).
    Assumes: a node waits for those it hears from, no longer than its deadline. What comes later is added when it comes.
    Deviations: nodes train for whole epochs between exchanges. A node whose weight has fallen below a tenth, because those it
    hears from have gone, keeps all of it until more has come: what training changes is divided by the weight. A share that is
    lost takes its weight with it: the ratios stay
    averages of models, of fewer.

    Example:
        >>> SGP(rounds=5).to_config()["rounds"]
        5
    """

    needs_connected: ClassVar[bool] = True

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
        return Mix([(at.state.more.x[node], 1.0), (job, 1.0), (job.start, -1.0)])

    def sent(self, at: Peers, node: int, number: int, model: Value, to: list[int]) -> Sent:
        """Equal shares, one of which stays here."""
        sums: _Sums = at.state.more
        share = 1 / (1 + len(to))
        if sums.w[node] < LEAST_WEIGHT:
            to.clear()
            share = 1.0
        sums.x[node], sums.w[node] = Mix([(model, share)]), share * sums.w[node]
        return Sent(number, sums.x[node], sums.w[node])

    def combined(self, at: Peers, node: int, own: Value, heard: dict[int, Sent]) -> Value:
        """The sums of shares, and their ratio."""
        sums: _Sums = at.state.more
        self._add(sums, node, list(heard.values()))
        return Mix([(sums.x[node], 1 / sums.w[node])])

    def late(self, at: Peers, node: int, sent: Sent) -> None:
        """Add it all the same."""
        self._add(at.state.more, node, [sent])

    def came(self, at: Peers, node: int) -> None:
        """What came late before it left counts, too."""
        sums: _Sums = at.state.more
        at.models[node] = Mix([(sums.x[node], 1 / sums.w[node])])
        super().came(at, node)

    @staticmethod
    def _add(sums: _Sums, node: int, heard: list[Sent]) -> None:
        if heard:
            sums.x[node] = Mix([(sums.x[node], 1.0), *((sent.model, 1.0) for sent in heard)])
            sums.w[node] += sum(sent.weight for sent in heard)


class _Sums:
    """Sums of shares and of their weights, by node."""

    def __init__(self, neighbours: Neighbours, x: list[Value], w: list[float]) -> None:
        self.neighbours, self.x, self.w = neighbours, x, w
