"""Asynchronous federation: the server takes in each reply as it comes, and nobody waits for the slowest."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from logging import INFO
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy.result import Result

from decai_sim.errors import StalledError
from decai_sim.flower import apps, arrays
from decai_sim.flower.strategies.first_replies import poll
from decai_sim.flower.strategies.rule import Aggregator

_IN_VAIN = 100
"""So many times as many replies as are under way or wanted may make no new model, before the server gives up."""

Staleness = Callable[[int], float]
"""From by how many versions the server has moved on since a node was asked, to the weight of its reply."""


def constant() -> Staleness:
    """s(τ) = 1: a stale reply counts as much as a fresh one."""
    return lambda tau: 1.0


def polynomial(a: float = 0.5) -> Staleness:
    """s(τ) = (1 + τ)^−a (Xie, Koyejo & Gupta, arXiv:1903.03934, section 5.2)."""
    return lambda tau: float((1 + tau) ** -a)


def hinge(a: float = 10.0, b: float = 4.0) -> Staleness:
    """s(τ) = 1 while τ ≤ b, then 1 / (a (τ − b) + 1) (ibid.)."""
    return lambda tau: 1.0 if tau <= b else 1 / (a * (tau - b) + 1)


@dataclass
class Version:
    """What has happened when the server has a new model.

    Attributes:
        number: how manieth it is, from 1.
        model: the model.
        asked: which nodes have been asked since the version before.
        replied: whose replies went into it.
        staleness: by how many versions each of them was behind.
        loss: their mean training loss.
    """

    number: int
    model: ArrayRecord
    asked: list[int]
    replied: list[int]
    staleness: list[int]
    loss: float


@dataclass
class _Asked:
    node: int
    version: int
    model: ArrayRecord


@dataclass
class Reply:
    """One node's update: how its model differs from the one it was given, with that one's age."""

    node: int
    start: ArrayRecord
    model: ArrayRecord
    staleness: int
    metrics: MetricRecord


class Asynchronous(ABC):
    """What asynchronous strategies share: a fixed number of nodes is at work at any time; whoever replies is replaced.

    Written against ``push_messages`` and ``pull_messages`` alone, for any ``Grid``.

    Args:
        concurrency: how many nodes are at work at once.
        deadline_s: after how long a node that was asked is given up, seconds.
        weighted_by_key: under which name replies tell how many samples they stand for.
        draw: where the choice of nodes comes from; None: Python's global generator.
    """

    def __init__(
        self,
        concurrency: int,
        deadline_s: float = 3600.0,
        weighted_by_key: str = "num-examples",
        draw: random.Random | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency: {concurrency} is not allowed: at least 1")
        self.concurrency, self.deadline_s, self.weighted_by_key = concurrency, deadline_s, weighted_by_key
        self._draw: Any = draw or random

    wanted = 1
    """How many replies make a new model."""

    @property
    def held(self) -> int:
        """How many replies wait for others."""
        return 0

    @abstractmethod
    def take_in(self, model: ArrayRecord, reply: Reply) -> tuple[ArrayRecord, list[Reply]] | None:
        """Take in one reply; the next model and whose replies are in it, or None as long as there is none.

        Args:
            model: the server's model.
            reply: what has come.
        """

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_versions: int,
        train_config: ConfigRecord | None = None,
        on_version: Callable[[Version], object] = lambda version: None,
    ) -> Result:
        """Train until there have been so many new models.

        Args:
            grid: where the nodes are.
            initial_arrays: the model to begin with.
            num_versions: how many new models there shall be.
            train_config: how nodes train; ``server-round`` is added: the version they start from, plus 1.
            on_version: called with every new model.

        Raises:
            StalledError: so many replies were refused, or held no samples, since the last new model, from all who are at work,
                that none will come.
        """
        log(INFO, "Starting %s: %d versions", type(self).__name__, num_versions)
        model, config = initial_arrays, dict(train_config or {})
        asked: dict[str, _Asked] = {}
        recently: list[int] = []
        version, in_vain, result = 0, 0, Result()
        kept, refused = list[int](), set[int]()  # whose replies wait for others, and whose have come to nothing, since then
        while version < num_versions:
            most = _IN_VAIN * (self.concurrency + self.wanted)
            if in_vain > most and refused.issuperset(one.node for one in asked.values()):
                raise StalledError(
                    f"none of the last {in_vain} replies has made a new model: they are refused, or hold no samples"
                )
            recently += self._ask(grid, model, version, config, asked)
            for message in poll(grid, list(asked)):
                what = asked.pop(message.metadata.reply_to_message_id, None)
                if what is None or not message.has_content() or version == num_versions:
                    continue
                metrics = next(iter(message.content.metric_records.values()))
                if not metrics[self.weighted_by_key]:  # it holds no samples
                    in_vain += 1
                    refused.add(what.node)
                    continue
                reply = Reply(what.node, what.model, apps.model_of(message.content), version - what.version, metrics)
                taken = self.take_in(model, reply)
                kept.append(what.node)
                if taken is None and self.held:
                    continue
                if taken is None:
                    in_vain += len(kept)
                    refused.update(kept)
                    kept.clear()
                    continue
                model, used = taken
                version, in_vain = version + 1, 0
                kept.clear()
                refused.clear()
                losses = [float(one.metrics.get("train-loss", float("nan"))) for one in used]  # type: ignore[arg-type]
                result.arrays = model
                result.train_metrics_clientapp[version] = MetricRecord({"train-loss": sum(losses) / len(losses)})
                replied, staleness = [one.node for one in used], [one.staleness for one in used]
                on_version(Version(version, model, recently, replied, staleness, sum(losses) / len(losses)))
                recently = self._ask(grid, model, version, config, asked) if version < num_versions else []
        return result

    def _ask(self, grid: Grid, model: ArrayRecord, version: int, config: dict[str, Any], asked: dict[str, _Asked]) -> list[int]:
        """Give work to nodes that are listed and idle, until enough are at it; returns whom."""
        missing = self.concurrency - len(asked)
        if missing <= 0:
            return []
        busy = {one.node for one in asked.values()}
        idle = [node for node in grid.get_node_ids() if node not in busy]
        nodes = self._draw.sample(idle, min(missing, len(idle)))
        content = RecordDict({apps.MODEL: model, apps.CONFIG: ConfigRecord({**config, "server-round": version + 1})})
        messages = [Message(content, node, MessageType.TRAIN, ttl=self.deadline_s) for node in nodes]
        for message_id, node in zip(grid.push_messages(messages), nodes, strict=True):
            asked[message_id] = _Asked(node, version, model)
        return list(nodes)


class FedAsync(Asynchronous):
    """Every reply moves the model a little towards itself, the less the staler it is: x ← (1 − α s(τ)) x + α s(τ) y.

    Source: Xie, Koyejo & Gupta, "Asynchronous federated optimization" (arXiv:1903.03934), Algorithm 1.
    Assumes: nothing about how fast nodes are; all replies arrive one by one.
    Deviations: the proximal term is the node's business (``proximal-mu``); the server gives work to as many nodes as
    ``concurrency`` says, where the paper's scheduler is left open.

    Args:
        concurrency: how many nodes are at work at once.
        mixing: α, how far a fresh reply moves the model, in (0, 1].
        staleness: s; see :func:`constant`, :func:`polynomial` and :func:`hinge`.
        aggregator: its rule, a filter of single updates, says how much of each is taken in; None: all. Where it makes stale ones
            count less itself, s does not.
        options: as for :class:`Asynchronous`.

    Example:
        >>> FedAsync(concurrency=10, mixing=0.6, staleness=polynomial(0.5)).mixing
        0.6
    """

    def __init__(
        self,
        concurrency: int,
        mixing: float = 0.6,
        staleness: Staleness | None = None,
        aggregator: Aggregator | None = None,
        **options: Any,
    ) -> None:
        super().__init__(concurrency, **options)
        if not 0 < mixing <= 1:
            raise ValueError(f"mixing: {mixing!r} is not allowed: in (0, 1]")
        self.mixing, self.staleness, self.aggregator = mixing, staleness or polynomial(), aggregator
        self._came = 0

    def take_in(self, model: ArrayRecord, reply: Reply) -> tuple[ArrayRecord, list[Reply]] | None:
        """Mix it in, as far as the filter lets it."""
        alpha = self.mixing * (1.0 if _dampens(self.aggregator) else self.staleness(reply.staleness))
        if self.aggregator is not None:
            self._came += 1
            update = arrays.to_vector(reply.model) - arrays.to_vector(_like(reply.start, reply.model))
            now = arrays.to_vector(model).to(update)
            counts = [float(reply.metrics[self.weighted_by_key])]  # type: ignore[arg-type]
            step = self.aggregator(update[None], [reply.node], self._came, now, counts, [reply.staleness])
            if step is None or not step.any():
                return None
            self.aggregator.stepped(alpha * step)
            return arrays.from_vector(now + alpha * step, reply.model), [reply]
        mixed = arrays.weighted_sum([model, reply.model], torch.tensor([1 - alpha, alpha]))
        return arrays.from_vector(mixed, reply.model), [reply]


class FedBuff(Asynchronous):
    """Replies are collected; K of them make one step along the mean of their updates, in which stale ones weigh less.

    Source: Nguyen et al., "Federated learning with buffered asynchronous aggregation" (AISTATS 2022), Algorithm 1, with
    s(τ) = (1 + τ)^−½ (section 5).
    Assumes: nothing about how fast nodes are. Secure aggregation, which the buffer is made for, is not simulated.
    Deviations: none; the sum of weighted updates is divided by K, as in the paper, not by the sum of weights.

    Args:
        concurrency: how many nodes are at work at once.
        buffer: K, how many replies make a new model.
        server_lr: η_g, the length of the server's step.
        staleness: s; see :func:`polynomial`.
        aggregator: makes one step of the buffer's updates, each weighed by s(τ) unless its rule does so itself, instead of their
            mean; None: the mean.
        options: as for :class:`Asynchronous`.

    Example:
        >>> FedBuff(concurrency=100, buffer=10).staleness(3)
        0.5
    """

    def __init__(
        self,
        concurrency: int,
        buffer: int = 10,
        server_lr: float = 1.0,
        staleness: Staleness | None = None,
        aggregator: Aggregator | None = None,
        **options: Any,
    ) -> None:
        super().__init__(concurrency, **options)
        if buffer < 1:
            raise ValueError(f"buffer: {buffer} is not allowed: at least 1")
        self.wanted = buffer
        self.buffer, self.server_lr, self.staleness = buffer, server_lr, staleness or polynomial()
        self.aggregator = aggregator
        self._waiting: list[Reply] = []
        self._made = 0

    @property
    def held(self) -> int:
        """Those in the buffer."""
        return len(self._waiting)

    def take_in(self, model: ArrayRecord, reply: Reply) -> tuple[ArrayRecord, list[Reply]] | None:
        """Put it into the buffer; empty that when it is full."""
        self._waiting.append(reply)
        if len(self._waiting) < self.buffer:
            return None
        used, self._waiting = self._waiting, []
        if self.aggregator is not None:
            return self._by_rule(model, used, self.aggregator)
        weights = torch.tensor([self.staleness(one.staleness) for one in used]) * (self.server_lr / self.buffer)
        ends = arrays.weighted_sum([one.model for one in used], weights)
        starts = arrays.weighted_sum([_like(one.start, reply.model) for one in used], weights)
        return arrays.from_vector(arrays.to_vector(model).to(ends) + ends - starts, reply.model), used

    def _by_rule(self, model: ArrayRecord, used: list[Reply], aggregator: Aggregator) -> tuple[ArrayRecord, list[Reply]] | None:
        like, now = used[0].model, arrays.to_vector(model)
        ends = arrays.to_matrix([one.model for one in used])
        rows = ends.sub_(arrays.to_matrix([_like(one.start, like) for one in used]))
        ages = [one.staleness for one in used]
        if not _dampens(aggregator):
            rows.mul_(torch.tensor([self.staleness(age) for age in ages]).to(rows)[:, None])
        counts = [float(one.metrics[self.weighted_by_key]) for one in used]  # type: ignore[arg-type]
        self._made += 1
        step = aggregator(rows, [one.node for one in used], self._made, now.to(rows), counts, ages)
        if step is None:
            return None
        aggregator.stepped(self.server_lr * step)
        return arrays.from_vector(now.to(step) + self.server_lr * step, like), used


def _dampens(aggregator: Aggregator | None) -> bool:
    return aggregator is not None and aggregator.rule.dampens


def _like(record: ArrayRecord, other: ArrayRecord) -> ArrayRecord:
    """The record, stored as the other is: the model that all begin with is not."""
    return record if arrays.stored_row(record) is not None else arrays.from_vector(arrays.to_vector(record), other)
