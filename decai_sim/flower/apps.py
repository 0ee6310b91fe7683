"""Our Flower apps: ordinary ones, which also run under ``flwr run`` and on a real SuperLink."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from decai_sim.learning.problem import Problem
from decai_sim.learning.training import Plan, train_alone
from decai_sim.seeding import Streams

if TYPE_CHECKING:
    from decai_sim.learning.tasks import Task

MODEL, CONFIG, METRICS = "arrays", "config", "metrics"
TRAINING = (MessageType.TRAIN, f"{MessageType.TRAIN}.default")
"""Types of messages that :class:`TaskClientApp` trains for."""
_FIRST_NODE_ID = 2
"""Flower's SuperLink is node 1."""


def node_id(node: int) -> int:
    """Flower's id of node 0 … n−1."""
    return node + _FIRST_NODE_ID


def node_of(flower_id: int) -> int:
    """The node with Flower's id."""
    return flower_id - _FIRST_NODE_ID


def plan_record(plan: Plan) -> ConfigRecord:
    """How to train, as a server tells its clients."""
    return ConfigRecord({"local-epochs": plan.epochs, "batch-size": plan.batch_size, "lr": plan.lr})


def plan_of(content: RecordDict) -> tuple[Plan, int]:
    """How to train and which round it is, read from an instruction; what it does not say is :class:`Plan`'s default."""
    config: dict[str, object] = {}
    for record in content.config_records.values():
        config.update(record)
    default = Plan()
    plan = Plan(
        epochs=int(config.get("local-epochs", default.epochs)),  # type: ignore[call-overload]
        batch_size=int(config.get("batch-size", default.batch_size)),  # type: ignore[call-overload]
        lr=float(config.get("lr", default.lr)),  # type: ignore[arg-type]
    )
    return plan, int(config.get("server-round", 0))  # type: ignore[call-overload]


def model_of(content: RecordDict) -> ArrayRecord:
    """The model an instruction carries.

    Raises:
        ValueError: there is not exactly one.
    """
    models = list(content.array_records.values())
    if len(models) != 1:
        raise ValueError(f"content: {len(models)} ArrayRecords are not allowed: an instruction carries exactly one")
    return models[0]


def trained(model: ArrayRecord, num_examples: int, loss: float) -> RecordDict:
    """What a client replies after training."""
    metrics = MetricRecord({"num-examples": num_examples, "train-loss": loss})
    return RecordDict({MODEL: model, METRICS: metrics})


@lru_cache(maxsize=2)
def _problem(task: Task, n: int, seed: int) -> Problem:
    return Problem(task, n, Streams(seed))


class TaskClientApp(ClientApp):
    """A ``ClientApp`` that trains a task's model on the node's own partition.

    It reads ``partition-id`` and ``num-partitions`` from the node's configuration and ``lr``, ``batch-size``, ``local-epochs``
    and ``server-round`` from the instruction. Under ``SimGrid`` the same work is done in cohorts, with equal results.

    Args:
        task: what is learned.
        seed: decides the partition, the initial model and the order of samples.

    Example:
        >>> from decai_sim.learning import Digits
        >>> TaskClientApp(Digits(), seed=7).seed
        7
    """

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__()
        self.task, self.seed = task, seed

        @self.train()
        def train(message: Message, context: Context) -> Message:
            problem, node = self._own(context)
            plan, server_round = plan_of(message.content)
            start = problem.layout.flat(_tensors(model_of(message.content)))
            row, loss = train_alone(problem, start, node, server_round, plan)
            model = ArrayRecord(problem.layout.views(row))
            return Message(trained(model, int(problem.n_samples[node]), loss), reply_to=message)

        @self.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            problem, node = self._own(context)
            index = torch.as_tensor(problem.samples[node])
            accuracy, loss = 0.0, 0.0
            if len(index):
                params = _tensors(model_of(message.content))
                with torch.no_grad():
                    logits = torch.func.functional_call(problem.module, params, (problem.inputs(index),))
                y = problem.labels(index)
                accuracy = float((logits.argmax(1) == y).float().mean())
                loss = float(torch.nn.functional.cross_entropy(logits, y))
            metrics = MetricRecord({"num-examples": len(index), "accuracy": accuracy, "loss": loss})
            return Message(RecordDict({METRICS: metrics}), reply_to=message)

    def _own(self, context: Context) -> tuple[Problem, int]:
        n, node = int(context.node_config["num-partitions"]), int(context.node_config["partition-id"])
        return _problem(self.task, n, self.seed), node


def _tensors(record: ArrayRecord) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array.numpy()) for name, array in record.items()}


def initial_record(problem: Problem) -> ArrayRecord:
    """The model that a problem's training starts from, serialised."""
    return ArrayRecord(problem.layout.views(problem.initial()))


def initial_model(task: Task, seed: int, n: int) -> ArrayRecord:
    """The model that a task's training starts from, serialised.

    Args:
        task: what is learned.
        seed: decides the draw, as it does for :class:`TaskClientApp`.
        n: number of nodes.

    Example:
        >>> from decai_sim.learning import Digits
        >>> [array.shape for array in initial_model(Digits(), seed=7, n=4).values()]
        [(10, 64), (10,)]
    """
    return initial_record(_problem(task, n, seed))
