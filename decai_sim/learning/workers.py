"""Cohorts on Ray: several processors, GPUs or machines train at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from decai_sim.errors import DecaiError, ScenarioError
from decai_sim.learning.cohort import Cohort, Together, train_together
from decai_sim.processes import start_ray

if TYPE_CHECKING:
    from decai_sim.learning.paths import Path
    from decai_sim.learning.problem import Problem

_AHEAD = 2
"""Cohorts waiting at each worker, so that none is idle while results travel."""


class RayWorkers:
    """Trains cohorts in other processes, each of which has the data once; to be used as a context.

    Ray is started here unless it runs already; ``ray.init(address=...)`` beforehand lets other machines take part.

    Args:
        problem: what is learned.
        path: how cohorts are computed.
        workers: how many processes; each has a GPU of its own where the problem's tensors live on one.
        checkpoint: called while waiting; may raise to stop.

    Raises:
        ScenarioError: Ray runs already and has fewer processors or GPUs than workers, for which it would wait forever.
    """

    def __init__(self, problem: Problem, path: Path, workers: int, checkpoint: Callable[[], object]) -> None:
        import ray

        self._checkpoint = checkpoint
        self._started = start_ray(workers)
        gpus = 1 if problem.device != "cpu" else 0
        try:
            _room(workers, gpus)
        except ScenarioError:
            if self._started:
                ray.shutdown()
            raise
        shared = ray.put(problem)
        worker: Any = ray.remote(num_cpus=1, num_gpus=gpus)(_Worker)
        self._workers: list[Any] = [worker.remote(shared, path) for _ in range(workers)]

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; and Ray, if it was started here."""
        import ray

        for worker in self._workers:
            ray.kill(worker)
        if self._started:
            ray.shutdown()

    def __call__(self, cohorts: Iterable[Cohort]) -> Iterator[Together]:
        """What comes of cohorts, in their order."""
        import ray

        waiting: list[Any] = []
        todo, number, over = iter(cohorts), 0, False
        while waiting or not over:
            while not over and len(waiting) < _AHEAD * len(self._workers):
                cohort = next(todo, None)
                if cohort is None:
                    over = True
                    break
                waiting.append(self._workers[number % len(self._workers)].train.remote(cohort))
                number += 1
            if not waiting:
                return
            first = waiting.pop(0)
            while not ray.wait([first], timeout=0.2)[0]:
                self._checkpoint()
            try:
                done = ray.get(first)
            except ray.exceptions.RayActorError as error:  # its text has the traces of other processes in it
                said = (str(error).strip() or repr(error)).splitlines()[0]
                raise DecaiError(f"workers: one of {len(self._workers)} processes of Ray has ended: {said}") from error
            yield done


def _room(workers: int, gpus: int) -> None:
    """Raise where Ray has not what so many workers need."""
    import ray

    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for name, each, what in (("CPU", 1, "processors"), ("GPU", gpus, "GPUs")):
        has = int(there.get(name, 0))
        if workers * each > has:
            raise ScenarioError(f"workers: {workers} is not allowed: at most {has}, as many {what} as Ray has")


class _Worker:
    def __init__(self, problem: Problem, path: Path) -> None:
        import torch

        if problem.device == "cpu":
            torch.set_num_threads(1)  # the other processors have workers of their own
        self._problem, self._path = problem, path

    def train(self, one: Cohort) -> Together:
        return train_together(
            self._problem, one.rows, one.who, one.plan, memory=one.memory, controls=one.controls, path=self._path
        )
