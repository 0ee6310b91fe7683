"""SCAFFOLD: control variates against client drift."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from decai_sim.flower import apps, arrays
from decai_sim.flower.strategies.capped import CappedFedAvg, averaged


class Scaffold(CappedFedAvg):
    """Nodes correct every step by the difference between the server's control variate and their own.

    Source: Karimireddy et al., "SCAFFOLD: stochastic controlled averaging for federated learning" (ICML 2020), Algorithm 1, with
    option II for the control variates, which the ``ClientApp`` sets: c_i ← c_i − c + (x − y_i) / (K η).
    Assumes: nodes that keep what they are told to keep between rounds.
    Deviations: those that hold no samples change nothing.

    Args:
        n_train: replies wanted each round.
        n_total: N, how many nodes there are in all.
        server_lr: η_g, the server's step along the mean change.
        options: as for :class:`CappedFedAvg`.

    Example:
        >>> Scaffold(n_train=10, n_total=100).server_lr
        1.0
    """

    def __init__(self, n_train: int, n_total: int, server_lr: float = 1.0, **options: Any) -> None:
        super().__init__(n_train, **options)
        self.n_total, self.server_lr = n_total, server_lr
        self._model: ArrayRecord | None = None
        self._control: torch.Tensor | None = None

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """As ``FedAvg``, with the server's control variate beside the model."""
        self._model = arrays
        config["scaffold"] = True
        messages = list(super().configure_train(server_round, arrays, config, grid))
        if messages and self._control is not None:
            # One record for all, as Flower has it.
            messages[0].content[apps.CONTROL] = _alike(self._control, arrays)
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Step: x ← x + η_g mean(y_i − x) and c ← c + (1 / N) Σ (c_i⁺ − c_i)."""
        valid, _ = self._check_and_log_replies(replies, is_train=True, validate=False)
        contents = [message.content for message in valid]
        metrics = [next(iter(content.metric_records.values())) for content in contents]
        which = [
            i for i, record in enumerate(metrics) if record[self.weighted_by_key] and apps.control_of(contents[i]) is not None
        ]
        if not which or self._model is None:
            return None, None
        start = arrays.to_vector(self._model)
        weights = torch.full((len(which),), 1 / len(which))
        mean = arrays.weighted_sum([apps.model_of(contents[i]) for i in which], weights)
        change = arrays.weighted_sum([contents[i].array_records[apps.CONTROL] for i in which], weights)
        share = len(which) / self.n_total * change
        self._control = share if self._control is None else self._control + share
        model = arrays.from_vector(start + self.server_lr * (mean - start), self._model)
        return model, averaged([metrics[i] for i in which], weights.double().numpy(), self.weighted_by_key)


def _alike(vector: torch.Tensor, model: ArrayRecord) -> ArrayRecord:
    return arrays.from_vector(vector, model)
