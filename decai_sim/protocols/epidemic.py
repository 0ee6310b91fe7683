"""Epidemic Learning: models go to others drawn anew each round."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from decai_sim.attacks.base import Attack
from decai_sim.defenses.base import Rule
from decai_sim.errors import ScenarioError
from decai_sim.learning.values import Value, average
from decai_sim.protocols.in_rounds import InRounds, Sent

if TYPE_CHECKING:
    from decai_sim.protocols.neighbours import Lists
    from decai_sim.protocols.peers import Peers
    from decai_sim.seeding import Streams


class EpidemicLearning(InRounds, kind="epidemic"):
    """Each round every node trains, sends its model to ``fanout`` others drawn at random, and averages what it gets with its own.

    Source: De Vos et al., "Epidemic learning: boosting decentralized learning with randomized communication" (NeurIPS 2023),
    Algorithm 1, EL-Local (Algorithm 2). EL-Oracle, where all hear from as many, is ``dpsgd`` with topology ``random_each_round``.
    Assumes: everybody can reach everybody. Draws follow from a number that all nodes know, so that a node knows whom to wait for.
    Who has gone is known at once, as connections close (see ``InRounds``).
    Deviations: nodes train for whole epochs before they average. Who is drawn and away gets nothing, and nobody in his place.

    Attributes:
        fanout: how many others get a node's model.

    Raises:
        ScenarioError: there are not as many others.

    Example:
        >>> EpidemicLearning(fanout=4).uses_topology
        False
    """

    uses_topology: ClassVar[bool] = False
    keeps_mean: ClassVar[bool] = False
    agrees: ClassVar[bool] = False
    examples = ({"fanout": 2}, {"fanout": 5})

    fanout: int = Field(default=8, ge=1)

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Refuse more others than there are, too."""
        super().check(nodes, attack, defense)
        if self.fanout >= nodes:
            raise ScenarioError(f"protocol.fanout: {self.fanout} is not allowed: must be below nodes = {nodes}")

    def prepare(self, at: Peers) -> None:
        """Nothing has been drawn."""
        at.state.more = {}

    def links(self, at: Peers, number: int) -> tuple[Lists, Lists]:
        """Those drawn for the round."""
        known: dict[int, tuple[Lists, Lists]] = at.state.more
        if number not in known:
            for past in [past for past in known if past < number - 64]:
                del known[past]
            known[number] = self._draw(at.lab.streams, at.n, number)
        return known[number]

    def _draw(self, streams: Streams, n: int, number: int) -> tuple[Lists, Lists]:
        import numpy as np

        draw = streams.of("epidemic", number)
        to = np.empty((n, self.fanout), dtype=np.int64)
        for node in range(n):
            drawn = draw.choice(n - 1, self.fanout, replace=False)
            to[node] = drawn + (drawn >= node)
        receivers: Lists = to.tolist()
        senders: Lists = [[] for _ in range(n)]
        for node, others in enumerate(receivers):
            for other in others:
                senders[other].append(node)
        return receivers, senders

    def combined(self, at: Peers, node: int, own: Value, heard: dict[int, Sent]) -> Value:
        """The mean."""
        return average([own, *(sent.model for sent in heard.values())]) if heard else own
