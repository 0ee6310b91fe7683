"""Local training of many nodes at once: their models side by side in one tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from decai_sim.learning.optimisers.base import per_model
from decai_sim.learning.paths import Path, usual
from decai_sim.learning.problem import Problem
from decai_sim.learning.store import Columns
from decai_sim.learning.training import Memory, Plan, Trained, a_pass, passes, steps_of, train_alone, with_personal


@dataclass
class Cohort:
    """Nodes to be trained side by side, with all that is needed for it.

    Attributes:
        rows: ``(k, d)`` the models they start from, or these in columns, which become what they come to.
        who: (node, server_round) of each, most steps first.
        plan: how they train.
        memory: what each kept of its training before, one row a node.
        controls: ``(k, d)`` the server's control variates; None: zero.
    """

    rows: torch.Tensor | Columns
    who: Sequence[tuple[int, int]]
    plan: Plan
    memory: Memory = field(default_factory=Memory)
    controls: torch.Tensor | None = None


@dataclass
class Together:
    """What comes of many nodes' training: as :class:`~decai_sim.learning.training.Trained`, with one row a node.

    Attributes:
        columns: the models.
        losses: ``(k,)`` mean losses.
        memory: what nodes keep.
        change: by how much control variates have changed, for SCAFFOLD.
    """

    columns: Columns
    losses: torch.Tensor
    memory: Memory
    change: torch.Tensor | None = None

    @property
    def rows(self) -> torch.Tensor:
        """``(k, d)`` the models."""
        return torch.cat(self.columns, dim=1)


def train_together(
    problem: Problem,
    rows: torch.Tensor | Columns,
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
        rows: ``(k, d)`` the models they start from, left untouched; or these in columns, contiguous, which are trained.
        who: (node, server_round) of each, most steps first.
        plan: how they train.
        checkpoint: called before every step; may raise to stop.
        memory: what each kept of its training before, one row a node; None: nothing.
        controls: ``(k, d)`` the server's control variates; None: zero.
        path: how; None: as is usual for the model and the device.

    Returns:
        Trained models, mean losses, and what each keeps.

    Raises:
        ValueError: they do not come with the most steps first.
    """
    path = path or usual(problem.device)
    memory = memory or Memory()
    if path.kind == "alone":
        whole = rows if isinstance(rows, torch.Tensor) else torch.cat(rows, dim=1)
        return _one_by_one(problem, whole, who, plan, checkpoint, memory, controls)
    index, mask, lengths = _laid_out(problem, who, plan)
    if lengths != sorted(lengths, reverse=True):
        raise ValueError("train_together: nodes must come with the most steps first")
    all_index, all_mask = _to(problem.device, index), _to(problem.device, mask)
    layout = problem.layout
    if plan.personal:
        whole = rows if isinstance(rows, torch.Tensor) else torch.cat(rows, dim=1)
        rows = with_personal(problem, whole, memory.personal, plan)
    if isinstance(rows, torch.Tensor):
        rows = [part.clone(memory_format=torch.contiguous_format) for part in layout.columns(rows)]
    start = torch.cat(rows, dim=1) if plan.prox_mu or plan.scaffold else None
    total = torch.zeros(len(who), device=problem.device)
    descend = _Descent(problem, start, layout.params(rows), plan, memory, controls, path)
    labels = problem.labels(all_index)
    for s in range(index.shape[1]):
        checkpoint()
        active = sum(length > s for length in lengths)  # a prefix: the others have finished
        total[:active] += descend.step(active, problem.inputs(all_index[:active, s]), labels[:active, s], all_mask[:active, s])
    seen = all_mask.sum((1, 2)).clamp(min=1)
    kept = descend.memory(rows, torch.as_tensor(lengths, device=problem.device))
    return Together(rows, total / seen, kept, _change(kept, memory))


class _Descent:
    """Steps of ``k`` models, the first ``active`` of them at a time."""

    def __init__(
        self,
        problem: Problem,
        start: torch.Tensor | None,
        params: dict[str, torch.Tensor],
        plan: Plan,
        memory: Memory,
        controls: torch.Tensor | None,
        path: Path,
    ) -> None:
        self._problem, self._begin, self._params, self._plan, self._path = problem, start, params, plan, path
        one = next(iter(params.values()))
        k, d, slots = len(one), problem.layout.d, plan.optimiser.slots
        self._start = problem.layout.views(start) if start is not None and plan.prox_mu else {}
        self._mine = self._theirs = None
        self._shift: dict[str, torch.Tensor] = {}
        if plan.scaffold:
            self._mine = memory.control if memory.control is not None else one.new_zeros(k, d)
            self._theirs = controls if controls is not None else one.new_zeros(k, d)
            self._shift = problem.layout.views(self._theirs - self._mine)
        before = memory.optimiser if plan.keep else None
        self._state = before.clone() if before is not None else one.new_zeros(k, len(slots) * d + 1)
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

    def memory(self, columns: Columns, steps: torch.Tensor) -> Memory:
        """What the nodes keep, after so many steps each ``(k,)``."""
        plan, control = self._plan, None
        trained = torch.cat(columns, dim=1) if plan.scaffold or plan.personal else None
        if plan.scaffold:
            assert trained is not None
            assert self._begin is not None
            assert self._mine is not None
            assert self._theirs is not None
            moved = (self._begin - trained) / per_model(steps.clamp(min=1) * plan.lr, trained)
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
    after = Memory(*kept)
    losses = torch.tensor([one.loss for one in done])
    columns = problem.layout.columns(torch.stack([one.row for one in done]))
    return Together(columns, losses, after, _change(after, memory))


def _change(after: Memory, before: Memory) -> torch.Tensor | None:
    if after.control is None or before.control is None:
        return after.control
    return after.control - before.control


def _laid_out(problem: Problem, who: Sequence[tuple[int, int]], plan: Plan) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """What :func:`~decai_sim.learning.training.batches` says of each node, at once.

    That is ``(k, steps, batch)`` indices, 1 where there is one and 0 elsewhere, and how many steps each node takes.
    """
    n_samples = problem.n_samples[[node for node, _ in who]]
    lengths, one_pass = steps_of(n_samples, plan), np.maximum(a_pass(n_samples, plan), 1)
    most, width = int(lengths.max(initial=0)), min(plan.batch_size, int(n_samples.max(initial=0)))
    room = int((-(-lengths // one_pass) * one_pass).max(initial=0))  # for the last pass, even if not all its steps are taken
    index = np.zeros((len(who), room, width), np.int64)
    for i, (node, server_round) in enumerate(who):
        for number, order in enumerate(passes(problem, node, server_round, plan)):
            at = number * one_pass[i]
            index[i, at : at + one_pass[i]].reshape(-1)[: len(order)] = order
    step = np.arange(most)
    sizes = np.clip(n_samples[:, None] - step % one_pass[:, None] * plan.batch_size, 0, width)
    sizes[step >= lengths[:, None]] = 0
    return index[:, :most], (np.arange(width) < sizes[..., None]).astype(np.float32), lengths.tolist()


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
