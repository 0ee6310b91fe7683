"""How client work is carried out: message by message for anybody's ``ClientApp``, in cohorts for ours."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from flwr.app import ArrayRecord, Context, Error, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from torch.utils.flop_counter import FlopCounterMode

from decai_sim.errors import ScenarioError
from decai_sim.flower import apps, arrays, compat
from decai_sim.learning import evaluation
from decai_sim.learning.jobs import Job
from decai_sim.learning.store import Row
from decai_sim.learning.trainer import Trainer
from decai_sim.learning.training import Plan, with_personal, work_flops
from decai_sim.learning.values import row_of

if TYPE_CHECKING:
    from decai_sim.seeding import Streams


@dataclass(frozen=True, eq=False)
class Finished:
    """A model that a node has trained, as it left the node."""

    node: int
    at_s: float
    model: ArrayRecord


@dataclass(frozen=True, eq=False)
class Program:
    """What an instruction to :class:`~decai_sim.flower.apps.TaskClientApp` asks for."""

    row: Row
    control: Row | None
    plan: Plan
    server_round: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A node is asked how well a model does on its own samples."""

    node: int
    program: Program
    last: Job | None = None
    """What it had trained by then."""


@dataclass(eq=False)
class Content:
    """What was pushed, frozen at that moment and shared by all messages that carried the same object.

    ``program`` is what it asks a node to do, once read; ``asked`` are the nodes that were sent it to train; ``finished`` is what
    an adversary knows to have come of it.
    """

    record: RecordDict
    nbytes: int
    program: Program | None = None
    asked: list[int] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)


@dataclass(eq=False)
class Exchange:
    """One instruction message and what becomes of it.

    Times are virtual seconds; None: not yet. ``slept_s`` is how long the node only waits, on top of its work; ``forgotten``: the
    node works on, but nobody will read what it replies; ``kept``: what its context holds after the work.
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
    forgotten: bool = False
    kept: RecordDict | None = None

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

    def forget(self, exchange: Exchange) -> None:
        """Nobody will read the reply."""

    def finished(self, exchange: Exchange) -> None:
        """The node has done it."""
        ...

    def left(self, node: int) -> None:
        """The node has gone; what it had not done is lost."""
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
        self._kept: dict[int, RecordDict] = {}  # what nodes' contexts held after the last work that was done
        self._begun: set[int] = set()  # who may hold something else by now

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
        state = self._context(node).state
        if len(state) or node in self._kept:
            exchange.kept = arrays.snapshot(state)
            self._begun.add(node)
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

    def forget(self, exchange: Exchange) -> None:
        """The work has been done."""

    def finished(self, exchange: Exchange) -> None:
        """What the app has kept by then stays."""
        if exchange.kept is not None:
            self._kept[exchange.node], exchange.kept = exchange.kept, None

    def left(self, node: int) -> None:
        """What the app has kept of work that is lost is lost, too."""
        if node in self._begun:
            self._begun.discard(node)
            self._context(node).state = arrays.snapshot(self._kept[node]) if node in self._kept else RecordDict()

    def complete(self, exchanges: Sequence[Exchange]) -> None:
        """Hand over what the app replied."""
        for exchange in exchanges:
            if exchange.reply is None:
                assert exchange.finished_s is not None
                exchange.reply = compat.dated(exchange.work, exchange.message, exchange.finished_s)


class CohortExecutor:
    """Carries out :class:`~decai_sim.flower.apps.TaskClientApp`: nothing is computed until replies are handed over.

    Args:
        trainer: trains the nodes, with the samples they really hold (poisoned ones included).
        others: carries out what is neither training nor evaluating.
    """

    def __init__(self, trainer: Trainer, others: Executor) -> None:
        self.trainer, self._problem, self._others = trainer, trainer.problem, others
        self._reply_bytes: dict[str, int] = {}

    def begin(self, exchange: Exchange) -> float:
        """Note what is to be done; what cannot be is left to the app itself, which says why."""
        kind, node = exchange.message.metadata.message_type, exchange.node
        if kind not in apps.TRAINING + apps.EVALUATING:
            return self._others.begin(exchange)
        try:
            program = self._program(exchange.content)
        except (TypeError, ValueError):
            return self._others.begin(exchange)
        if kind in apps.EVALUATING:
            exchange.work = Evaluation(node, program, self.trainer.latest(node))
            return float(self._problem.forward_flops * len(self._problem.own_tests[node]))
        exchange.work = self.trainer.begin(node, program.server_round, program.row, program.plan, program.control)
        return work_flops(self._problem, node, program.plan)

    def _program(self, content: Content) -> Program:
        if content.program is None:
            layout, store, control = self._problem.layout, self.trainer.store, apps.control_of(content.record)
            row = arrays.to_row(apps.model_of(content.record), store, layout)
            plan, server_round = apps.plan_of(content.record)
            layout.named(plan.personal)
            content.program = Program(row, None if control is None else arrays.to_row(control, store, layout), plan, server_round)
        return content.program

    def reply_bytes(self, exchange: Exchange) -> int:
        """Size of a reply: the same for all of a kind."""
        work = exchange.work
        if isinstance(work, Evaluation):
            return self._size("evaluate", lambda: apps.evaluated(1, 0.0, 0.0))
        if not isinstance(work, Job):
            return self._others.reply_bytes(exchange)
        kind = "scaffold" if work.plan.scaffold else "train"
        return self._size(kind, partial(self._trained, row_of(work.start), work.plan))

    def _trained(self, row: Row, plan: Plan) -> RecordDict:
        model = arrays.to_record(row, self._problem.layout)
        return apps.trained(model, 0, 0.0, model if plan.scaffold else None)

    def _size(self, kind: str, reply: Callable[[], RecordDict]) -> int:
        if kind not in self._reply_bytes:
            self._reply_bytes[kind] = arrays.wire_bytes(reply())
        return self._reply_bytes[kind]

    def finished(self, exchange: Exchange) -> None:
        """The node keeps what came of it."""
        if isinstance(exchange.work, Job):
            self.trainer.finished(exchange.work)
        elif not isinstance(exchange.work, Evaluation):
            self._others.finished(exchange)

    def left(self, node: int) -> None:
        """It keeps what it had."""
        self.trainer.left(node)
        self._others.left(node)

    def forget(self, exchange: Exchange) -> None:
        """Leave it out of cohorts that have room."""
        if isinstance(exchange.work, Job):
            self.trainer.forget(exchange.work)

    def complete(self, exchanges: Sequence[Exchange]) -> None:
        """Train all that were asked for, together, and evaluate."""
        waiting = [exchange for exchange in exchanges if exchange.reply is None]
        training = [exchange for exchange in waiting if isinstance(exchange.work, Job)]
        self.trainer.complete([exchange.work for exchange in training])
        layout = self._problem.layout
        for exchange in training:
            job: Job = exchange.work
            assert job.result is not None
            change = None if job.change is None else arrays.to_record(job.change, layout)
            content = apps.trained(arrays.to_record(job.result, layout), int(self._problem.n_samples[job.node]), job.loss, change)
            self._answer(exchange, content)
        self._evaluate([exchange for exchange in waiting if isinstance(exchange.work, Evaluation)])
        self._others.complete([e for e in exchanges if not isinstance(e.work, Job | Evaluation)])

    def _evaluate(self, exchanges: Sequence[Exchange]) -> None:
        of_model: dict[int, list[Exchange]] = {}
        for exchange in exchanges:
            of_model.setdefault(id(exchange.work.program), []).append(exchange)
        for same in of_model.values():
            program: Program = same[0].work.program
            nodes, row = [exchange.node for exchange in same], program.row.tensor()
            samples = [self._problem.own_tests[node] for node in nodes]
            if program.plan.personal:
                own = [self.trainer.personal(exchange.work.last) or program.row for exchange in same]
                rows = with_personal(self._problem, row, self.trainer.store.gather(own), program.plan)
                accuracy, loss = evaluation.each_its_own(self._problem, rows, samples)
            else:
                accuracy, loss = evaluation.one_for_all(self._problem, row, samples)
            for number, exchange in enumerate(same):
                count = len(samples[number])
                self._answer(exchange, apps.evaluated(count, float(accuracy[number]), float(loss[number])))

    @staticmethod
    def _answer(exchange: Exchange, content: RecordDict) -> None:
        assert exchange.finished_s is not None
        exchange.reply = compat.dated(Message(content, reply_to=exchange.message), exchange.message, exchange.finished_s)


def only_arrays(content: RecordDict) -> tuple[str, ArrayRecord]:
    """The one model in a message, and its key.

    Raises:
        ScenarioError: there is none, or more than one.
    """
    found = [(name, record) for name, record in content.array_records.items() if name != apps.CONTROL]
    if len(found) != 1:
        raise ScenarioError(f"attack: cannot be applied to messages with {len(found)} ArrayRecords; exactly one is needed")
    return found[0]
