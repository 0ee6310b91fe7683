"""Decentralized parallel SGD: learning without a server."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from decai_sim.errors import ScenarioError
from decai_sim.learning.values import Mix, Value
from decai_sim.protocols.in_rounds import InRounds, Sent
from decai_sim.protocols.neighbours import Lists, Neighbours

if TYPE_CHECKING:
    from decai_sim.protocols.peers import Peers


@dataclass(eq=False)
class _Mixing:
    """What a run's weights come from: links, weights of one's own, and how many each node sent to last."""

    neighbours: Neighbours
    custom: dict[tuple[int, int], float]
    degree: list[int]


class DPSGD(InRounds, kind="dpsgd"):
    """Each round every node trains on its own data, sends its model to its neighbours and averages what it gets with its own.

    Source: Lian et al., "Can decentralized algorithms outperform centralized algorithms?" (NeurIPS 2017), Algorithm 1; Metropolis
    weights after Xiao, Boyd & Kim, "Distributed average consensus with least-mean-square deviation" (2007), section 2.1.
    Assumes: a node waits for its neighbours, no longer than its deadline. All weights together are 1 at every node; where all
    that was sent arrives in time they are symmetric, too, and the mean of all models is kept.
    Who has gone is known at once, as connections close (see ``InRounds``).
    Deviations: nodes train for whole epochs before they average, and average after training. Weights are those of the neighbours
    that are there. What did not arrive counts as the node's own model: then, and over links that lead one way only, the mean of
    all models is not kept.

    Attributes:
        weights: ``metropolis``: 1 / (1 + the larger of both degrees) for a neighbour, the rest for oneself; ``uniform``: the same
            for every neighbour and oneself.
        edge_weights: weights of one's own instead, as (node, neighbour, weight); the rest is for the node itself.

    Example:
        >>> DPSGD(rounds=5).needs_connected
        True
    """

    needs_connected: ClassVar[bool] = True
    open_to_lies: ClassVar[bool] = True
    examples = ({}, {"weights": "uniform"})

    weights: Literal["metropolis", "uniform"] = "metropolis"
    edge_weights: tuple[tuple[int, int, Annotated[float, Field(gt=0, le=1)]], ...] = Field(default=())

    @field_validator("edge_weights")
    @classmethod
    def _no_more_than_all(cls, weights: tuple[tuple[int, int, float], ...]) -> tuple[tuple[int, int, float], ...]:
        if len({(node, other) for node, other, _ in weights}) < len(weights):
            raise ValueError("each link once")
        for node in {node for node, _, _ in weights}:
            total = sum(weight for one, _, weight in weights if one == node)
            if total > 1 + 1e-9:
                raise ValueError(f"weights of node {node} are {total:g} together: at most 1, what is left is for itself")
        return weights

    @property
    def tells_degrees(self) -> bool:
        """With Metropolis weights."""
        return self.weights == "metropolis" and not self.edge_weights

    def prepare(self, at: Peers) -> None:
        """Look at the topology, and at weights of one's own."""
        neighbours = Neighbours(at.lab)
        custom = {(node, other): weight for node, other, weight in self.edge_weights}
        at.state.more = _Mixing(neighbours, custom, [0] * at.n)
        known = {(node, other) for node, others in enumerate(neighbours(1)[1]) for other in others}
        for number, (node, other, weight) in enumerate(self.edge_weights):
            if (node, other) not in known:
                raise ScenarioError(
                    f"protocol.edge_weights.{number}: {(node, other, weight)} is not allowed: "
                    f"no link leads from {other} to {node}"
                )

    def links(self, at: Peers, number: int) -> tuple[Lists, Lists]:
        """Those of the topology."""
        found: tuple[Lists, Lists] = at.state.more.neighbours(number)
        return found

    def sent(self, at: Peers, node: int, number: int, model: Value, to: list[int]) -> Sent:
        """The model, and how many get it."""
        at.state.more.degree[node] = len(to)
        return Sent(number, model, len(to))

    def combined(self, at: Peers, node: int, own: Value, heard: dict[int, Sent]) -> Value:
        """The average, with those weights."""
        if not heard:
            return own
        mixing: _Mixing = at.state.more
        weights, rest = self._weights(mixing, node, mixing.degree[node], heard, [sent.weight for sent in heard.values()])
        if at.ruled is not None:
            models = {other: sent.model for other, sent in heard.items()}
            return at.ruled.combined(node, at.state.round[node], own, models, weights)
        return Mix([own, *(sent.model for sent in heard.values())], [rest, *weights])

    def counted(self, at: Peers, node: int, number: int, others: list[int]) -> dict[int, float]:
        """Those weights, if everybody sends to those of its neighbours that are there now."""
        receivers, _ = self.links(at, number)
        degrees = {one: sum(1 for other in receivers[one] if at.online[other]) for one in (node, *others)}
        told = [degrees[one] if at.attackers is None else at.attackers.degree(one, number, degrees[one]) for one in others]
        weights, _ = self._weights(at.state.more, node, degrees[node], others, told)
        return dict(zip(others, weights, strict=True))

    def _weights(
        self, mixing: _Mixing, node: int, degree: float, others: Collection[int], told: Sequence[float]
    ) -> tuple[list[float], float]:
        """How much ``node``, whose degree is ``degree``, counts each of ``others``, who have told it theirs, and itself."""
        if mixing.custom:
            weights = [mixing.custom.get((node, other), 0.0) for other in others]
        elif self.weights == "uniform":
            weights = [1 / (1 + len(others))] * len(others)
        else:
            weights = [1 / (1 + (degree if degree > theirs else theirs)) for theirs in told]
        total = sum(weights)
        if total > 1:  # more have sent than were there when this node did
            weights = [weight / total for weight in weights]
        return weights, max(0.0, 1 - total)
