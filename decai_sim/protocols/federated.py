"""Federated learning with a central server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.component import whole_share
from decai_sim.errors import ScenarioError
from decai_sim.protocols.base import Lab, Protocol

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, Context, MetricRecord
    from flwr.serverapp import Grid

    from decai_sim.attacks import Attack
    from decai_sim.defenses import Defense, Rule


class Federated(Protocol):
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
        local_epochs: passes over a node's own data.
        batch_size: samples a step.
        lr: learning rate of the nodes' plain SGD.

    Example:
        >>> Federated(rounds=30, fraction=0.1).deadline_s
        600.0
    """

    uses_topology: ClassVar[bool] = False

    rounds: int = Field(default=10, ge=1)
    fraction: float = Field(default=0.1, gt=0, le=1, title="share of nodes asked")
    deadline_s: float = Field(default=600.0, gt=0)
    local_epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=10, ge=1)
    lr: float = Field(default=0.1, gt=0)

    @property
    def total_rounds(self) -> int:
        """The number of rounds."""
        return self.rounds

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Refuse an ``f`` that no round can satisfy."""
        n = self._asked(nodes)
        steps: tuple[Defense, ...] = () if defense is None else (defense, *getattr(defense, "steps", ()))
        for step in steps:
            if step.f is not None and 2 * step.f >= n:
                raise ScenarioError(
                    f"defense.f: {step.f} of {step.kind} is not allowed: at most {n} nodes reply a round, so at most "
                    f"{(n - 1) // 2} may be assumed Byzantine"
                )

    def _asked(self, nodes: int) -> int:
        return max(1, whole_share(self.fraction, nodes))

    def run(self, lab: Lab) -> None:
        """Run the federation."""
        from flwr.serverapp import ServerApp

        from decai_sim.flower import apps, arrays, compat, strategies
        from decai_sim.flower.hosting import Host
        from decai_sim.learning.training import Plan

        problem = lab.problem
        n_train = self._asked(lab.world.n)
        plan = Plan(self.local_epochs, self.batch_size, self.lr)
        host = Host(lab.world, lab.streams, lambda: problem, lab.attack, lab.byzantine, stop=lab.stop, foreign=False)

        def evaluate(server_round: int, model: ArrayRecord) -> MetricRecord | None:
            assert host.grid is not None
            if server_round == 0:
                return None
            lab.model = arrays.to_vector(model)
            record: dict[str, Any] = host.grid.rounds[-1]
            record["accuracy"], record["loss"] = problem.evaluate(lab.model.to(problem.device))
            lab.rounds.append(record)
            with compat.entered(None):  # who watches sees real time
                lab.on_round(record)
            return None

        def on_rejected(server_round: int, nodes: list[int]) -> None:
            for node in sorted(map(apps.node_of, nodes)):
                lab.world.trace.decision(lab.world.clock.now, node, "rejected", f"round {server_round}")

        server_app = ServerApp()

        @server_app.main()
        def main(grid: Grid, context: Context) -> None:
            strategy: strategies.CappedFedAvg
            if lab.defense is None:
                strategy = strategies.CappedFedAvg(n_train)
            else:
                share = lab.attack.fraction if lab.attack is not None else 0.0
                strategy = strategies.RuleStrategy(lab.defense, share, n_train, on_rejected)
            strategy.start(
                grid,
                initial_arrays=apps.initial_record(problem),
                num_rounds=self.rounds,
                timeout=self.deadline_s,
                train_config=apps.plan_record(plan),
                evaluate_fn=evaluate,
            )

        host.run(server_app, apps.TaskClientApp(lab.task, lab.streams.seed))
