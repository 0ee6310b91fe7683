"""Fully asynchronous federated learning."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.protocols.asynchronous import AsynchronousProtocol
from decai_sim.protocols.base import Lab

if TYPE_CHECKING:
    from decai_sim.defenses import Rule
    from decai_sim.flower.strategies.asynchronous import Asynchronous
    from decai_sim.flower.strategies.rule import Aggregator


class FedAsync(AsynchronousProtocol, kind="fedasync"):
    """Every reply moves the server's model a little towards itself, the less the staler it is.

    Source: Xie, Koyejo & Gupta, "Asynchronous federated optimization" (arXiv:1903.03934), Algorithm 1.
    Assumes: a server that all nodes trust and reach directly; the scenario's topology is not used.
    Deviations: as many nodes as ``fraction`` says are always at work, where the paper leaves its scheduler open.

    Attributes:
        rounds: how many new models the server makes, one a reply.
        fraction: share of all nodes at work at any time; fewer if fewer are listed.
        deadline_s: after how long a node that was asked is given up, virtual seconds.
        mixing: α, how far a fresh reply moves the model.
        local_epochs: passes over a node's own data; for this and the rest see :class:`LocalTraining`.

    Example:
        >>> FedAsync(rounds=200, evaluate_every=20).mixing
        0.6
    """

    mixing: float = Field(default=0.6, gt=0, le=1)

    def strategy(self, lab: Lab, draw: random.Random, aggregator: Aggregator | None) -> Asynchronous:
        """Flower strategy ``FedAsync``."""
        from decai_sim.flower.strategies import asynchronous as flower

        staleness = flower.polynomial(self.staleness_exponent)
        concurrency = self._asked(lab.world.n)
        return flower.FedAsync(concurrency, self.mixing, staleness, aggregator, deadline_s=self.deadline_s, draw=draw)

    def rows(self, nodes: int) -> int:
        """One at a time."""
        return 1

    def check_rule(self, nodes: int, defense: Rule) -> None:
        """It must be a filter: rows come one at a time."""
        from decai_sim.defenses import Filter

        self._refuse_rule(defense, 1, nodes)
        if not isinstance(defense, Filter):
            raise ScenarioError(
                f"defense: {defense.to_config()} is not allowed: protocol {self.kind!r} takes in one reply after the other, "
                "which suits filters of single updates (kardam, zeno_plus_plus)"
            )
