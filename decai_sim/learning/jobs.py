"""Jobs: local trainings that have a result once somebody has looked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from decai_sim.errors import MemoryLimitError
from decai_sim.learning.allocator import keep_freed
from decai_sim.learning.cohort import Cohort, Together, train_together
from decai_sim.learning.paths import Path, usual
from decai_sim.learning.store import Row, Store
from decai_sim.learning.training import Memory, Plan
from decai_sim.learning.values import Known, Made, Mix, Value, make, mix, row_of, waves

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.journal import Journal
    from decai_sim.learning.problem import Problem

Compute = Callable[[Iterable[Cohort]], Iterator[Together]]
"""Computes cohorts, giving what comes of each in their order."""


@dataclass(eq=False)
class Job(Value):
    """One node's local training, to be computed when somebody looks.

    Attributes:
        node: who trains.
        server_round: which round; decides the order of the samples.
        start: the model it starts from, which may itself have to be computed first.
        plan: how it trains.
        before: the node's training before, if it goes on from there.
        control: the server's control variate, for SCAFFOLD; None: zero.
        loss: its mean training loss, once computed.
        change: by how much its control variate has changed, once computed, for SCAFFOLD.
        work_flops: how much work it was, where that had to be measured; None: it follows from the plan.
        memory: what the node keeps, once computed, by the names of :class:`~decai_sim.learning.training.Memory`.
    """

    node: int
    server_round: int
    start: Row | Value
    plan: Plan
    before: Job | None = None
    control: Row | None = None
    loss: float = 0.0
    change: Row | None = None
    work_flops: float | None = None
    memory: dict[str, Row] = field(default_factory=dict)

    def comes_of(self) -> Iterator[Value]:
        """The model it starts from, and the training before."""
        if isinstance(self.start, Value):
            yield self.start
        if self.before is not None:
            yield self.before


def here(problem: Problem, path: Path, checkpoint: Callable[[], object]) -> Compute:
    """Computes in this process."""

    def compute(cohorts: Iterable[Cohort]) -> Iterator[Together]:
        for one in cohorts:
            yield train_together(problem, one.rows, one.who, one.plan, checkpoint, one.memory, one.controls, path)

    return compute


def train(
    problem: Problem,
    store: Store,
    values: Sequence[Value],
    checkpoint: Callable[[], object] = lambda: None,
    path: Path | None = None,
    states: dict[int, Store] | None = None,
    compute: Compute | None = None,
    journal: Journal | None = None,
) -> None:
    """Compute all ``values`` that are not known, and what they come of: jobs in cohorts, mixtures as one product each time.

    Args:
        problem: what is learned.
        store: where results are kept.
        values: what to compute; each is given its ``result``, jobs their ``loss`` too.
        checkpoint: called before every step; may raise to stop.
        path: how; None: as is usual for the device.
        states: stores of what optimisers keep, by their width; missing ones are added. None: they keep it as long as their jobs.
        compute: who computes cohorts; None: this process.
        journal: where results are looked for first, and written; None: nowhere.

    Raises:
        MemoryLimitError: there is no room on the device to train even a single model.
    """
    if problem.device == "cpu":
        keep_freed()
    path = path or usual(problem.device)
    compute = compute or here(problem, path, checkpoint)
    states = {} if states is None else states
    due = waves(values)
    while due:
        wave = due.popleft()  # and let go of: what nobody needs any more makes room
        mix(store, [value for value in wave if isinstance(value, Mix)])
        make(store, [value for value in wave if isinstance(value, Made)])
        batches = list(_batches(problem, [value for value in wave if isinstance(value, Job)], path.cohort))
        if journal is not None:
            batches = [rest for batch in batches if (rest := journal.recall(batch, store, states))]
        for batch, done in _computed(problem, store, batches, compute):
            keys = journal.keys(batch) if journal is not None else []
            _settle(batch, done, store, states)
            if journal is not None:
                journal.keep(keys, batch)


def _computed(problem: Problem, store: Store, batches: list[list[Job]], compute: Compute) -> Iterator[tuple[list[Job], Together]]:
    """What comes of cohorts; those for which the device has no room are trained by halves."""
    import torch

    while batches:
        done = 0
        try:
            for together in compute(_cohort(problem, store, batch) for batch in batches):
                yield batches[done], together
                done += 1
            return
        except torch.OutOfMemoryError as error:
            too_large = batches[done]
            if len(too_large) == 1:
                raise MemoryLimitError(
                    f"training: a model of {problem.layout.d} parameters and a batch of {too_large[0].plan.batch_size} samples "
                    f"do not fit into the memory of {problem.device}; a smaller batch_size or model is needed"
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        batches = [half for batch in batches[done:] for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]) if half]


def _batches(problem: Problem, wave: Sequence[Job], cohort: int) -> Iterator[list[Job]]:
    """Jobs of one program each, as many as fit side by side."""
    programs: dict[Plan, list[Job]] = {}
    for job in wave:
        programs.setdefault(job.plan, []).append(job)
    for group in programs.values():
        # Sorted by length, a cohort's models finish nearly together and little is padded.
        same = sorted(group, key=lambda job: -int(problem.n_samples[job.node]))
        yield from (same[at : at + cohort] for at in range(0, len(same), cohort))


def _cohort(problem: Problem, store: Store, jobs: Sequence[Job]) -> Cohort:
    starts, plan, k = [row_of(job.start) for job in jobs], jobs[0].plan, len(jobs)
    one, who = starts[0].tensor(), [(job.node, job.server_round) for job in jobs]
    if all(start is starts[0] for start in starts):  # as usual under a server: it need not be copied for each
        cohort = Cohort(one.expand(k, -1), who, plan)
    else:
        cohort = Cohort(store.columns(starts, problem.layout), who, plan)
    if plan.scaffold:
        cohort.memory.control = _recalled(jobs, "control", one.new_zeros(k, len(one)))
        if any(job.control is not None for job in jobs):
            cohort.controls = one.new_zeros(k, len(one))
            for number, job in enumerate(jobs):
                if job.control is not None:
                    cohort.controls[number] = job.control.tensor()
    if plan.personal:
        cohort.memory.personal = _recalled(jobs, "personal", store.gather(starts))
    if plan.keep and plan.optimiser.slots:
        cohort.memory.optimiser = _recalled(jobs, "optimiser", one.new_zeros(k, _width(plan, problem.layout.d)))
    return cohort


def _width(plan: Plan, d: int) -> int:
    return len(plan.optimiser.slots) * d + 1


def _recalled(jobs: Sequence[Job], name: str, rows: torch.Tensor) -> torch.Tensor:
    """``rows``, with what those nodes that have trained before kept put into theirs."""
    import torch

    known = [(number, job.before.memory[name]) for number, job in enumerate(jobs) if job.before and name in job.before.memory]
    if known:
        places, kept = zip(*known, strict=True)
        rows[torch.as_tensor(places, device=rows.device)] = kept[0].store.gather(kept)
    return rows


def _settle(jobs: Sequence[Job], done: Together, store: Store, states: dict[int, Store]) -> None:
    """Give jobs what has come of them."""
    kept: Memory = done.memory
    for job, row, loss in zip(jobs, store.put(done.columns), done.losses.tolist(), strict=True):
        job.result, job.loss = row, loss
        if job.plan.personal:
            job.memory["personal"] = row
    if done.change is not None:
        for job, row in zip(jobs, store.put(done.change), strict=True):
            job.change = row
    for name in ("control", "optimiser"):
        rows = getattr(kept, name)
        if rows is not None:
            where = store if name == "control" else states.setdefault(rows.shape[1], Store(rows.shape[1], str(store.device)))
            for job, row in zip(jobs, where.put(rows), strict=True):
                job.memory[name] = row
    for job in jobs:
        job.before = None
        if isinstance(job.start, Value):
            job.start = Known(row_of(job.start))  # and not what that came of
