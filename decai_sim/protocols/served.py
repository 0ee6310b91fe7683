"""What protocols with a server have in common: it is a real Flower ``ServerApp``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import PeerAttack
from decai_sim.component import whole_share
from decai_sim.errors import ScenarioError
from decai_sim.protocols.base import Lab, assumed_share
from decai_sim.protocols.local_training import LocalTraining
from decai_sim.world.world import SERVER

if TYPE_CHECKING:
    import torch
    from flwr.app import ArrayRecord
    from flwr.serverapp import Grid

    from decai_sim.attacks import Attack
    from decai_sim.defenses.base import Aggregation, Defense, Rule
    from decai_sim.learning.trainer import Trainer
    from decai_sim.learning.training import Plan

_AT_ONCE = 256


class Served(LocalTraining, abstract=True):
    """Base of protocols with a server, which all nodes reach directly.

    Attributes:
        rounds: how many new models the server makes.
        fraction: share of all nodes at work for a model; fewer if fewer are listed.
        deadline_s: longest the server waits for a node, virtual seconds.
        server_samples: how many clean samples the server has of its own, for rules that compare with what it learns from them;
            drawn uniformly from all training samples. Its work on them takes virtual time.
    """

    uses_topology: ClassVar[bool] = False
    relays: ClassVar[bool] = False

    rounds: int = Field(default=10, ge=1)
    fraction: float = Field(default=0.1, gt=0, le=1, title="share of nodes asked")
    deadline_s: float = Field(default=600.0, gt=0)
    server_samples: int = Field(default=100, ge=1)

    @property
    def kinds(self) -> frozenset[str]:
        """The instruction to train, and the reply to it."""
        return frozenset({"train", "train_reply"})

    @property
    def total_rounds(self) -> int:
        """The number of rounds."""
        return self.rounds

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Refuse attacks among peers: under a server nobody would be told anything else, and it would look as if withstood."""
        if isinstance(attack, PeerAttack):
            raise ScenarioError(
                f"attack.kind: {attack.kind!r} is not allowed: it is for nodes that send each other models, and protocol "
                f"{self.kind!r} has a server; choose protocol 'dpsgd' or 'epidemic'"
            )
        if defense is not None:
            self._refuse_shortage(nodes, attack, defense)

    def _asked(self, nodes: int) -> int:
        return max(1, whole_share(self.fraction, nodes))

    def _refuse_rule(self, defense: Rule, rows: int, nodes: int) -> None:
        """Find out whether a server that aggregates at most so many ``rows``, sent by ``nodes``, can use a rule.

        Raises:
            ScenarioError: it is for nodes that have a model of their own, or its ``f`` is one that no round can satisfy.
        """
        from decai_sim.defenses.filter import Filter

        steps: tuple[Defense, ...] = (defense, *getattr(defense, "steps", ()))
        for step in steps:
            if getattr(step, "peer", False):
                raise ScenarioError(
                    f"defense.kind: {step.kind!r} is not allowed: it is for nodes that have a model of their own, and protocol "
                    f"{self.kind!r} has a server"
                )
            if step.f is not None and isinstance(step, Filter):
                # It judges senders, of which there are as many however few of them reply at once.
                if 3 * step.f >= nodes:
                    raise ScenarioError(
                        f"defense.f: {step.f} of {step.kind} is not allowed: of {nodes} nodes at most {(nodes - 1) // 3} may be "
                        "assumed Byzantine, so that 3f < n"
                    )
            elif step.f is not None and 2 * step.f >= rows:
                raise ScenarioError(
                    f"defense.f: {step.f} of {step.kind} is not allowed: at most {rows} nodes reply a round, so at most "
                    f"{(rows - 1) // 2} may be assumed Byzantine"
                )

    def rows(self, nodes: int) -> int:
        """How many updates a rule is given at most, of so many nodes."""
        return self._asked(nodes)

    def _refuse_shortage(self, nodes: int, attack: Attack | None, defense: Rule) -> None:
        """Find out whether the rule has enough rows even if everybody replies: all rounds would be passed over.

        Raises:
            ScenarioError: some step of it has not.
        """
        rows, share = self.rows(nodes), assumed_share(attack, nodes)
        f = whole_share(share, rows)
        short = defense.falls_short(rows, f)
        if short is None:
            return
        named = " >> ".join(step.kind for step in getattr(defense, "steps", (defense,)))
        needs = f"{short.step.kind} needs {short.least} rows then and gets {short.rows}"
        bearable = [less for less in range(f) if defense.falls_short(rows, less) is None]
        if not bearable:
            raise ScenarioError(
                f"defense: {named} is not allowed: at most {rows} updates a round, {needs}; choose less f, or more nodes"
            )
        said = f"fraction: {share:g}" if attack is None or attack.nodes is None else f"nodes: {list(attack.nodes)}"
        raise ScenarioError(
            f"attack.{said} is not allowed with defense {named}: of {rows} updates a round {f} would be assumed Byzantine, "
            f"{needs}; it bears at most {bearable[-1]}"
        )

    def _serve(self, lab: Lab, plan: Plan, main: Callable[[Grid, ArrayRecord], None]) -> None:
        """Run ``main``, given the grid and the initial model, as a ``ServerApp``, and the nodes' ``ClientApp``."""
        from decai_sim.flower import apps
        from decai_sim.flower.hosting import Host
        from decai_sim.learning import paths
        from decai_sim.learning.training import work_flops

        problem = lab.problem
        problem.layout.named(plan.personal)  # refuses what the model does not have
        each = sum(work_flops(problem, node, plan) for node in range(problem.n)) / problem.n
        path = lab.execution.path or paths.chosen(problem, plan, self.rounds * self._asked(problem.n) * each)
        options: dict[str, Any] = {"stop": lab.stop, "execution": replace(lab.execution, path=path), "engine": lab.engine}
        if plan.personal:
            options["ended"] = lambda trainer: self._look_at_nodes(lab, plan, trainer)
        if lab.defense is not None and not lab.defense.needs:
            options["rule"] = self._known_rule(lab.defense, lab.assumed_byzantine)
        host = Host(lab.world, lab.streams, lambda: problem, lab.attack, lab.byzantine, foreign=False, **options)

        initial = apps.initial_record(problem)
        host.run(apps.server_app(lambda grid: main(grid, initial)), apps.TaskClientApp(lab.task, lab.streams.seed))

    @staticmethod
    def _known_rule(defense: Rule, share: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """What attackers who know the rule can find out: what it makes of rows, without what the server alone knows."""
        from decai_sim.defenses.base import Context, TooFewRowsError

        def aggregate(rows: torch.Tensor) -> torch.Tensor:
            try:
                value: torch.Tensor = defense(rows, Context(f=whole_share(share, len(rows))))
            except TooFewRowsError:
                value = rows.new_zeros(rows.shape[1])  # such a round is passed over
            return value

        return aggregate

    def _aggregation(self, lab: Lab, rule: Rule, plan: Plan, compute: Callable[[float], object]) -> dict[str, Any]:
        """What a server that aggregates with a rule is given, and what is noted of its work.

        Args:
            lab: the run.
            rule: how rows become one.
            plan: how nodes train.
            compute: lets the server work for so many FLOPs, in virtual time.
        """
        from decai_sim.flower import apps
        from decai_sim.learning.server_data import ServerData

        own = ServerData(lab.clean, self.server_samples, plan) if {"server", "loss"} & rule.needs else None

        def on_aggregation(
            number: int, who: list[int], result: Aggregation, flops: float, staleness: list[int] | None = None
        ) -> None:
            compute(flops)
            # Asked by a server that does not wait for them, they were in the round of the version that they were sent.
            begun = None if staleness is None else [1 + len(lab.rounds) - age for age in staleness]
            lab.judge(number, SERVER, [apps.node_of(node) for node in who], result, begun=begun)

        return {
            "own_data": own,
            "draws": lambda number: lab.streams.torch("defense", number),
            "on_aggregation": on_aggregation,
            "on_passed_over": lambda: lab.pass_over(1 + len(lab.rounds)),
            "senders": lab.world.n,
        }

    @staticmethod
    def _look_at_nodes(lab: Lab, plan: Plan, trainer: Trainer) -> None:
        """See how well every node does with the last model and the parameters that it keeps."""
        import numpy as np
        import torch

        from decai_sim.learning import evaluation
        from decai_sim.learning.training import with_personal

        if lab.model is None:
            return
        server = lab.model.to(lab.problem.device)
        trainer.complete([job for job in map(trainer.latest, range(lab.problem.n)) if job is not None])
        lab.own_accuracy = np.full(lab.problem.n, np.nan)
        for at in range(0, lab.problem.n, _AT_ONCE):
            nodes = range(at, min(at + _AT_ONCE, lab.problem.n))
            kept = [trainer.personal(trainer.latest(node)) for node in nodes]
            own = torch.stack([server if row is None else row.tensor() for row in kept])
            rows = with_personal(lab.problem, server.expand(len(nodes), -1), own, plan)
            samples = [lab.clean.own_tests[node] for node in nodes]
            lab.own_accuracy[at : nodes.stop], _ = evaluation.each_its_own(lab.clean, rows, samples)

    def _record(self, lab: Lab, record: dict[str, Any], model: ArrayRecord, measured: bool = True) -> None:
        """Keep what a round came to, with how good its model is."""
        from decai_sim.flower import arrays, compat

        lab.model, record["t_s"] = arrays.to_vector(model), lab.world.clock.now  # aggregating has taken time
        if measured:
            record["accuracy"], record["loss"] = lab.problem.evaluate(lab.model.to(lab.problem.device))
            record["attack_success"] = lab.attack_success(lab.model)
        lab.rounds.append(record)
        with compat.entered(None):  # who watches sees real time
            lab.on_round(record)
