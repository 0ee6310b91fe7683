"""Federated averaging with a fixed number of nodes a round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from logging import WARNING
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from flwr.serverapp.strategy.result import Result

from decai_sim.flower import arrays as stored
from decai_sim.flower.strategies.first_replies import FirstReplies


class CappedFedAvg(FedAvg):
    """Flower's ``FedAvg``, asking a fixed number of nodes or, while fewer are listed, all of them.

    Flower's own ``fraction_train`` is a share of the nodes listed at the moment, and waits if they are fewer than the minimum;
    and it fails when nobody who replied holds any samples: here such a round leaves the model as it is. Models in single
    precision are averaged a few at a time, those of the simulator's store where they lie, to the same result but for the last
    bits.

    Args:
        n_train: replies wanted each round.
        over_select: how many times as many nodes are asked; the round ends when ``n_train`` have replied, and the work of the
            others is lost (Bonawitz et al., "Towards federated learning at scale", MLSys 2019, section 2.2: 1.3).
        options: as for ``FedAvg``.

    Raises:
        ValueError: ``over_select`` is below 1.

    Example:
        >>> CappedFedAvg(n_train=100).n_train
        100
    """

    def __init__(self, n_train: int, over_select: float = 1.0, **options: Any) -> None:
        super().__init__(fraction_train=1e-9, fraction_evaluate=0.0, min_available_nodes=1, **options)
        if not over_select >= 1:
            raise ValueError(f"over_select: {over_select!r} is not allowed: at least 1")
        self.n_train, self.over_select = n_train, over_select

    def start(self, grid: Grid, *arguments: Any, **options: Any) -> Result:
        """As ``FedAvg``; rounds end when enough have replied."""
        return super().start(grid if self.over_select == 1 else FirstReplies(grid, self.n_train), *arguments, **options)

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Ask ``n_train`` nodes, times ``over_select``, or as many as are listed; at least one."""
        wanted = math.ceil(self.n_train * self.over_select - 1e-9)
        self.min_train_nodes = max(1, min(wanted, len(list(grid.get_node_ids()))))
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """As ``FedAvg``; None when the replies weigh nothing."""
        replies = list(replies)
        contents = [message.content for message in replies if message.has_content()]
        metrics = [record for content in contents for record in content.values() if isinstance(record, MetricRecord)]
        if metrics and all(record.get(self.weighted_by_key) == 0 for record in metrics):
            log(WARNING, "aggregate_train: round %d is passed over: nobody who replied has any samples", server_round)
            return None, None
        models = [record for content in contents for record in content.values() if isinstance(record, ArrayRecord)]
        if not (contents and len(models) == len(metrics) == len(contents) and stored.all_alike(models)):
            return super().aggregate_train(server_round, replies)
        self._check_and_log_replies(replies, is_train=True, validate=False)
        weights = np.array([record[self.weighted_by_key] for record in metrics], dtype=float)
        weights /= weights.sum()
        mean = stored.weighted_sum(models, torch.as_tensor(weights, dtype=torch.float32))
        return stored.from_vector(mean, models[0]), averaged(metrics, weights, self.weighted_by_key)


def averaged(metrics: Sequence[MetricRecord], weights: np.ndarray, weighted_by: str) -> MetricRecord:
    """Each metric's average, but for the weights themselves."""
    averaged = MetricRecord()
    for name in metrics[0]:
        if name != weighted_by:
            values = np.array([record[name] for record in metrics], dtype=float)
            mean = weights @ values
            averaged[name] = mean.tolist()
    return averaged
