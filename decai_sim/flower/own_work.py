"""Nodes without a server whose training is somebody's ``ClientApp``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp

from decai_sim.errors import ScenarioError
from decai_sim.flower import apps, arrays, compat
from decai_sim.flower.executors import Content, Exchange, MessageExecutor
from decai_sim.learning.jobs import Job
from decai_sim.learning.store import Row, Store
from decai_sim.learning.trainer import Trainer
from decai_sim.learning.values import Value, row_of

if TYPE_CHECKING:
    from decai_sim.attacks.base import Attack
    from decai_sim.learning.execution import Execution
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.training import Plan
    from decai_sim.seeding import Streams


class AppTrainer(Trainer):
    """Trains nodes by calling a ``ClientApp`` when they begin, one by one, as a SuperNode would.

    Args:
        app: anybody's message-API ``ClientApp``; it gets a model under ``arrays`` and how to train under ``config``, as from
            Flower's ``FedAvg``, and replies with a model.
        problem: what models look like, and how they are measured.
        store: where they are kept.
        streams: the run's.
        run_config: what its ``Context`` carries.
        work_flops: FLOPs of a training; None: counted.
        checkpoint: called before each; may raise to stop.
    """

    knows_data = False

    def __init__(
        self,
        app: ClientApp,
        problem: Problem,
        store: Store,
        streams: Streams,
        run_config: dict[str, Any],
        work_flops: float | None = None,
        checkpoint: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(problem, store, checkpoint)
        self._look = checkpoint
        self._executor = MessageExecutor(app, problem.n, streams, run_config, work_flops)
        self._at_work: dict[int, Exchange] = {}

    def begin(self, node: int, server_round: int, start: Row | Value, plan: Plan, control: Row | None = None) -> Job:
        """Train at once.

        Raises:
            ScenarioError: the app fails, or replies with something else than a model like those it gets.
        """
        self._look()
        job = Job(node, server_round, start, plan)
        if isinstance(start, Value):
            self.complete([start])
        layout = self.problem.layout
        config = ConfigRecord({**apps.plan_record(plan), "server-round": server_round})
        content = RecordDict({apps.MODEL: arrays.to_record(row_of(start), layout), apps.CONFIG: config})
        message = Message(content, apps.node_id(node), MessageType.TRAIN)
        exchange = Exchange(node, message, Content(content, 0), float("inf"))
        job.work_flops = self._executor.begin(exchange)
        self._at_work[node] = exchange
        reply: Message = exchange.work
        if reply.has_error():
            raise ScenarioError(f"client_app: node {node} failed: {reply.error.reason}")
        try:
            row = arrays.to_row(apps.model_of(reply.content), self.store, layout)
        except (TypeError, ValueError) as error:
            raise ScenarioError(f"client_app: node {node} replied with no model like the one it got: {error}") from None
        job.result = row
        return job

    def finished(self, job: Job) -> None:
        """The app keeps what its context holds."""
        self._executor.finished(self._at_work.pop(job.node))

    def left(self, node: int) -> None:
        """Its context is as it was before."""
        self._at_work.pop(node, None)
        self._executor.left(node)


@contextmanager
def trainer_of(
    app: ClientApp,
    problem: Problem,
    streams: Streams,
    execution: Execution,
    now_s: Callable[[], float],
    checkpoint: Callable[[], object],
    *,
    attack: Attack | None = None,
    run_config: dict[str, Any] | None = None,
    work_flops: float | None = None,
) -> Iterator[Trainer]:
    """Who trains the nodes of a run: ``app``, called message by message; of our own ``ClientApp``, cohorts with equal results.

    Args:
        app: anybody's message-API ``ClientApp``.
        problem: what models look like, and how they are measured.
        streams: the run's.
        execution: how our own app's training is carried out.
        now_s: the run's clock.
        checkpoint: called before each training; may raise to stop.
        attack: what Byzantine nodes do; of apps that load their own data, none can be.
        run_config: what the app's ``Context`` carries.
        work_flops: FLOPs of a training; None: counted.

    Raises:
        ScenarioError: the app cannot be run this way.
    """
    if not compat.is_message_api(app):
        raise ScenarioError(
            "client_app: an app without message functions (client_fn style, deprecated by Flower) is not allowed; "
            "write it with @app.train()"
        )
    if isinstance(app, apps.TaskClientApp):
        apps.check_same(app, problem.task, streams.seed)
        with execution.trainer(problem, checkpoint) as trainer:
            yield trainer
        return
    if attack is not None:
        raise ScenarioError(
            f"attack.kind: {attack.kind!r} is not allowed: it changes training data, and this ClientApp loads its own"
        )
    store = Store(problem.layout.d, problem.device)
    with ExitStack() as stack:
        stack.enter_context(compat.turn(checkpoint))
        stack.enter_context(compat.substituted(app))
        stack.enter_context(compat.entered(compat.Session(1, now_s)))
        yield AppTrainer(app, problem, store, streams, run_config or {}, work_flops, checkpoint)
