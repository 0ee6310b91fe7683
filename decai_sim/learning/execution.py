"""How training is carried out: on what, by whom, and whether it can be taken up again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decai_sim.learning.paths import Path

if TYPE_CHECKING:
    from decai_sim.learning.journal import Journal
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.trainer import Trainer


@dataclass(frozen=True)
class Execution:
    """None of this changes what comes out, but for the last bits.

    Attributes:
        path: how cohorts are computed; None: as is usual for the device.
        workers: how many processes of Ray train, beside this one; 0: this one trains.
        journal: where results are looked for first, and written; None: nowhere.
    """

    path: Path | None = None
    workers: int = 0
    journal: Journal | None = None

    @contextmanager
    def trainer(self, problem: Problem, checkpoint: Callable[[], object]) -> Iterator[Trainer]:
        """Who trains the nodes of a problem; its processes end with the context.

        Args:
            problem: what is learned.
            checkpoint: called before every step, or while waiting for other processes; may raise to stop.
        """
        from decai_sim.learning.store import Store
        from decai_sim.learning.trainer import Trainer

        store = Store(problem.layout.d, problem.device)
        with ExitStack() as stack:
            trainer = Trainer(problem, store, checkpoint, self.path, journal=self.journal)
            if self.journal is not None:
                self.journal.concerns(problem, trainer.path)
            if self.workers:
                from decai_sim.learning.workers import RayWorkers

                trainer.compute = stack.enter_context(RayWorkers(problem, trainer.path, self.workers, checkpoint))
            yield trainer
