"""Where many independent jobs are done: here, in processes of this machine, or with Ray on one or many machines."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from decai_sim.errors import ScenarioError
from decai_sim.processes import start_ray

J = TypeVar("J")
R = TypeVar("R")

_DIED = "the process that ran it ended before its time, perhaps for want of memory"


@runtime_checkable
class Executor(Protocol):
    """What does jobs; anybody's own class with these will do.

    Attributes:
        here: whether jobs are done one after the other in this process, where they may show their own progress.
    """

    here: ClassVar[bool]

    def each(self, work: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[int, R | Exception]]:
        """Do all jobs, begun in the order given.

        Args:
            work: what to do with a job. ``cloudpickle`` must be able to send it and the jobs to others.
            jobs: what it is given, one at a time.

        Yields:
            The number of a job and what ``work`` returned, as soon as it is done; an exception instead, if ``work`` raised it or
            who did it died.
        """
        ...


@dataclass(frozen=True)
class Serial:
    """One job after the other, in this process.

    Example:
        >>> list(Serial().each(abs, [-1, -2]))
        [(0, 1), (1, 2)]
    """

    here: ClassVar[bool] = True

    def each(self, work: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[int, R | Exception]]:
        """See :meth:`Executor.each`."""
        for index, job in enumerate(jobs):
            yield index, _tried(work, job)


@dataclass(frozen=True)
class Processes:
    """Processes of this machine, a processor each, which joblib keeps for the next call: libraries and data are loaded once.

    A job whose process dies is a failure of that job; the others go on in new processes.

    Attributes:
        workers: how many; None: as many as this process may use processors.

    Raises:
        ScenarioError: fewer than one.

    Example:
        >>> sorted(Processes(2).each(abs, [-1, -2, -3]))
        [(0, 1), (1, 2), (2, 3)]
    """

    here: ClassVar[bool] = False

    workers: int | None = None

    def __post_init__(self) -> None:
        _at_least_one(self.workers)

    def each(self, work: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[int, R | Exception]]:
        """See :meth:`Executor.each`."""
        workers = self.workers or _processors()
        left = list(range(len(jobs)))
        while left:
            begun: list[int] = []
            try:
                for index, outcome in _pooled(work, jobs, tuple(left), workers, begun):
                    left.remove(index)
                    yield index, outcome
            except Exception as error:  # a process died, or something cannot be sent to one: joblib gives all of them up
                lost = [index for index in begun if index in left]
                if not lost:
                    raise
                left = [index for index in left if index not in lost]
                if len(lost) == 1:
                    yield lost[0], RuntimeError(_DIED) if isinstance(error, BrokenExecutor) else error
                    continue
                for index in lost:  # whose fault it was shows when each is alone
                    for _, outcome in Processes(1).each(work, [jobs[index]]):
                        yield index, outcome


def _pooled(
    work: Callable[[J], R], jobs: Sequence[J], which: Sequence[int], workers: int, begun: list[int]
) -> Iterator[tuple[int, R | Exception]]:
    import joblib

    def calls() -> Iterator[Any]:
        for index in which:
            begun.append(index)
            yield joblib.delayed(_in_process)(work, index, jobs[index], os.getpid())

    # Two at least, for joblib does what is for one in this very process, which must outlive its jobs; the second stays idle.
    with joblib.parallel_config("loky", n_jobs=max(workers, 2), inner_max_num_threads=1):
        yield from joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=workers, max_nbytes=None)(calls())


_watched = False


def _in_process(work: Callable[[J], R], index: int, job: J, parent: int) -> tuple[int, R | Exception]:
    import signal
    import threading

    import torch

    global _watched
    if not _watched and os.getppid() == parent:  # joblib would wait minutes for one that was killed
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        _watched = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to all; who waits for us ends us
    torch.set_num_threads(1)
    return index, _tried(work, job)


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which can no longer say so."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@dataclass(frozen=True)
class OnRay:
    """Ray: tasks of one processor each, on this machine or, after ``ray start``, on many.

    Other machines need the same version of the package and the same data as this one. Ray is used as it runs, and started, and
    stopped again, where it does not.

    Attributes:
        workers: how many jobs are under way at most; None: as many as there are processors.
        address: of a cluster, as for ``ray.init``, such as ``auto`` or ``ray://10.0.0.1:10001``; None: this machine.

    Raises:
        ScenarioError: fewer than one worker; or, when jobs are to be done, there is no cluster at the address.

    Example:
        >>> OnRay(workers=8, address="auto")
        OnRay(workers=8, address='auto')
    """

    here: ClassVar[bool] = False

    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        _at_least_one(self.workers)

    def each(self, work: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[int, R | Exception]]:
        """See :meth:`Executor.each`."""
        import ray

        started = self._start()
        at_once = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]

        @ray.remote(num_cpus=1, max_retries=0)  # type: ignore[untyped-decorator,unused-ignore]
        def there(job: J) -> R | Exception:
            import torch

            torch.set_num_threads(1)  # the workers share the processors
            return _tried(work, job)

        coming = iter(enumerate(jobs))
        waiting: dict[Any, int] = {}
        try:
            while True:
                while len(waiting) < at_once and (following := next(coming, None)) is not None:
                    index, job = following
                    try:
                        waiting[there.remote(job)] = index
                    except Exception as error:  # it cannot be sent
                        yield index, error
                if not waiting:
                    break
                ready, _ = ray.wait(list(waiting), num_returns=1)
                index = waiting.pop(ready[0])
                try:
                    outcome = ray.get(ready[0])
                except ray.exceptions.RayError as error:  # the worker died, or its answer cannot be sent
                    cause = getattr(error, "cause", None) or error
                    outcome = RuntimeError(f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}")
                yield index, outcome
        finally:
            for pending in waiting:
                ray.cancel(pending, force=True)
            if started:
                ray.shutdown()

    def _start(self) -> bool:
        import ray

        if self.address is None or ray.is_initialized():
            return start_ray(self.workers or _processors())
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # of several kinds, some of them of the library below
            reason = " ".join(str(error).split())[:300]
            raise ScenarioError(
                f"executor.address: {self.address!r} is not allowed: no cluster of Ray answers: {reason}"
            ) from None
        return True


def executor_of(value: Executor | str | int | None) -> Executor:
    """The executor that somebody means.

    Args:
        value: one; a number of processes, 1 for this one; ``serial``, ``processes`` or ``ray`` for all of this machine's
            processors; or None for ``serial``.

    Raises:
        ScenarioError: it is none of these.

    Example:
        >>> executor_of(None), executor_of(4)
        (Serial(), Processes(workers=4))
    """
    if value is None or value == "serial":
        return Serial()
    if isinstance(value, str) and value in ("processes", "ray"):
        return Processes() if value == "processes" else OnRay()
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return Serial() if value == 1 else Processes(value)
    if isinstance(value, Executor) and not isinstance(value, type):
        return value
    raise ScenarioError(
        f"executor: {value!r} is not allowed: a number of processes from 1, 'serial', 'processes', 'ray', or an executor such as "
        "ds.executors.OnRay(address='auto')"
    )


def _processors() -> int:
    """How many this process may use."""
    import joblib

    return int(joblib.cpu_count())


def _at_least_one(workers: int | None) -> None:
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ScenarioError(f"executor.workers: {workers!r} is not allowed: at least 1")


def _tried(work: Callable[[J], R], job: J) -> R | Exception:
    try:
        return work(job)
    except Exception as error:
        return error
