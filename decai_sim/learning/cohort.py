"""Local training of many nodes at once: their models side by side in one tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from decai_sim.learning.optimisers.base import per_model
from decai_sim.learning.paths import Path, usual
from decai_sim.learning.problem import Problem
from decai_sim.learning.store import Row, Store
from decai_sim.learning.training import Memory, Plan, Trained, batches, train_alone, with_personal


@dataclass(eq=False)
class Job:
    """One node's local training, to be computed when somebody looks.

    Attributes:
        node: who trains.
        server_round: which round; decides the order of the samples.
        start: the model it starts from.
        plan: how it trains.
        before: the node's training before, if it goes on from there.
        control: the server's control variate, for SCAFFOLD; None: zero.
        result: the trained model, once computed.
        loss: its mean training loss, once computed.
        change: by how much its control variate has changed, once computed, for SCAFFOLD.
        memory: what the node keeps, once computed, by the names of :class:`~decai_sim.learning.training.Memory`.
    """

    node: int
    server_round: int
    start: Row
    plan: Plan
    before: Job | None = None
    control: Row | None = None
    result: Row | None = None
    loss: float = 0.0
    change: Row | None = None
    memory: dict[str, Row] = field(default_factory=dict)


@dataclass
class Together:
    """What comes of many nodes' training: as :class:`~decai_sim.learning.training.Trained`, with one row a node."""

    rows: torch.Tensor
    losses: torch.Tensor
    memory: Memory


def train(
    problem: Problem,
    store: Store,
    jobs: Sequence[Job],
    checkpoint: Callable[[], object] = lambda: None,
    path: Path | None = None,
    states: dict[int, Store] | None = None,
) -> None:
    """Compute the results of all ``jobs`` that have none, in cohorts.

    Args:
        problem: what is learned.
        store: where results are kept.
        jobs: what to compute; each is given its ``result`` and ``loss``. Those they come after are computed too.
        checkpoint: called before every step; may raise to stop.
        path: how; None: as is usual for the model and the device.
        states: stores of what optimisers keep, by their width; missing ones are added. None: they keep it as long as their jobs.
    """
    path = path or usual(problem.device)
    states = {} if states is None else states
    for wave in _waves(jobs):
        programs: dict[Plan, list[Job]] = {}
        for job in wave:
            programs.setdefault(job.plan, []).append(job)
        for plan, group in programs.items():
            width = len(plan.optimiser.slots) * problem.layout.d + 1
            kept_in = states.setdefault(width, Store(width, problem.device)) if plan.keep and plan.optimiser.slots else None
            # Sorted by length, a cohort's models finish nearly together and little is padded.
            same = sorted(group, key=lambda job: -int(problem.n_samples[job.node]))
            for at in range(0, len(same), path.cohort):
                _train_cohort(problem, store, kept_in, same[at : at + path.cohort], path, checkpoint)


def _waves(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs without a result and all they come after, each after the one it comes after."""
    depth: dict[int, int] = {}
    waves: list[list[Job]] = []
    for job in jobs:
        chain = []
        at: Job | None = job
        while at is not None and at.result is None and id(at) not in depth:
            chain.append(at)
            at = at.before
        first = 0 if at is None or at.result is not None else depth[id(at)] + 1
        for number, one in enumerate(reversed(chain), first):
            depth[id(one)] = number
            if number == len(waves):
                waves.append([])
            waves[number].append(one)
    return waves


def _train_cohort(
    problem: Problem, store: Store, states: Store | None, jobs: Sequence[Job], path: Path, checkpoint: Callable[[], object]
) -> None:
    one = jobs[0].start  # usually all start from the same model, which then need not be copied for each
    same_start = all(job.start is one for job in jobs)
    rows = one.tensor().expand(len(jobs), -1) if same_start else store.gather([job.start for job in jobs])
    who = [(job.node, job.server_round) for job in jobs]
    plan = jobs[0].plan
    memory, controls = Memory(), None
    if plan.remembers:
        d = problem.layout.d
        memory.control = _recalled(jobs, "control", rows.new_zeros(len(jobs), d)) if plan.scaffold else None
        memory.personal = _recalled(jobs, "personal", rows.clone()) if plan.personal else None
        if states is not None:
            memory.optimiser = _recalled(jobs, "optimiser", rows.new_zeros(len(jobs), states.d))
    if plan.scaffold and any(job.control is not None for job in jobs):
        controls = rows.new_zeros(rows.shape)
        for number, job in enumerate(jobs):
            if job.control is not None:
                controls[number] = job.control.tensor()
    done = train_together(problem, rows, who, plan, checkpoint, memory, controls, path)
    results = store.put(done.rows)
    for job, row, loss in zip(jobs, results, done.losses.tolist(), strict=True):
        job.result, job.loss, job.before = row, loss, None
        if plan.personal:
            job.memory["personal"] = row
    if done.memory.control is not None and memory.control is not None:
        for job, row in zip(jobs, store.put(done.memory.control - memory.control), strict=True):
            job.change = row
    for name, kept, where in (("control", done.memory.control, store), ("optimiser", done.memory.optimiser, states)):
        if kept is not None and where is not None:
            for job, row in zip(jobs, where.put(kept), strict=True):
                job.memory[name] = row


def _recalled(jobs: Sequence[Job], name: str, rows: torch.Tensor) -> torch.Tensor:
    """``rows``, with what those nodes that have trained before kept put into theirs."""
    known = [(number, job.before.memory[name]) for number, job in enumerate(jobs) if job.before and name in job.before.memory]
    if known:
        places, kept = zip(*known, strict=True)
        rows[torch.as_tensor(places, device=rows.device)] = kept[0].store.gather(kept)
    return rows


def train_together(
    problem: Problem,
    rows: torch.Tensor,
    who: Sequence[tuple[int, int]],
    plan: Plan,
    checkpoint: Callable[[], object] = lambda: None,
    memory: Memory | None = None,
    controls: torch.Tensor | None = None,
    path: Path | None = None,
) -> Together:
    """Train ``k`` nodes side by side; equal to :func:`~decai_sim.learning.training.train_alone` of each.

    Args:
        problem: what is learned.
        rows: ``(k, d)`` the models they start from; left untouched.
        who: (node, server_round) of each, most steps first.
        plan: how they train.
        checkpoint: called before every step; may raise to stop.
        memory: what each kept of its training before, one row a node; None: nothing.
        controls: ``(k, d)`` the server's control variates; None: zero.
        path: how; None: as is usual for the model and the device.

    Returns:
        ``(k, d)`` trained models, the ``k`` mean losses, and what each keeps.

    Raises:
        ValueError: they do not come with the most steps first.
    """
    path = path or usual(problem.device)
    memory = memory or Memory()
    if path.kind == "alone":
        return _one_by_one(problem, rows, who, plan, checkpoint, memory, controls)
    steps = [batches(problem, node, server_round, plan) for node, server_round in who]
    lengths = [len(own) for own in steps]
    if lengths != sorted(lengths, reverse=True):
        raise ValueError("train_together: nodes must come with the most steps first")
    index, mask = _padded(steps, lengths)
    all_index, all_mask = _to(problem.device, index), _to(problem.device, mask)
    rows = with_personal(problem, rows, memory.personal, plan)
    views = problem.layout.views
    params = {name: view.clone(memory_format=torch.contiguous_format) for name, view in views(rows).items()}
    total = torch.zeros(len(who), device=problem.device)
    descend = _Descent(problem, rows, params, plan, memory, controls, path)
    for s in range(index.shape[1]):
        checkpoint()
        active = sum(length > s for length in lengths)  # a prefix: the others have finished
        x, y = problem.inputs(all_index[:active, s]), problem.labels(all_index[:active, s])
        total[:active] += descend.step(active, x, y, all_mask[:active, s])
    trained = torch.cat([params[name].flatten(1) for name in problem.layout.names], dim=1)
    seen = all_mask.sum((1, 2)).clamp(min=1)
    return Together(trained, total / seen, descend.memory(trained, torch.as_tensor(lengths, device=problem.device)))


class _Descent:
    """Steps of ``k`` models, the first ``active`` of them at a time."""

    def __init__(
        self,
        problem: Problem,
        rows: torch.Tensor,
        params: dict[str, torch.Tensor],
        plan: Plan,
        memory: Memory,
        controls: torch.Tensor | None,
        path: Path,
    ) -> None:
        self._problem, self._rows, self._params, self._plan, self._path = problem, rows, params, plan, path
        k, d, slots = len(rows), problem.layout.d, plan.optimiser.slots
        self._start = problem.layout.views(rows) if plan.prox_mu else {}
        self._mine = self._theirs = None
        self._shift: dict[str, torch.Tensor] = {}
        if plan.scaffold:
            self._mine = memory.control if memory.control is not None else rows.new_zeros(k, d)
            self._theirs = controls if controls is not None else rows.new_zeros(k, d)
            self._shift = problem.layout.views(self._theirs - self._mine)
        before = memory.optimiser if plan.keep else None
        self._state = before.clone() if before is not None else rows.new_zeros(k, len(slots) * d + 1)
        parts = (self._state[:, number * d : (number + 1) * d] for number in range(len(slots)))
        self._slots = {slot: problem.layout.views(part) for slot, part in zip(slots, parts, strict=True)}

    def step(self, active: int, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One step of the first ``active`` models; returns their losses' sums."""
        problem, plan, model = self._problem, self._plan, self._problem.task.model
        own = _first(self._params, active)
        if plan.plain and self._path.kind == "stacked":
            losses: torch.Tensor = model.sgd_step(problem.module, own, x, y, mask, plan.lr)
            return losses
        with torch.autocast(x.device.type, torch.bfloat16, enabled=plan.precision == "bfloat16"):
            losses, slopes = self._path.gradients(model, problem.module)(problem.module, own, x, y, mask)
        slopes = {name: slope.to(own[name].dtype) for name, slope in slopes.items()}
        for name, start in self._start.items():
            slopes[name] = slopes[name].add(own[name] - start[:active], alpha=plan.prox_mu)
        if plan.clip_norm is not None:
            _clip(slopes, plan.clip_norm)
        for name, shift in self._shift.items():
            slopes[name] = slopes[name] + shift[:active]
        self._state[:active, -1] += 1
        slots = {slot: _first(values, active) for slot, values in self._slots.items()}
        plan.optimiser.step(own, slopes, slots, self._state[:active, -1], plan.lr)
        return losses

    def memory(self, trained: torch.Tensor, steps: torch.Tensor) -> Memory:
        """What the nodes keep, after so many steps each ``(k,)``."""
        plan, control = self._plan, None
        if plan.scaffold:
            assert self._mine is not None
            assert self._theirs is not None
            moved = (self._rows - trained) / per_model(steps.clamp(min=1) * plan.lr, trained)
            control = torch.where(per_model(steps > 0, trained), self._mine - self._theirs + moved, self._mine)
        keeps = plan.keep and plan.optimiser.slots
        return Memory(self._state if keeps else None, control, trained if plan.personal else None)


def _one_by_one(
    problem: Problem,
    rows: torch.Tensor,
    who: Sequence[tuple[int, int]],
    plan: Plan,
    checkpoint: Callable[[], object],
    memory: Memory,
    controls: torch.Tensor | None,
) -> Together:
    done: list[Trained] = []
    for number, (node, server_round) in enumerate(who):
        checkpoint()
        mine = Memory(*(None if part is None else part[number] for part in (memory.optimiser, memory.control, memory.personal)))
        control = None if controls is None else controls[number]
        done.append(train_alone(problem, rows[number], node, server_round, plan, mine, control))

    def stacked(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
        there = [part for part in parts if part is not None]
        return torch.stack(there) if there else None

    kept = (stacked([getattr(one.memory, name) for one in done]) for name in ("optimiser", "control", "personal"))
    return Together(torch.stack([one.row for one in done]), torch.tensor([one.loss for one in done]), Memory(*kept))


def _padded(steps: Sequence[Sequence[np.ndarray]], lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """``(k, steps, batch)`` sample indices, and 1 where there is one."""
    widest = max((len(batch) for own in steps for batch in own), default=0)
    index = np.zeros((len(steps), max(lengths, default=0), widest), np.int64)
    mask = np.zeros(index.shape, np.float32)
    for i, of_node in enumerate(steps):
        for s, batch in enumerate(of_node):
            index[i, s, : len(batch)] = batch
            mask[i, s, : len(batch)] = 1
    return index, mask


def _to(device: str, array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    there: torch.Tensor = tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
    return there


def _first(params: dict[str, torch.Tensor], active: int) -> dict[str, torch.Tensor]:
    return {name: p[:active] for name, p in params.items()}


def _clip(slopes: dict[str, torch.Tensor], longest: float) -> None:
    """Shorten each model's gradient to ``longest`` where it is longer, as ``torch.nn.utils.clip_grad_norm_`` does."""
    square = sum(slope.flatten(1).square().sum(1) for slope in slopes.values())
    assert isinstance(square, torch.Tensor)
    factor = (longest / (square.sqrt() + 1e-6)).clamp(max=1.0)
    for name, slope in slopes.items():
        slopes[name] = slope * per_model(factor, slope)
