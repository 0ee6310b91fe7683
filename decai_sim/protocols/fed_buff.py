"""Buffered asynchronous federated learning."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.protocols.asynchronous import AsynchronousProtocol
from decai_sim.protocols.base import Lab

if TYPE_CHECKING:
    from decai_sim.defenses import Rule
    from decai_sim.flower.strategies.asynchronous import Asynchronous
    from decai_sim.flower.strategies.rule import Aggregator


class FedBuff(AsynchronousProtocol, kind="fedbuff"):
    """The server collects replies, and takes a step along their mean whenever there are enough; nobody waits for the slowest.

    Source: Nguyen et al., "Federated learning with buffered asynchronous aggregation" (AISTATS 2022), Algorithm 1.
    Assumes: a server that all nodes trust and reach directly; the scenario's topology is not used.
    Deviations: without secure aggregation, which the buffer is made for.

    Attributes:
        rounds: how many new models the server makes.
        fraction: share of all nodes at work at any time; fewer if fewer are listed.
        deadline_s: after how long a node that was asked is given up, virtual seconds.
        buffer: K, how many replies make a new model.
        server_lr: η_g, the length of the server's step.
        local_epochs: passes over a node's own data; for this and the rest see :class:`LocalTraining`.

    Example:
        >>> FedBuff(rounds=50, buffer=5).staleness_exponent
        0.5
    """

    buffer: int = Field(default=10, ge=1)
    server_lr: float = Field(default=1.0, gt=0)

    def strategy(self, lab: Lab, draw: random.Random, aggregator: Aggregator | None) -> Asynchronous:
        """Flower strategy ``FedBuff``."""
        from decai_sim.flower.strategies import asynchronous as flower

        staleness = flower.polynomial(self.staleness_exponent)
        concurrency = self._asked(lab.world.n)
        how = {"deadline_s": self.deadline_s, "draw": draw}
        return flower.FedBuff(concurrency, self.buffer, self.server_lr, staleness, aggregator, **how)

    def rows(self, nodes: int) -> int:
        """The buffer's."""
        return self.buffer

    def check_rule(self, nodes: int, defense: Rule) -> None:
        """The buffer's updates are its rows."""
        self._refuse_rule(defense, self.buffer, nodes)
