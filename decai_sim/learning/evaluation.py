"""How well models do on nodes' own samples, for many nodes at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from decai_sim.learning.problem import Problem

_BATCH = 2000
_SIDE_BY_SIDE = 32


def one_for_all(problem: Problem, row: torch.Tensor, samples: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and mean cross-entropy of one model on the samples of each of ``k`` nodes.

    Args:
        problem: what was learned.
        row: ``(d,)`` the model.
        samples: for each node, indices of training samples.

    Returns:
        ``(k,)`` each; NaN where a node has no samples.
    """
    params = problem.layout.views(row)
    index = torch.as_tensor(np.concatenate([*samples, np.zeros(0, np.int64)]), dtype=torch.long, device=problem.device)
    right, losses = [torch.zeros(0)], [torch.zeros(0)]
    with torch.no_grad():
        for at in range(0, len(index), _BATCH):
            part = index[at : at + _BATCH]
            y = problem.labels(part)
            logits = torch.func.functional_call(problem.module, params, (problem.inputs(part),))
            right.append((logits.argmax(1) == y).float().cpu())
            losses.append(F.cross_entropy(logits, y, reduction="none").cpu())
    counts = np.array([len(own) for own in samples], dtype=np.int64)
    whose = np.repeat(np.arange(len(counts)), counts)
    return _mean(torch.cat(right), whose, counts), _mean(torch.cat(losses), whose, counts)


def each_its_own(problem: Problem, rows: torch.Tensor, samples: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`one_for_all`, of models ``rows (k, d)``, each on the samples of its own node."""
    counts = np.array([len(own) for own in samples], dtype=np.int64)
    accuracy, loss = np.full((2, len(counts)), np.nan)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    for at in range(0, len(order), _SIDE_BY_SIDE):
        which = order[at : at + _SIDE_BY_SIDE]
        params = problem.layout.views(rows[torch.as_tensor(which, device=rows.device)])
        params = {name: p.contiguous() for name, p in params.items()}
        right, total = torch.zeros(2, len(which))
        for begin in range(0, int(counts[which[0]]), _BATCH // _SIDE_BY_SIDE):
            parts = [samples[node][begin : begin + _BATCH // _SIDE_BY_SIDE] for node in which]
            parts = [part for part in parts if len(part)]  # a prefix: the others have no more
            index = np.zeros((len(parts), len(parts[0])), np.int64)
            for i, part in enumerate(parts):
                index[i, : len(part)] = part
            there = torch.as_tensor(np.arange(index.shape[1]) < np.array([[len(part)] for part in parts]))
            at_device = torch.as_tensor(index, device=problem.device)
            own, y = {name: p[: len(parts)] for name, p in params.items()}, problem.labels(at_device)
            with torch.no_grad():
                logits = problem.task.model.stacked(problem.module, own, problem.inputs(at_device)).float()
                each = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
            right[: len(parts)] += ((logits.argmax(2) == y).cpu() & there).sum(1)
            total[: len(parts)] += torch.where(there, each.cpu(), 0.0).sum(1)
        accuracy[which], loss[which] = right.numpy() / counts[which], total.numpy() / counts[which]
    return accuracy, loss


def on_tests(problem: Problem, rows: torch.Tensor, index: np.ndarray) -> np.ndarray:
    """``(k, len(index))`` bool: which samples of the central test set models ``rows (k, d)`` are right about."""
    return taken_for(problem, rows, *problem.tests(index))


def taken_for(problem: Problem, rows: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """``(k, m)`` bool: which of the standardised inputs ``x (m, ...)`` models ``rows (k, d)`` take for ``y (m,)``."""
    right = torch.zeros((len(rows), len(y)), dtype=torch.bool)
    few = _BATCH // _SIDE_BY_SIDE
    for begin in range(0, len(rows), _SIDE_BY_SIDE):
        params = {name: p.contiguous() for name, p in problem.layout.views(rows[begin : begin + _SIDE_BY_SIDE]).items()}
        k = len(rows[begin : begin + _SIDE_BY_SIDE])
        for at in range(0, len(y), few):
            part, labels = x[at : at + few], y[at : at + few]
            with torch.no_grad():
                logits = problem.task.model.stacked(problem.module, params, part.expand(k, *part.shape))
            right[begin : begin + k, at : at + few] = (logits.argmax(2) == labels).cpu()
    return right.numpy()


def _mean(values: torch.Tensor, whose: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = np.bincount(whose, weights=values.double().numpy(), minlength=len(counts))
    means: np.ndarray = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means
