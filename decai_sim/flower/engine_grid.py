"""``SimGrid`` as Flower's own engine would be: with its polls and its process starts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flwr.app import Message

from decai_sim.flower.engine_model import EngineModel, next_poll_s, pulled_s
from decai_sim.flower.executors import Exchange, Executor
from decai_sim.flower.grid import SimGrid

if TYPE_CHECKING:
    from decai_sim.flower.adversary import Adversary
    from decai_sim.flower.handoff import AppStrand
    from decai_sim.world.world import World


class EngineGrid(SimGrid):
    """A ``SimGrid`` on which messages wait as they do in Flower's own engine; see :class:`EngineModel`.

    Args:
        world: where it happens.
        executor: who does the nodes' work.
        app: the ``ServerApp`` that holds the grid.
        adversary: who tampers with replies; None: nobody.
        engine: what the engine is like.
    """

    def __init__(
        self, world: World, executor: Executor, app: AppStrand, adversary: Adversary | None, engine: EngineModel
    ) -> None:
        super().__init__(world, executor, app, adversary)
        self._engine = engine
        if engine.flops_per_s is not None:
            world.flops_per_s = [engine.flops_per_s] * world.n
        self._draw = world.streams.of("engine")
        self._polls_s: list[float] = self._draw.uniform(0, engine.node_poll_s, world.n).tolist()  # since then, regularly
        self._busy = [False] * world.n
        self._queued: dict[int, deque[tuple[Exchange, str]]] = {}
        self._at: dict[str, int] = {}  # who works on what
        self._started_s: dict[str, float] = {}
        self._announced_s: dict[str, float] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages = list(messages)
        if messages:
            self._app.sleep(self._engine.server_s)
        return super().push_messages(messages)

    # -- at the node ----------------------------------------------------------------------------------------------------------

    def _dispatch(self, exchange: Exchange, message_id: str) -> None:
        """Leave an instruction at the SuperLink until its SuperNode, which does one thing after the other, asks for it."""
        self._queued.setdefault(exchange.node, deque()).append((exchange, message_id))
        self._look(exchange.node)

    def _look(self, node: int) -> None:
        if self._queued.get(node) and not self._busy[node]:
            self._busy[node] = True
            at_s = next_poll_s(self._world.clock.now, self._polls_s[node], self._engine.node_poll_s)
            self._world.clock.at(at_s, self._take, node)

    def _take(self, node: int) -> None:
        if not self._queued[node]:
            return
        exchange, message_id = self._queued[node].popleft()
        self._at[message_id] = node
        self._started_s[message_id] = self._world.clock.now + float(self._draw.uniform(0, self._engine.task_poll_s))
        super()._dispatch(exchange, message_id)

    def _instruction_arrived(self, exchange: Exchange, message_id: str) -> None:
        """The process has been started meanwhile; it begins when the content is there."""
        now = self._world.clock.now
        called_s = pulled_s(self._started_s.pop(message_id) + self._engine.start_s, now)
        self._world.clock.at(called_s, super()._instruction_arrived, exchange, message_id)

    def _work_done(self, exchange: Exchange, message_id: str) -> None:
        now, engine = self._world.clock.now, self._engine
        seen_s = now + engine.end_s + float(self._draw.uniform(0, engine.reply_poll_s))
        self._announced_s[message_id] = seen_s
        self._world.clock.at(seen_s, super()._work_done, exchange, message_id)

    def _answer(self, message_id: str) -> None:
        node = self._at.pop(message_id, None)
        if node is not None:  # not an error in its stead
            self._polls_s[node], self._busy[node] = self._world.clock.now, False
            self._look(node)
        super()._answer(message_id)

    def _node_left(self, node: int, began_s: float) -> None:
        self._busy[node] = False
        super()._node_left(node, began_s)

    # -- at the server --------------------------------------------------------------------------------------------------------

    def _wait(self, ids: set[str], until_s: float | None = None, wanted: int | None = None) -> None:
        """Look for replies every now and then, as Flower's ``HttpGrid`` does."""
        clock, end_s = self._world.clock, math.inf if until_s is None else until_s
        # Who does not wait for all looks every second: FirstReplies does.
        every_s = self._engine.grid_poll_s if wanted is None else 1.0
        while clock.now < end_s:
            self._pull(ids)
            came = [self._open[i] for i in ids if self._open[i].answered]
            enough = len(ids) if wanted is None else wanted
            if len(came) == len(ids) or sum(exchange.reply is None for exchange in came) >= enough:
                return
            self._app.sleep(min(every_s, end_s - clock.now))

    def _pull(self, ids: set[str]) -> None:
        """Get what has been announced, one after the other, waiting for what is not complete."""
        for message_id in sorted(ids, key=int):
            announced_s, asked_s = self._announced_s.get(message_id, math.inf), self._world.clock.now
            again_s = 0.0
            while announced_s <= asked_s and not self._open[message_id].answered:
                again_s = min(2 * again_s, 10.0) or 1.0
                self._app.sleep(again_s)
