"""Local training of one node, as any Flower client would do it: the reference that cohorts must equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from decai_sim.learning.problem import Problem


@dataclass(frozen=True)
class Plan:
    """How a node trains.

    Attributes:
        epochs: passes over its own samples.
        batch_size: samples a step; the last batch of an epoch may be smaller.
        lr: learning rate of plain SGD.
    """

    epochs: int = 1
    batch_size: int = 10
    lr: float = 0.1


def batches(problem: Problem, node: int, server_round: int, plan: Plan) -> list[np.ndarray]:
    """The sample indices of every step, in order; the same wherever and whenever the node trains this round."""
    own = problem.samples[node]
    rng = problem.streams.of("batches", node, server_round)
    steps = []
    for _ in range(plan.epochs if len(own) else 0):
        order = own[rng.permutation(len(own))]
        steps += [order[at : at + plan.batch_size] for at in range(0, len(order), plan.batch_size)]
    return steps


def work_flops(problem: Problem, node: int, plan: Plan) -> float:
    """FLOPs of one local training: three forward passes' worth a sample and epoch (backward costs two)."""
    return 3.0 * problem.forward_flops * float(problem.n_samples[node]) * plan.epochs


def train_alone(problem: Problem, row: torch.Tensor, node: int, server_round: int, plan: Plan) -> tuple[torch.Tensor, float]:
    """Train one node with an ordinary PyTorch loop.

    Args:
        problem: what is learned.
        row: ``(d,)`` the model to start from; left untouched.
        node: who trains.
        server_round: which round it is; decides the order of the samples.
        plan: how to train.

    Returns:
        The trained model ``(d,)`` and the mean loss over the samples as they were trained on (0 without samples).
    """
    params = {name: p.clone().requires_grad_() for name, p in problem.layout.views(row).items()}
    total, seen = 0.0, 0
    for step in batches(problem, node, server_round, plan):
        index = torch.as_tensor(step, device=problem.device)
        logits = torch.func.functional_call(problem.module, params, (problem.inputs(index),))
        loss = F.cross_entropy(logits, problem.labels(index))
        gradients = torch.autograd.grad(loss, list(params.values()))
        with torch.no_grad():
            for p, g in zip(params.values(), gradients, strict=True):
                p -= plan.lr * g
        total, seen = total + float(loss.detach()) * len(step), seen + len(step)
    return problem.layout.flat({name: p.detach() for name, p in params.items()}), total / max(1, seen)
