"""How client work is carried out: message by message for anybody's ``ClientApp``, in cohorts for ours."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from flwr.app import ArrayRecord, Context, Error, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from torch.utils.flop_counter import FlopCounterMode

from decai_sim.errors import ScenarioError
from decai_sim.flower import apps, arrays, compat
from decai_sim.learning import cohort
from decai_sim.learning.store import Row, Store
from decai_sim.learning.training import work_flops

if TYPE_CHECKING:
    from decai_sim.learning.problem import Problem
    from decai_sim.seeding import Streams


@dataclass(frozen=True, eq=False)
class Finished:
    """A model that a node has trained, as it left the node."""

    node: int
    at_s: float
    model: ArrayRecord


@dataclass(eq=False)
class Content:
    """What was pushed, frozen at that moment and shared by all messages that carried the same object.

    ``asked`` are the nodes that were sent it to train; ``finished`` is what an adversary knows to have come of it.
    """

    record: RecordDict
    nbytes: int
    row: Row | None = None
    asked: list[int] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)


@dataclass(eq=False)
class Exchange:
    """One instruction message and what becomes of it.

    Times are virtual seconds; None: not yet. ``slept_s`` is how long the node only waits, on top of its work.
    """

    node: int
    message: Message
    content: Content
    expires_s: float
    work: Any = None
    slept_s: float = 0.0
    finished_s: float | None = None
    arrived_s: float | None = None
    reply: Message | None = None

    @property
    def answered(self) -> bool:
        """Whether a reply or an error is there to be pulled."""
        return self.arrived_s is not None

    @property
    def is_training(self) -> bool:
        """Whether a model was asked for."""
        return self.message.metadata.message_type.split(".")[0] == MessageType.TRAIN


class Executor(Protocol):
    """What :class:`~decai_sim.flower.grid.SimGrid` needs of whoever does the nodes' work."""

    def begin(self, exchange: Exchange) -> float:
        """Take up an instruction at its node; returns the work it takes, FLOPs."""
        ...

    def reply_bytes(self, exchange: Exchange) -> int:
        """Size of the reply on the wire, bytes."""
        ...

    def complete(self, exchanges: Sequence[Exchange]) -> None:
        """Set ``reply`` of every exchange that has none."""
        ...


def contexts(n: int, run_config: dict[str, Any]) -> Callable[[int], Context]:
    """Contexts of nodes 0 … n−1, each made once and kept, as a SuperNode keeps it."""
    made: dict[int, Context] = {}

    def of(node: int) -> Context:
        if node not in made:
            config: dict[str, Any] = {"partition-id": node, "num-partitions": n}
            made[node] = Context(1, apps.node_id(node), config, RecordDict(), dict(run_config))
        return made[node]

    return of


class MessageExecutor:
    """Calls a ``ClientApp`` for every message, as a SuperNode would.

    The work it takes is counted once per node and kind of message with ``torch.utils.flop_counter``, unless stated.

    Args:
        app: anybody's message-API ``ClientApp``.
        n: number of nodes.
        streams: the run's streams; each call sees global generators of its own.
        run_config: what its ``Context`` carries.
        stated_flops: FLOPs of every instruction; None: count them.
    """

    def __init__(
        self, app: ClientApp, n: int, streams: Streams, run_config: dict[str, Any], stated_flops: float | None = None
    ) -> None:
        self._app, self._streams, self._stated = app, streams, stated_flops
        self._context = contexts(n, run_config)
        self._flops: dict[tuple[int, str], float] = {}
        self._calls: dict[int, int] = {}

    def begin(self, exchange: Exchange) -> float:
        """Call the app; what it raises becomes Flower's error reply."""
        node, kind = exchange.node, exchange.message.metadata.message_type
        calls = self._calls[node] = self._calls.get(node, 0) + 1
        instruction = exchange.message
        instruction.content = arrays.snapshot(exchange.content.record)
        known = self._stated if self._stated is not None else self._flops.get((node, kind))
        with compat.rng_of(self._streams, "client", node, calls).in_place():
            if known is None:
                with FlopCounterMode(display=False) as counter:
                    self._call(instruction, exchange)
                known = float(counter.get_total_flops())
                if not exchange.work.has_error():
                    self._check(known, exchange)
                    self._flops[node, kind] = known
            else:
                self._call(instruction, exchange)
        return known

    def _call(self, instruction: Message, exchange: Exchange) -> None:
        try:
            with compat.sleeps_counted() as slept:
                reply = self._app(instruction, self._context(exchange.node))
            exchange.slept_s = sum(slept)
            reply.content = arrays.snapshot(reply.content)
        except Exception as error:
            reason = "".join(traceback.format_exception_only(error)).strip()
            reply = Message(Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=instruction)
        exchange.work = reply

    def _check(self, flops: float, exchange: Exchange) -> None:
        if flops == 0 and exchange.is_training and not self._flops:
            raise ScenarioError(
                "work_flops: None is not allowed for this ClientApp: its training does no torch operations to count; "
                "state the work of one instruction, as in ds.flower.run(..., work_flops=1e9)"
            )

    def reply_bytes(self, exchange: Exchange) -> int:
        """Size of what the app replied."""
        reply: Message = exchange.work
        return arrays.wire_bytes(reply.content if reply.has_content() else None)

    def complete(self, exchanges: Sequence[Exchange]) -> None:
        """Hand over what the app replied."""
        for exchange in exchanges:
            if exchange.reply is None:
                assert exchange.finished_s is not None
                exchange.reply = compat.dated(exchange.work, exchange.message, exchange.finished_s)


class CohortExecutor:
    """Carries out :class:`~decai_sim.flower.apps.TaskClientApp`: nothing is computed until replies are handed over.

    Args:
        problem: what the nodes learn, with the samples they really hold (poisoned ones included).
        store: where models are kept.
        others: carries out what is not training.
        checkpoint: called between cohorts; may raise to stop.
    """

    def __init__(self, problem: Problem, store: Store, others: Executor, checkpoint: Callable[[], object] = lambda: None) -> None:
        self._problem, self._store, self._others, self._checkpoint = problem, store, others, checkpoint
        self._reply_bytes: int | None = None

    def begin(self, exchange: Exchange) -> float:
        """Note what is to be trained; what cannot be is left to the app itself, which says why."""
        try:
            job = exchange.work = self._job(exchange)
        except (TypeError, ValueError):
            return self._others.begin(exchange)
        return work_flops(self._problem, job.node, job.plan)

    def _job(self, exchange: Exchange) -> cohort.Job:
        content, kind = exchange.content, exchange.message.metadata.message_type
        if kind not in apps.TRAINING:
            raise ValueError(f"message_type: {kind!r} is not training")
        if content.row is None:
            content.row = arrays.to_row(apps.model_of(content.record), self._store, self._problem.layout)
        plan, server_round = apps.plan_of(content.record)
        return cohort.Job(exchange.node, server_round, content.row, plan)

    def reply_bytes(self, exchange: Exchange) -> int:
        """Size of a reply with a trained model; the same for all."""
        if not isinstance(exchange.work, cohort.Job):
            return self._others.reply_bytes(exchange)
        if self._reply_bytes is None:
            content = exchange.content
            assert content.row is not None
            self._reply_bytes = arrays.wire_bytes(apps.trained(arrays.to_record(content.row, self._problem.layout), 0, 0.0))
        return self._reply_bytes

    def complete(self, exchanges: Sequence[Exchange]) -> None:
        """Train all that were asked for, together."""
        training = [e for e in exchanges if isinstance(e.work, cohort.Job) and e.reply is None]
        cohort.train(self._problem, self._store, [exchange.work for exchange in training], self._checkpoint)
        for exchange in training:
            job: cohort.Job = exchange.work
            assert job.result is not None
            record = arrays.to_record(job.result, self._problem.layout)
            content = apps.trained(record, int(self._problem.n_samples[job.node]), job.loss)
            assert exchange.finished_s is not None
            exchange.reply = compat.dated(Message(content, reply_to=exchange.message), exchange.message, exchange.finished_s)
        self._others.complete([e for e in exchanges if not isinstance(e.work, cohort.Job)])


def only_arrays(content: RecordDict) -> tuple[str, ArrayRecord]:
    """The one model in a message, and its key.

    Raises:
        ScenarioError: there is none, or more than one.
    """
    found = list(content.array_records.items())
    if len(found) != 1:
        raise ScenarioError(f"attack: cannot be applied to messages with {len(found)} ArrayRecords; exactly one is needed")
    return found[0]
