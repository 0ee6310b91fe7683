"""Asynchronous federated learning with a central server."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.protocols.base import Lab
from decai_sim.protocols.served import Served

if TYPE_CHECKING:
    from flwr.app import ArrayRecord
    from flwr.serverapp import Grid

    from decai_sim.attacks import Attack
    from decai_sim.defenses import Rule
    from decai_sim.flower.strategies.asynchronous import Asynchronous, Version
    from decai_sim.flower.strategies.rule import Aggregator


class AsynchronousProtocol(Served, abstract=True):
    """Base of protocols whose server takes in each reply as it comes; as many nodes as ``fraction`` says are always at work.

    A row of ``rounds`` is a new model of the server.

    Attributes:
        staleness_exponent: a, how much less a reply counts that τ models have overtaken: (1 + τ)^−a; 0: no less.
        evaluate_every: after how many new models one is tested; the others have no accuracy.
    """

    staleness_exponent: float = Field(default=0.5, ge=0)
    evaluate_every: int = Field(default=1, ge=1)

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Refuse rules for nodes that have a model of their own, and those that need more rows than there will be."""
        if defense is not None:
            self.check_rule(nodes, defense)
        super().check(nodes, attack, defense)

    def check_rule(self, nodes: int, defense: Rule) -> None:
        """Find out before a run whether the protocol can use a rule.

        Raises:
            ScenarioError: it cannot.
        """
        raise NotImplementedError

    def strategy(self, lab: Lab, draw: random.Random, aggregator: Aggregator | None) -> Asynchronous:
        """The server's strategy; ``aggregator`` applies the scenario's rule, if it has one."""
        raise NotImplementedError

    def run(self, lab: Lab) -> None:
        """Run the federation; ``n_selected`` are those asked since the model before, ``n_replied`` those in the new one."""
        from decai_sim.flower import apps
        from decai_sim.flower.strategies.rule import Aggregator

        plan, draw = self.plan(), random.Random(lab.streams.integer("asynchronous"))
        links = lab.world.links

        def on_version(version: Version) -> None:
            replied = [apps.node_of(node) for node in version.replied]
            record = {
                "round": version.number,
                "t_s": lab.world.clock.now,
                "accuracy": float("nan"),
                "loss": float("nan"),
                "n_selected": len(version.asked),
                "n_replied": len(replied),
                "replied": replied,
                "bytes_up": sum(links.bytes_up[:-1]),
                "bytes_down": sum(links.bytes_down[:-1]),
            }
            last = version.number == self.rounds
            self._record(lab, record, version.model, last or version.number % self.evaluate_every == 0)

        def main(grid: Grid, initial: ArrayRecord) -> None:
            aggregator = None
            if lab.defense is not None:
                how = self._aggregation(lab, lab.defense, plan, grid.compute)  # type: ignore[attr-defined]
                aggregator = Aggregator(lab.defense, lab.assumed_byzantine, **how)
            strategy = self.strategy(lab, draw, aggregator)
            strategy.start(grid, initial, self.rounds, apps.plan_record(plan), on_version)

        self._serve(lab, plan, main)
