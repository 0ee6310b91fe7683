"""A Flower strategy that aggregates with any rule of ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from logging import INFO
from typing import Any, Protocol

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid

from decai_sim.component import whole_share
from decai_sim.defenses.base import Aggregation, Context, Rule, TooFewRowsError
from decai_sim.flower import arrays
from decai_sim.flower.strategies.capped import CappedFedAvg


class OwnData(Protocol):
    """What a server knows from samples of its own."""

    def update(self, model: torch.Tensor, server_round: int) -> torch.Tensor:
        """``(d,)`` how the model ``(d,)`` changes when the server trains it as nodes do."""
        ...

    def losses(self, model: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """``(k,)`` losses of the model ``(d,)`` moved by each of ``rows (k, d)``."""
        ...

    @property
    def update_flops(self) -> float:
        """FLOPs that :meth:`update` takes."""
        ...

    @property
    def loss_flops(self) -> float:
        """FLOPs that one of the :meth:`losses` takes."""
        ...


OnAggregation = Callable[[int, list[int], Aggregation, float, list[int] | None], object]


def _nothing(*of: object) -> None:
    """What is done after an aggregation if nobody says."""


@dataclass
class Aggregator:
    """Applies a rule round after round, with what rules may need beside the rows.

    Args:
        rule: how rows become one.
        byzantine_fraction: the rule's ``f``, where it does not say itself, is ⌊this share · rows received⌋.
        own_data: what the server knows from samples of its own; None: it has none.
        draws: from a round to where rules that draw draw from; None: they draw the same every round.
        on_aggregation: called after each with the round, the senders' names, the result, what it cost, FLOPs (the rule's work and
            that on samples of the server's own), and how many versions old the rows are, if that is known.
        on_passed_over: called when there are too few rows.
        senders: how many senders there are in all, of which filters may assume that share Byzantine; None: nobody knows.
    """

    rule: Rule
    byzantine_fraction: float
    own_data: OwnData | None = None
    draws: Callable[[int], torch.Generator] | None = None
    on_aggregation: OnAggregation = _nothing
    on_passed_over: Callable[[], object] = _nothing
    senders: int | None = None
    memory: dict[str, Any] = field(default_factory=dict)
    previous: torch.Tensor | None = None
    moved: float | None = None

    def context(self, n: int, number: int, model: torch.Tensor | None = None) -> Context:
        """What is known of ``n`` rows of a round, whoever they are from."""
        own = self.own_data
        return Context(
            f=whole_share(self.byzantine_fraction, n),
            previous=self.previous,
            moved=self.moved,
            senders=self.senders,
            senders_f=None if self.senders is None else whole_share(self.byzantine_fraction, self.senders),
            round=number,
            memory=self.memory,
            generator=None if self.draws is None else self.draws(number),
            server=None if own is None or model is None or "server" not in self.rule.needs else own.update(model, number),
            loss=None if own is None or model is None else lambda rows: own.losses(model, rows),
        )

    def __call__(
        self,
        updates: torch.Tensor,
        who: list[int],
        number: int,
        model: torch.Tensor,
        num_examples: list[float] | None = None,
        staleness: list[int] | None = None,
    ) -> torch.Tensor | None:
        """Aggregate.

        Args:
            updates: ``(n, d)`` rows, what each moved its model by.
            who: whose they are.
            number: of the round.
            model: ``(d,)`` the server's.
            num_examples: on how many samples each has trained.
            staleness: how many versions old each is.

        Returns:
            ``(d,)`` the step to take; None: there are too few rows, the model stays as it is.
        """
        from dataclasses import replace

        context = replace(
            self.context(len(updates), number, model),
            who=torch.tensor(who),
            num_examples=None if num_examples is None else torch.tensor(num_examples, dtype=updates.dtype, device=updates.device),
            staleness=None if staleness is None else torch.tensor(staleness, device=updates.device),
        )
        try:
            result = self.rule.explain(updates, context)
        except TooFewRowsError as error:
            warnings.warn(f"round {number} is passed over, the model stays as it was: {error}", RuntimeWarning, stacklevel=2)
            self.on_passed_over()
            return None
        self.on_aggregation(number, who, result, self.flops(len(updates), updates.shape[1], context.f), staleness)
        self.previous = result.value
        return result.value

    def flops(self, n: int, d: int, f: int | None) -> float:
        """What aggregating ``n`` rows of ``d`` numbers costs the server, FLOPs."""
        work = self.rule.flops(n, d, f)
        if self.own_data is not None:
            tests = self.rule.tests(n, f)
            work += tests * self.own_data.loss_flops if tests else 0.0
            work += self.own_data.update_flops if "server" in self.rule.needs else 0.0
        return work

    def stepped(self, step: torch.Tensor) -> None:
        """Tell that the model has gone by ``step (d,)``, which strategies may make of another length than the result.

        No step at all is none: how far the model has moved is what it was.
        """
        if bool(step.any()):
            self.moved = float(step.double().norm())


class RuleStrategy(CappedFedAvg):
    """Aggregates updates ``w_local − w_global`` with a rule: a Flower strategy that also works in a real deployment.

    Args:
        rule: how rows become one.
        byzantine_fraction: the rule's ``f``, where it does not say itself, is ⌊this share · rows received⌋.
        n_train: nodes asked each round.
        own_data: for rules that compare with what the server learns from samples of its own; None: it has none.
        draws: from a round to where rules that draw draw from; None: they draw the same every round.
        on_aggregation: called after each aggregation with the round, the Flower ids of the senders, the result, what it cost,
            FLOPs, and None.
        on_passed_over: called when too few have replied.
        senders: how many nodes there are in all; None: nobody knows.
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
        own_data: OwnData | None = None,
        draws: Callable[[int], torch.Generator] | None = None,
        on_aggregation: OnAggregation = _nothing,
        on_passed_over: Callable[[], object] = _nothing,
        senders: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(n_train, **options)
        self.aggregator = Aggregator(rule, byzantine_fraction, own_data, draws, on_aggregation, on_passed_over, senders)
        self._model: ArrayRecord | None = None

    @property
    def rule(self) -> Rule:
        """How rows become one."""
        return self.aggregator.rule

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
        examples = [float(next(iter(content.metric_records.values()))[self.weighted_by_key]) for content in contents]  # type: ignore[arg-type]
        who = [message.metadata.src_node_id for message in valid]
        step = self.aggregator(updates, who, server_round, start, examples)
        if step is None:
            return None, None
        self.aggregator.stepped(step)
        return arrays.from_vector(start + step, self._model), None
