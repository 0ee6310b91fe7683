"""A Flower strategy that aggregates with any rule of ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from logging import INFO
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid

from decai_sim.component import whole_share
from decai_sim.defenses.base import Context, Rule, TooFewRowsError
from decai_sim.flower import arrays
from decai_sim.flower.strategies.capped import CappedFedAvg


class RuleStrategy(CappedFedAvg):
    """Aggregates updates ``w_local − w_global`` with a rule: a Flower strategy that also works in a real deployment.

    Args:
        rule: how rows become one.
        byzantine_fraction: the rule's ``f``, where it does not say itself, is ⌊this share · rows received⌋.
        n_train: nodes asked each round.
        on_rejected: called after each aggregation with the round and the Flower ids of nodes whose updates the rule did not use.
        options: as for ``FedAvg``.

    Example:
        >>> from decai_sim.defenses import NNM, TrimmedMean
        >>> RuleStrategy(NNM() >> TrimmedMean(), byzantine_fraction=0.2, n_train=100).rule.to_config()[0]["kind"]
        'nnm'
    """

    def __init__(
        self,
        rule: Rule,
        byzantine_fraction: float,
        n_train: int,
        on_rejected: Callable[[int, list[int]], object] = lambda server_round, nodes: None,
        **options: Any,
    ) -> None:
        super().__init__(n_train, **options)
        self.rule, self.byzantine_fraction, self._on_rejected = rule, byzantine_fraction, on_rejected
        self._model: ArrayRecord | None = None
        self._previous: torch.Tensor | None = None

    def summary(self) -> None:
        """Log what the strategy does."""
        log(INFO, "\t├──> Rule: %s", self.rule.to_config())
        super().summary()

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """As ``FedAvg``; remembers the model that updates are relative to."""
        self._model = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The model plus the rule's aggregate of the updates; None when nobody replied, or too few for the rule."""
        valid, _ = self._check_and_log_replies(replies, is_train=True)
        if not valid or self._model is None:
            return None, None
        contents = [message.content for message in valid]
        start = arrays.to_vector(self._model)
        updates = arrays.to_matrix([next(iter(content.array_records.values())) for content in contents]).sub_(start)
        examples = [next(iter(content.metric_records.values()))[self.weighted_by_key] for content in contents]
        context = Context(
            f=whole_share(self.byzantine_fraction, len(valid)),
            num_examples=torch.tensor(examples, dtype=updates.dtype, device=updates.device),
            previous=self._previous,
        )
        try:
            result = self.rule.explain(updates, context)
        except TooFewRowsError as error:
            warnings.warn(
                f"round {server_round} is passed over, the model stays as it was: {error}", RuntimeWarning, stacklevel=2
            )
            return None, None
        self._on_rejected(
            server_round, [m.metadata.src_node_id for m, kept in zip(valid, result.kept.tolist(), strict=True) if not kept]
        )
        self._previous = result.value
        return arrays.from_vector(start + result.value, self._model), None
