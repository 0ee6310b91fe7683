"""Asynchronous federated learning with a central server."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.protocols.base import Lab
from decai_sim.protocols.served import Served

if TYPE_CHECKING:
    from flwr.app import ArrayRecord
    from flwr.serverapp import Grid

    from decai_sim.attacks import Attack
    from decai_sim.defenses import Rule
    from decai_sim.flower.strategies.asynchronous import Asynchronous, Version


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
        """Refuse rules: they need the replies of a round."""
        if defense is not None:
            raise ScenarioError(
                f"defense: {defense.to_config()} is not allowed: protocol {self.kind!r} takes in one reply after the other"
            )

    def strategy(self, lab: Lab, draw: random.Random) -> Asynchronous:
        """The server's strategy."""
        raise NotImplementedError

    def run(self, lab: Lab) -> None:
        """Run the federation; ``n_selected`` are those asked since the model before, ``n_replied`` those in the new one."""
        from decai_sim.flower import apps

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
            strategy = self.strategy(lab, draw)
            strategy.start(grid, initial, self.rounds, apps.plan_record(plan), on_version)

        self._serve(lab, plan, main)
