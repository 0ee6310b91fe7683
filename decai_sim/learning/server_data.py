"""What an aggregator learns from clean samples of its own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch

from decai_sim.learning import evaluation
from decai_sim.learning.cohort import train_together
from decai_sim.learning.training import Plan, work_flops

if TYPE_CHECKING:
    from decai_sim.learning.problem import Problem


class ServerData:
    """A few training samples that a server has too, drawn uniformly: a root data set (FLTrust; Cao et al., NDSS 2021).

    Args:
        problem: the task, before any attack on its data.
        count: how many samples; fewer if there are fewer.
        plan: how the server trains on them: as nodes do.

    Attributes:
        index: ``(count,)`` which training samples they are.
    """

    def __init__(self, problem: Problem, count: int, plan: Plan) -> None:
        every = np.concatenate(problem.samples)
        draw = problem.streams.of("server_data")
        self.index = np.sort(draw.choice(every, size=min(count, len(every)), replace=False))
        self._plan, self._node = plan, problem.n
        self._problem = copy.copy(problem)  # with one more who holds samples
        self._problem.samples = [*problem.samples, self.index]
        self._problem.n_samples = np.append(problem.n_samples, len(self.index))

    def update(self, model: torch.Tensor, server_round: int) -> torch.Tensor:
        """``(d,)`` by how much the model ``(d,)`` changes when it is trained on them."""
        start = model.to(self._problem.device)
        together = train_together(self._problem, start[None], [(self._node, server_round)], self._plan)
        return (together.rows[0] - start).to(model)

    @property
    def update_flops(self) -> float:
        """FLOPs of training on them once."""
        return work_flops(self._problem, self._node, self._plan)

    @property
    def loss_flops(self) -> float:
        """FLOPs of one model's loss on them."""
        return float(self._problem.forward_flops) * len(self.index)

    def losses(self, model: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """``(k,)`` mean losses on them of the model ``(d,)`` moved by each of ``rows (k, d)``."""
        moved = (model + rows).to(self._problem.device, torch.float32)
        _, loss = evaluation.each_its_own(self._problem, moved, [self.index] * len(moved))
        return torch.as_tensor(loss, dtype=rows.dtype, device=rows.device)
