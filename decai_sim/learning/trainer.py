"""Deferred training: jobs are taken up when nodes begin them, and computed together when somebody looks at one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakValueDictionary

from decai_sim.learning.jobs import Compute, Job, train
from decai_sim.learning.paths import Path, usual
from decai_sim.learning.store import Row, Store
from decai_sim.learning.values import Value

if TYPE_CHECKING:
    from decai_sim.learning.journal import Journal
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.training import Plan


MOST_WAITING = 50_000
"""So many trainings may wait for somebody to look: each keeps what it comes of, about a kilobyte."""


class Trainer:
    """The training of all nodes of a run.

    Who looks at one result gets a whole cohort computed: where fewer are wanted than fit side by side, others that nodes have
    begun with the same program come along. So an asynchronous server, which reads replies one by one, waits no longer for each
    than a synchronous one.

    Args:
        problem: what is learned.
        store: where models are kept.
        checkpoint: called before every step; may raise to stop.
        path: how cohorts are computed; None: as is usual for the device.
        journal: where results are looked for first, and written; None: nowhere.

    Attributes:
        most_waiting: when more trainings than that wait for somebody to look, they are done unasked: what waits takes memory.
    """

    knows_data: ClassVar[bool] = True
    """Whether nodes train on the samples that the problem deals out to them."""

    def __init__(
        self,
        problem: Problem,
        store: Store,
        checkpoint: Callable[[], object] = lambda: None,
        path: Path | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.problem, self.store, self._checkpoint = problem, store, checkpoint
        self.path = path or usual(problem.device)
        self._journal = journal
        self.most_waiting = MOST_WAITING
        self.compute: Compute | None = None
        """Who computes cohorts; None: this process."""
        self._states: dict[int, Store] = {}
        self._last: dict[int, Job] = {}
        self._finished: dict[int, Job] = {}
        self._begun: WeakValueDictionary[int, Job] = WeakValueDictionary()  # and not computed, in their order

    def begin(self, node: int, server_round: int, start: Row | Value, plan: Plan, control: Row | None = None) -> Job:
        """Take up a node's training; see :class:`~decai_sim.learning.jobs.Job`."""
        job = Job(node, server_round, start, plan, control=control)
        if plan.remembers:
            job.before = self._last.get(node)
            self._last[node] = job
        self._begun[id(job)] = job
        if len(self._begun) > self.most_waiting:
            # Each node's last; what these come of is computed on the way, and let go of.
            self.complete([*{waiting.node: waiting for waiting in self._begun.values()}.values()])
        return job

    def finished(self, job: Job) -> None:
        """The node has come to the end of ``job``, in virtual time, and keeps what came of it."""
        if job.plan.remembers:
            self._finished[job.node] = job

    def left(self, node: int) -> None:
        """The node has gone: what it had begun and not finished is lost, with all that would have been kept of it."""
        if node in self._finished:
            self._last[node] = self._finished[node]
        else:
            self._last.pop(node, None)

    def latest(self, node: int) -> Job | None:
        """The training that the node has begun last, of those whose plans let it keep something."""
        return self._last.get(node)

    def forget(self, job: Job) -> None:
        """Do not compute ``job`` before somebody looks at it, or at one that comes after: its result is lost on the way."""
        self._begun.pop(id(job), None)

    def complete(self, values: Sequence[Value]) -> None:
        """Compute ``values``, what they come of, and perhaps others."""
        wanted = {id(value): value for value in values if value.result is None}
        if not wanted:
            return
        if len(wanted) < self.path.cohort:
            plans = {value.plan for value in wanted.values() if isinstance(value, Job)}
            for job in self._begun.values() if plans else ():
                if len(wanted) == self.path.cohort:
                    break
                if job.plan in plans:
                    wanted[id(job)] = job
        how = self._checkpoint, self.path, self._states, self.compute, self._journal
        train(self.problem, self.store, list(wanted.values()), *how)
        for number in wanted:
            self._begun.pop(number, None)

    def personal(self, last: Job | None) -> Row | None:
        """The model of which a node keeps the personal parameters after ``last``, computed now; None: it has none."""
        if last is None or not last.plan.personal:
            return None
        self.complete([last])
        return last.result
