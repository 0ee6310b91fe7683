"""Runs a Flower ``ServerApp`` and its ``ClientApp`` in a world."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from decai_sim.attacks.base import UpdateAttack
from decai_sim.errors import ScenarioError
from decai_sim.flower import compat
from decai_sim.flower.adversary import Adversary, linked
from decai_sim.flower.apps import TaskClientApp, check_same
from decai_sim.flower.engine_grid import EngineGrid
from decai_sim.flower.executors import CohortExecutor, Executor, MessageExecutor
from decai_sim.flower.grid import SimGrid
from decai_sim.flower.handoff import AppStrand, Director
from decai_sim.learning.execution import Execution

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp
    import torch

    from decai_sim.attacks.base import Attack
    from decai_sim.flower.engine_model import EngineModel
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.trainer import Trainer
    from decai_sim.seeding import Streams
    from decai_sim.world.world import World


@dataclass
class Host:
    """Everything a pair of apps needs to run in a world.

    Attributes:
        world: where they run.
        streams: the run's streams.
        problem: gives the task laid out for the run's nodes, with poisoned samples where there are any.
        attack: what Byzantine nodes do; None: there are none.
        byzantine: who they are.
        run_config: what the apps' contexts carry.
        work_flops: FLOPs of every instruction to a foreign app; None: counted.
        stop: ends the run when set.
        foreign: whether the apps may draw from the process's global generators. Such runs take turns, and while one is under way
            those generators hold its state; the others leave them alone and go on side by side.
        execution: how our own ``ClientApp``s' training is carried out.
        rule: from the rows of a round to what the server makes of them, for attackers who know it; None: they do not.
        engine: what Flower's own engine adds to the apps' work; None: nothing.
        grid: the grid of the run under way.
        ended: called after a run of our own ``ClientApp`` with who has trained, while what nodes keep is still there.
    """

    world: World
    streams: Streams
    problem: Callable[[], Problem]
    attack: Attack | None = None
    byzantine: frozenset[int] = frozenset()
    run_config: dict[str, Any] = field(default_factory=dict)
    work_flops: float | None = None
    stop: threading.Event | None = None
    foreign: bool = True
    execution: Execution = field(default_factory=Execution)
    rule: Callable[[torch.Tensor], torch.Tensor] | None = None
    engine: EngineModel | None = None
    grid: SimGrid | None = None
    ended: Callable[[Trainer], object] = lambda trainer: None

    def run(self, server_app: ServerApp, client_app: ClientApp) -> None:
        """Run the apps to the end of the ``ServerApp``.

        Raises:
            ScenarioError: the apps or the attack cannot be run this way.
            StalledError: the ``ServerApp`` waits for what cannot come.
            RunStoppedError: ``stop`` was set.
        """
        with ExitStack() as closing:
            self._run(server_app, client_app, closing)

    def _run(self, server_app: ServerApp, client_app: ClientApp, closing: ExitStack) -> None:
        for name, app, old in (("server_app", server_app, "server_fn"), ("client_app", client_app, "client_fn")):
            if not compat.is_message_api(app):
                raise ScenarioError(
                    f"{name}: an app without message functions ({old} style, deprecated by Flower) is not allowed; "
                    f"write it with @app.{'main' if name == 'server_app' else 'train'}()"
                )
        director = Director(self.world.clock, self.stop)

        def main() -> None:
            own = None if self.foreign else random.Random(self.streams.integer("server_app"))
            session = compat.Session(1, lambda: self.world.clock.now, strand.sleep, own)
            context = Context(1, compat.SUPERLINK_NODE_ID, {}, RecordDict(), dict(self.run_config))
            with compat.entered(session):
                server_app(grid, context)

        strand = AppStrand("ServerApp", director, main)
        executor: Executor = MessageExecutor(client_app, self.world.n, self.streams, self.run_config, self.work_flops)
        trainer = None
        if isinstance(client_app, TaskClientApp):
            problem = self.problem()
            check_same(client_app, problem.task, self.streams.seed)
            trainer = closing.enter_context(self.execution.trainer(problem, strand.checkpoint))
            executor = CohortExecutor(trainer, executor)
        elif self.attack is not None and self.attack.on_data is not None:
            raise ScenarioError(
                f"attack.kind: {self.attack.on_data.kind!r} is not allowed: it changes training data, and this ClientApp loads "
                "its own"
            )
        adversary = None
        if isinstance(self.attack, UpdateAttack) and self.byzantine:
            near = linked(lambda: [row.tolist() for row in _split(self.world.graph)])
            adversary = Adversary(self.attack, self.byzantine, self.streams, near, self.rule)
        if self.engine is None:
            grid = SimGrid(self.world, executor, strand, adversary)
        else:
            grid = EngineGrid(self.world, executor, strand, adversary, self.engine)
        self.grid = grid
        world_session = compat.Session(1, lambda: self.world.clock.now)
        with ExitStack() as stack:
            if self.foreign:
                stack.enter_context(compat.turn(director.checkpoint))
            stack.enter_context(compat.substituted(server_app, client_app))
            stack.enter_context(compat.entered(world_session))
            if self.foreign:
                # Clients see generators of their own, so the ones in place are the ServerApp's.
                stack.enter_context(compat.rng_of(self.streams, "server_app").in_place())
            director.run()
        if trainer is not None:
            self.ended(trainer)


def _split(graph: sp.csr_array) -> list[np.ndarray]:
    """Each node's neighbours."""
    import numpy as np

    return np.split(graph.indices, graph.indptr[1:-1])
