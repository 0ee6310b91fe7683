"""Our Flower apps: ordinary ones, which also run under ``flwr run`` and on a real SuperLink."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from decai_sim.component import parse
from decai_sim.errors import ScenarioError
from decai_sim.flower import compat
from decai_sim.learning import evaluation
from decai_sim.learning.problem import Problem
from decai_sim.learning.training import Memory, Plan, train_alone, with_personal
from decai_sim.seeding import Streams

if TYPE_CHECKING:
    from decai_sim.learning.tasks import Task

MODEL, CONFIG, METRICS = "arrays", "config", "metrics"
CONTROL = "control"
"""Control variates, in an instruction the server's; in a reply, by how much the node's have changed."""
TRAINING = (MessageType.TRAIN, f"{MessageType.TRAIN}.default")
"""Types of messages that :class:`TaskClientApp` trains for,"""
EVALUATING = (MessageType.EVALUATE, f"{MessageType.EVALUATE}.default")
"""and for which it tells how well a model does on its own samples."""
_STATE = "decai_sim"
_FIRST_NODE_ID = 2
"""Flower's SuperLink is node 1."""


def node_id(node: int) -> int:
    """Flower's id of node 0 … n−1."""
    return node + _FIRST_NODE_ID


def node_of(flower_id: int) -> int:
    """The node with Flower's id."""
    return flower_id - _FIRST_NODE_ID


_KEYS = {
    "local-epochs": "epochs",
    "batch-size": "batch_size",
    "lr": "lr",
    "local-steps": "steps",
    "optimiser": "optimiser",
    "proximal-mu": "prox_mu",
    "clip-norm": "clip_norm",
    "scaffold": "scaffold",
    "keep-state": "keep",
    "personal": "personal",
    "precision": "precision",
}
"""What an instruction calls the fields of a :class:`Plan`; ``proximal-mu`` as Flower's ``FedProx`` sends it."""
_ALWAYS = ("local-epochs", "batch-size", "lr")


def plan_record(plan: Plan) -> ConfigRecord:
    """How to train, as a server tells its clients."""
    default, config = Plan(), {}
    for key, name in _KEYS.items():
        value = getattr(plan, name)
        if key in _ALWAYS or value != getattr(default, name):
            config[key] = _plain(value)
    return ConfigRecord(config)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_config"):
        return json.dumps(value.to_config())
    return list(value) if isinstance(value, tuple) else value


def plan_of(content: RecordDict) -> tuple[Plan, int]:
    """How to train and which round it is, read from an instruction; what it does not say is :class:`Plan`'s default.

    Raises:
        ValueError: a value is not what it should be.
    """
    config: dict[str, Any] = {}
    for record in content.config_records.values():
        config.update(record)
    default, fields = Plan(), {}
    for key, name in _KEYS.items():
        if key not in config:
            continue
        value, usual = config[key], getattr(default, name)
        if key == "optimiser":
            text = str(value)
            fields[name] = parse("optimisers", json.loads(text) if text.startswith("{") else text)
        elif key == "personal":
            fields[name] = (value,) if isinstance(value, str) else tuple(value)
        else:
            kind = {"local-steps": int, "clip-norm": float}.get(key, type(usual))
            fields[name] = kind(value)
    return Plan(**fields), int(config.get("server-round", 0))


def model_of(content: RecordDict) -> ArrayRecord:
    """The model an instruction carries.

    Raises:
        ValueError: there is not exactly one.
    """
    models = [record for name, record in content.array_records.items() if name != CONTROL]
    if len(models) != 1:
        raise ValueError(f"content: {len(models)} ArrayRecords are not allowed: an instruction carries exactly one")
    return models[0]


def control_of(content: RecordDict) -> ArrayRecord | None:
    """The control variates it carries, if any."""
    control: ArrayRecord | None = content.array_records.get(CONTROL)
    return control


def trained(model: ArrayRecord, num_examples: int, loss: float, control: ArrayRecord | None = None) -> RecordDict:
    """What a client replies after training."""
    metrics = compat.filled(MetricRecord(), {"num-examples": int(num_examples), "train-loss": float(loss)})
    records = {MODEL: model, METRICS: metrics} if control is None else {MODEL: model, CONTROL: control, METRICS: metrics}
    return compat.filled(RecordDict(), records)


def evaluated(num_examples: int, accuracy: float, loss: float) -> RecordDict:
    """What a client replies after evaluating; 0 where it has no samples."""
    if not num_examples:
        accuracy = loss = 0.0
    return RecordDict({METRICS: MetricRecord({"num-examples": num_examples, "accuracy": accuracy, "loss": loss})})


@lru_cache(maxsize=2)
def _problem(task: Task, n: int, seed: int) -> Problem:
    return Problem(task, n, Streams(seed))


class TaskClientApp(ClientApp):
    """A ``ClientApp`` that trains a task's model on the node's own partition.

    It reads ``partition-id`` and ``num-partitions`` from the node's configuration, and from the instruction ``server-round`` and
    how to train: ``lr``, ``batch-size``, ``local-epochs`` or ``local-steps``, ``optimiser`` (plain data as JSON, or its kind),
    ``proximal-mu``, ``clip-norm``, ``scaffold``, ``keep-state``, ``personal``, ``precision``; see :class:`Plan`. What it keeps
    between rounds is in its context's state. Under ``SimGrid`` the same work is done in cohorts, with equal results.

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
            start, control = _row(problem, model_of(message.content)), control_of(message.content)
            before = _recall(context)
            theirs = None if control is None else _row(problem, control)
            done = train_alone(problem, start, node, server_round, plan, before, theirs)
            _remember(context, done.memory)
            model, change = ArrayRecord(problem.layout.views(done.row)), None
            if done.memory.control is not None:
                moved = done.memory.control if before.control is None else done.memory.control - before.control
                change = ArrayRecord(problem.layout.views(moved))
            return Message(trained(model, int(problem.n_samples[node]), done.loss, change), reply_to=message)

        @self.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            problem, node = self._own(context)
            plan, _ = plan_of(message.content)
            row = with_personal(problem, _row(problem, model_of(message.content)), _recall(context).personal, plan)
            own = problem.own_tests[node]
            accuracy, loss = evaluation.one_for_all(problem, row, [own])
            return Message(evaluated(len(own), float(accuracy[0]), float(loss[0])), reply_to=message)

    def _own(self, context: Context) -> tuple[Problem, int]:
        n, node = int(context.node_config["num-partitions"]), int(context.node_config["partition-id"])
        return _problem(self.task, n, self.seed), node


def check_same(app: TaskClientApp, task: Task, seed: int) -> None:
    """Find out whether an app learns what a scenario does.

    Raises:
        ScenarioError: it does not.
    """
    if (app.task, app.seed) != (task, seed):
        raise ScenarioError(
            f"client_app: TaskClientApp({app.task!r}, seed={app.seed}) is not allowed in a scenario "
            f"with task={task!r}, seed={seed}: give both the same task and seed"
        )


def _row(problem: Problem, record: ArrayRecord) -> torch.Tensor:
    return problem.layout.flat({name: torch.tensor(array.numpy()) for name, array in record.items()})


def _recall(context: Context) -> Memory:
    """What the node kept in its context, whole or not at all."""
    state: Any = context.state.array_records.get(_STATE, {})
    return Memory(**{name: torch.tensor(array.numpy()) for name, array in state.items()})


def _remember(context: Context, memory: Memory) -> None:
    kept = {name: row for name, row in vars(memory).items() if row is not None}
    if kept:
        context.state[_STATE] = ArrayRecord(kept)


def server_app(work: Callable[[Grid], object]) -> ServerApp:
    """A ``ServerApp`` that does ``work`` on its grid."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        work(grid)

    return app


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
