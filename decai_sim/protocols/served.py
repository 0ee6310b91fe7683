"""What protocols with a server have in common: it is a real Flower ``ServerApp``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.component import whole_share
from decai_sim.protocols.base import Lab
from decai_sim.protocols.local_training import LocalTraining

if TYPE_CHECKING:
    from flwr.app import ArrayRecord
    from flwr.serverapp import Grid

    from decai_sim.learning.training import Plan


class Served(LocalTraining, abstract=True):
    """Base of protocols with a server, which all nodes reach directly.

    Attributes:
        rounds: how many new models the server makes.
        fraction: share of all nodes at work for a model; fewer if fewer are listed.
        deadline_s: longest the server waits for a node, virtual seconds.
    """

    uses_topology: ClassVar[bool] = False
    relays: ClassVar[bool] = False

    rounds: int = Field(default=10, ge=1)
    fraction: float = Field(default=0.1, gt=0, le=1, title="share of nodes asked")
    deadline_s: float = Field(default=600.0, gt=0)

    @property
    def kinds(self) -> frozenset[str]:
        """The instruction to train, and the reply to it."""
        return frozenset({"train", "train_reply"})

    @property
    def total_rounds(self) -> int:
        """The number of rounds."""
        return self.rounds

    def _asked(self, nodes: int) -> int:
        return max(1, whole_share(self.fraction, nodes))

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
        host = Host(lab.world, lab.streams, lambda: problem, lab.attack, lab.byzantine, foreign=False, **options)

        initial = apps.initial_record(problem)
        host.run(apps.server_app(lambda grid: main(grid, initial)), apps.TaskClientApp(lab.task, lab.streams.seed))

    def _record(self, lab: Lab, record: dict[str, Any], model: ArrayRecord, measured: bool = True) -> None:
        """Keep what a round came to, with how good its model is."""
        from decai_sim.flower import arrays, compat

        lab.model = arrays.to_vector(model)
        if measured:
            record["accuracy"], record["loss"] = lab.problem.evaluate(lab.model.to(lab.problem.device))
        lab.rounds.append(record)
        with compat.entered(None):  # who watches sees real time
            lab.on_round(record)
