"""Federated learning with a central server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.learning.optimisers import SGD
from decai_sim.protocols.base import Lab
from decai_sim.protocols.served import Served

if TYPE_CHECKING:
    from flwr.app import ArrayRecord
    from flwr.serverapp import Grid

    from decai_sim.attacks import Attack
    from decai_sim.defenses import Rule
    from decai_sim.flower import CappedFedAvg
    from decai_sim.learning.training import Plan


class Federated(Served):
    """Each round the server sends its model to some nodes, they train it on their own data, it averages what comes back.

    The server is a real Flower ``ServerApp``, the nodes run a real Flower ``ClientApp``, in virtual time. Without a defense the
    strategy is Flower's ``FedAvg`` (weighted by sample counts); with one, it aggregates with that rule.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data" (AISTATS 2017),
    Algorithm 1 (``FederatedAveraging``).
    Assumes: a server that all nodes trust and reach directly; the scenario's topology is not used.
    Deviations: a round ends at its deadline with what has arrived; nodes are drawn from those the server believes online.

    Attributes:
        rounds: rounds of training.
        fraction: share of all nodes asked each round; fewer if fewer are listed.
        deadline_s: longest a round waits for replies, virtual seconds.
        over_select: how many times as many nodes are asked; the round ends when as many as ``fraction`` says have replied
            (Bonawitz et al., "Towards federated learning at scale", MLSys 2019, section 2.2: 1.3).
        scaffold: whether control variates correct the nodes' steps (SCAFFOLD; Karimireddy et al., ICML 2020, Algorithm 1).
        local_epochs: passes over a node's own data; for this and the rest see :class:`LocalTraining`.

    Example:
        >>> Federated(rounds=30, fraction=0.1).deadline_s
        600.0
    """

    over_select: float = Field(default=1.0, ge=1, le=10)
    scaffold: bool = False

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Refuse an ``f`` that no round can satisfy, and control variates where they have no meaning."""
        if self.scaffold and defense is not None:
            raise ScenarioError("protocol.scaffold: true is not allowed with a defense: its server averages")
        if self.scaffold and not (isinstance(self.optimiser, SGD) and self.optimiser.momentum == 0):
            raise ScenarioError("protocol.scaffold: true is not allowed with this optimiser: its steps are those of plain SGD")
        if defense is not None:
            self._refuse_rule(defense, self._asked(nodes), nodes)
        super().check(nodes, attack, defense)

    def run(self, lab: Lab) -> None:
        """Run the federation."""
        plan = self._how()

        def main(grid: Grid, initial: ArrayRecord) -> None:
            def on_model(server_round: int, model: ArrayRecord) -> None:
                self._record(lab, grid.rounds[-1], model)  # type: ignore[attr-defined]

            how = {}
            if lab.defense is not None:
                how = self._aggregation(lab, lab.defense, plan, grid.compute)  # type: ignore[attr-defined]
            strategy = self.strategy(lab.world.n, lab.defense, lab.assumed_byzantine, **how)
            self.federate(grid, initial, strategy, on_model)

        self._serve(lab, plan, main)

    def strategy(self, nodes: int, defense: Rule | None, byzantine_fraction: float = 0.0, **how: Any) -> CappedFedAvg:
        """The server's Flower strategy, wherever it runs.

        Args:
            nodes: how many there are in all.
            defense: how rows become one; None: the protocol's own way.
            byzantine_fraction: share of attackers that a rule is told of.
            how: what else a rule's strategy is given; see :class:`~decai_sim.flower.RuleStrategy`.
        """
        from decai_sim.flower import strategies

        n_train = self._asked(nodes)
        if defense is not None:
            return strategies.RuleStrategy(defense, byzantine_fraction, n_train, over_select=self.over_select, **how)
        if self.scaffold:
            return strategies.Scaffold(n_train, nodes, over_select=self.over_select)
        return strategies.CappedFedAvg(n_train, self.over_select)

    def federate(
        self, grid: Grid, initial: ArrayRecord, strategy: CappedFedAvg, on_model: Callable[[int, ArrayRecord], object]
    ) -> ArrayRecord:
        """Be the server, on whatever grid, to the last round.

        Args:
            grid: where the nodes are.
            initial: the model that they begin with.
            strategy: what :meth:`strategy` gives.
            on_model: called after each round with its number and its model.

        Returns:
            The last model.
        """
        from decai_sim.flower import apps

        def evaluate(server_round: int, model: ArrayRecord) -> None:
            if server_round:
                on_model(server_round, model)

        result = strategy.start(
            grid,
            initial_arrays=initial,
            num_rounds=self.rounds,
            timeout=self.deadline_s,
            train_config=apps.plan_record(self._how()),
            evaluate_fn=evaluate,
        )
        return result.arrays

    def _how(self) -> Plan:
        return self.plan(scaffold=self.scaffold)
