"""Local training of many nodes at once: their models side by side in one tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from decai_sim.learning.problem import Problem
from decai_sim.learning.store import Row, Store
from decai_sim.learning.training import Plan, batches

COHORT = 32
"""Models trained side by side on a CPU: enough to amortise the calls, few enough for the caches."""


@dataclass(eq=False)
class Job:
    """One node's local training, to be computed when somebody looks.

    Attributes:
        node: who trains.
        server_round: which round; decides the order of the samples.
        start: the model it starts from.
        plan: how it trains.
        result: the trained model, once computed.
        loss: its mean training loss, once computed.
    """

    node: int
    server_round: int
    start: Row
    plan: Plan
    result: Row | None = None
    loss: float = 0.0


def train(problem: Problem, store: Store, jobs: Sequence[Job], checkpoint: Callable[[], object] = lambda: None) -> None:
    """Compute the results of all ``jobs`` that have none, in cohorts.

    Args:
        problem: what is learned.
        store: where results are kept.
        jobs: what to compute; each is given its ``result`` and ``loss``.
        checkpoint: called before every step; may raise to stop.
    """

    def program(job: Job) -> tuple[int, int, float]:
        return job.plan.epochs, job.plan.batch_size, job.plan.lr

    waiting = [job for job in jobs if job.result is None]
    for _, group in groupby(sorted(waiting, key=program), key=program):
        # Sorted by length, a cohort's models finish nearly together and little is padded.
        same = sorted(group, key=lambda job: -int(problem.n_samples[job.node]))
        for at in range(0, len(same), COHORT):
            cohort = same[at : at + COHORT]
            one = cohort[0].start  # usually all start from the same model, which then need not be copied for each
            same_start = all(job.start is one for job in cohort)
            start = one.tensor().expand(len(cohort), -1) if same_start else store.gather([job.start for job in cohort])
            who = [(job.node, job.server_round) for job in cohort]
            rows, losses = train_together(problem, start, who, cohort[0].plan, checkpoint)
            for job, row, loss in zip(cohort, store.put(rows), losses, strict=True):
                job.result, job.loss = row, loss


def train_together(
    problem: Problem,
    rows: torch.Tensor,
    who: Sequence[tuple[int, int]],
    plan: Plan,
    checkpoint: Callable[[], object] = lambda: None,
) -> tuple[torch.Tensor, list[float]]:
    """Train ``k`` nodes side by side; equal to :func:`~decai_sim.learning.training.train_alone` of each.

    Args:
        problem: what is learned.
        rows: ``(k, d)`` the models they start from; left untouched.
        who: (node, server_round) of each, most samples first.
        plan: how they train.
        checkpoint: called before every step; may raise to stop.

    Returns:
        ``(k, d)`` trained models and the ``k`` mean losses.
    """
    steps = [batches(problem, node, server_round, plan) for node, server_round in who]
    lengths = [len(own) for own in steps]
    if lengths != sorted(lengths, reverse=True):
        raise ValueError("train_together: nodes must come with the most samples first")
    widest = max((len(batch) for own in steps for batch in own), default=0)
    index = np.zeros((len(who), max(lengths, default=0), widest), np.int64)
    mask = np.zeros(index.shape, np.float32)
    for i, of_node in enumerate(steps):
        for s, batch in enumerate(of_node):
            index[i, s, : len(batch)] = batch
            mask[i, s, : len(batch)] = 1
    all_index = torch.as_tensor(index, device=problem.device)
    all_mask = torch.as_tensor(mask, device=problem.device)
    params = {name: view.clone(memory_format=torch.contiguous_format) for name, view in problem.layout.views(rows).items()}
    total = torch.zeros(len(who), device=problem.device)
    for s in range(index.shape[1]):
        checkpoint()
        active = sum(length > s for length in lengths)  # a prefix: the others have finished
        own = {name: p[:active] for name, p in params.items()}
        x, y = problem.inputs(all_index[:active, s]), problem.labels(all_index[:active, s])
        total[:active] += problem.task.model.sgd_step(problem.module, own, x, y, all_mask[:active, s], plan.lr)
    trained = torch.cat([params[name].flatten(1) for name in problem.layout.names], dim=1)
    seen = all_mask.sum((1, 2)).clamp(min=1)
    return trained, (total / seen).tolist()
