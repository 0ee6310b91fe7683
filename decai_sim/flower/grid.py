"""``SimGrid``: Flower's ``Grid`` on the simulated internet, in virtual time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from decai_sim.flower import apps, arrays, compat
from decai_sim.flower.executors import Content, Exchange, Executor
from decai_sim.world.world import SERVER

if TYPE_CHECKING:
    from decai_sim.flower.adversary import Adversary
    from decai_sim.flower.handoff import AppStrand
    from decai_sim.world.world import World

_SAME_INSTANT_LISTINGS = 100
"""A ``ServerApp`` that lists nodes this often without doing anything else is waiting for the list to change."""


class SimGrid(Grid):
    """A real Flower ``Grid``: what a ``ServerApp`` pushes travels the simulated internet, and so do the replies.

    Messages are snapshots: what is done to a record after it was pushed, or after a reply was pulled, changes nothing that was
    sent. A pushed message ends in a reply, or in Flower's error: the node was struck off the list, or the message's time to live
    passed. A message that is lost on the way shows only as the latter.

    Reading is like Flower's, with one addition: who asks again at the same instant of virtual time, having learnt nothing, is
    waiting for something to happen, and time goes on.

    Args:
        world: where it happens.
        executor: who does the nodes' work.
        app: the ``ServerApp`` that holds the grid.
        adversary: who tampers with replies; None: nobody.

    Example:
        It is made by :func:`decai_sim.flower.run`, whose example shows a ``ServerApp`` at work on one.

        >>> from flwr.serverapp import Grid
        >>> issubclass(SimGrid, Grid)
        True
    """

    def __init__(self, world: World, executor: Executor, app: AppStrand, adversary: Adversary | None = None) -> None:
        self._world, self._executor, self._app, self._adversary = world, executor, app, adversary
        self._run = compat.FlowerRun.create_empty(run_id=1)
        self._open: dict[str, Exchange] = {}
        self._of_node: dict[int, set[str]] = {}
        self._pushed = 0
        self._waiting_for: set[str] | None = None
        self._ticket = -1
        self._wanted = 0  # with content, before who waits is woken
        self._listings = (-1.0, 0)
        self._pulled_in_vain_s = -1.0
        self.rounds: list[dict[str, Any]] = []
        """One record a ``send_and_receive`` of training messages: when it ended, who was asked, who answered, bytes so far."""
        app.busy = lambda: any(not exchange.answered for exchange in self._open.values())
        app.listing = lambda: (
            f"{len(world.membership.listed())} of {world.n}" + ("" if world.nodes.online[SERVER] else ", the server is offline")
        )
        world.nodes.on_offline.append(self._node_left)

    # -- Flower's interface -------------------------------------------------------------------------------------------------

    def set_run(self, run: Any) -> None:
        """Set the run's information."""
        self._run = run

    @property
    def run(self) -> Any:
        """The run's information."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message (Flower has deprecated this in favour of ``Message``)."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Nodes that the server believes to be online, sorted."""
        self._app.checkpoint()
        self._app.lists()
        now = self._world.clock.now
        at, times = self._listings
        self._listings = (now, times + 1) if at == now else (now, 1)
        if self._listings[1] > _SAME_INSTANT_LISTINGS:
            self._app.sleep(1.0)
        return [apps.node_id(node) for node in self._world.membership.listed().tolist()]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages on their way; returns their ids."""
        self._app.checkpoint()
        self._app.acts()
        contents: dict[int, Content] = {}
        ids = []
        for message in list(messages):
            content = contents.get(id(message.content))
            if content is None:
                frozen = arrays.snapshot(message.content)
                content = contents[id(message.content)] = Content(frozen, arrays.wire_bytes(frozen))
            ids.append(self._push(message, content))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies that have arrived for ``message_ids``, in order of arrival, and errors for messages not known (any more).

        If there is no reply for the second time at this instant, virtual time goes on to the next event first.
        """
        self._app.checkpoint()
        wanted = dict.fromkeys(message_ids)
        ids = {i for i in wanted if i in self._open}
        unknown = [compat.message_unavailable(i) for i in wanted if i not in ids]
        if ids and not any(self._open[i].answered for i in ids):
            now = self._world.clock.now
            if self._pulled_in_vain_s == now:
                self._app.wait_event(f"a reply to any of {len(ids)} messages")
            self._pulled_in_vain_s = now
        return unknown + self._collect(ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push messages and wait, in virtual time, for all replies or for ``timeout`` seconds; later ones are ignored."""
        return self.first_replies(messages, None, timeout)

    def first_replies(self, messages: Iterable[Message], wanted: int | None, timeout: float | None = None) -> list[Message]:
        """As :meth:`send_and_receive`, but only until ``wanted`` replies with content have come; None: all."""
        messages = list(messages)
        began = self._world.clock.now
        ids = set(self.push_messages(messages))
        if not ids:
            return []
        exchanges = [self._open[i] for i in ids]
        self._wait(ids, None if timeout is None else began + timeout, wanted)
        replies = self._collect(ids)
        for message_id in ids & self._open.keys():  # nobody else knows these ids
            late = self._open.pop(message_id)
            self._of_node[late.node].discard(message_id)
            self._forget(late)
        training = [exchange for exchange in exchanges if exchange.is_training]
        if training:
            self._record_round(training)
        return replies

    # -- what happens in virtual time ---------------------------------------------------------------------------------------

    def _push(self, message: Message, content: Content) -> str:
        self._pushed += 1
        message_id = str(self._pushed)
        compat.identify(message, message_id)
        node = apps.node_of(message.metadata.dst_node_id)
        # The client gets a message of its own: the server may go on changing the one it pushed.
        own = compat.copied(message, content.record)
        exchange = Exchange(node, own, content, compat.expires_s(own))
        self._open[message_id] = exchange
        world = self._world
        if not 0 <= node < world.n or not world.membership.lists(node):
            self._fail(message_id, compat.node_unavailable(own), "the node is not connected")
            return message_id
        if exchange.is_training:
            content.asked.append(node)
        self._of_node.setdefault(node, set()).add(message_id)
        world.clock.at(exchange.expires_s, self._expire, message_id)
        self._dispatch(exchange, message_id)
        if not world.nodes.online[node]:
            world.clock.at(world.membership.lapses_s(node), self._check_lapse, node)
        return message_id

    def _dispatch(self, exchange: Exchange, message_id: str) -> None:
        kind, nbytes = exchange.message.metadata.message_type, exchange.content.nbytes
        self._world.links.send(SERVER, exchange.node, nbytes, kind, self._instruction_arrived, exchange, message_id)

    def compute(self, flops: float) -> None:
        """Let the server work, and virtual time go by."""
        if flops <= 0:
            return
        world = self._world
        world.trace.event(world.clock.now, SERVER, "job_start", "aggregate")
        self._app.sleep(flops / world.server_flops_per_s)
        world.trace.event(world.clock.now, SERVER, "job_end", "aggregate")

    def _instruction_arrived(self, exchange: Exchange, message_id: str) -> None:
        kind = exchange.message.metadata.message_type
        work = self._executor.begin(exchange)
        if self._adversary is not None and self._adversary.rushes(exchange):
            work = 0.0
        if exchange.forgotten:
            self._executor.forget(exchange)
        work += exchange.slept_s * self._world.flops_per_s[exchange.node]  # a node that sleeps is busy for that long
        self._world.compute(exchange.node, work, kind, lambda: self._work_done(exchange, message_id))

    def _work_done(self, exchange: Exchange, message_id: str) -> None:
        self._executor.finished(exchange)
        held_s = 0.0
        if self._adversary is not None:
            if self._adversary.withholds(exchange):
                return
            held_s = self._adversary.holds_s(exchange)
        if held_s:
            session = self._world.nodes.session[exchange.node]
            self._world.clock.after(held_s, self._held, exchange, message_id, session)
        else:
            self._reply(exchange, message_id)

    def _held(self, exchange: Exchange, message_id: str, session: int) -> None:
        if self._world.nodes.session[exchange.node] == session:
            self._reply(exchange, message_id)

    def _reply(self, exchange: Exchange, message_id: str) -> None:
        exchange.finished_s = self._world.clock.now
        kind = f"{exchange.message.metadata.message_type}_reply"
        nbytes = self._executor.reply_bytes(exchange)
        self._world.links.send(exchange.node, SERVER, nbytes, kind, self._answer, message_id)

    def _answer(self, message_id: str) -> None:
        exchange = self._open.get(message_id)
        if exchange is None or exchange.answered:
            return
        exchange.arrived_s = self._world.clock.now
        self._of_node.get(exchange.node, set()).discard(message_id)
        if self._waiting_for is not None and message_id in self._waiting_for:
            self._waiting_for.discard(message_id)
            if exchange.reply is None:
                self._wanted -= 1
            if not self._waiting_for or self._wanted <= 0:
                self._app.wake(self._ticket)

    def _fail(self, message_id: str, error: Message, reason: str) -> None:
        exchange = self._open[message_id]
        if not exchange.answered:
            exchange.reply = error
            self._forget(exchange)
            self._world.trace.event(self._world.clock.now, exchange.node, "timeout", reason)
            self._answer(message_id)

    def _forget(self, exchange: Exchange) -> None:
        exchange.forgotten = True
        self._executor.forget(exchange)

    def _expire(self, message_id: str) -> None:
        if message_id in self._open:
            self._fail(message_id, compat.message_unavailable(message_id), "no reply within the message's time to live")

    def _node_left(self, node: int, began_s: float) -> None:
        if node >= 0:
            self._executor.left(node)
        if self._of_node.get(node):
            self._world.clock.at(self._world.membership.lapses_s(node), self._check_lapse, node)

    def _check_lapse(self, node: int) -> None:
        if self._world.membership.lists(node):
            if not self._world.nodes.online[node]:  # a heartbeat was still on its way when it left
                self._world.clock.at(self._world.membership.lapses_s(node), self._check_lapse, node)
            return
        for message_id in sorted(self._of_node.get(node, ()), key=int):
            error = compat.node_unavailable(self._open[message_id].message)
            self._fail(message_id, error, "the node's heartbeats have stopped")

    def _wait(self, ids: set[str], until_s: float | None = None, wanted: int | None = None) -> None:
        missing = {i for i in ids if not self._open[i].answered}
        if not missing:
            return
        self._wanted = len(ids) if wanted is None else wanted
        self._waiting_for, self._ticket = missing, self._app.ticket()
        try:
            self._app.wait(f"{len(missing)} of {len(ids)} replies", until_s)
        finally:
            self._waiting_for = None

    def _collect(self, ids: set[str]) -> list[Message]:
        arrived = [(i, self._open[i]) for i in ids if self._open[i].answered]
        arrived.sort(key=lambda item: (item[1].arrived_s, int(item[0])))
        if arrived:
            self._app.acts()
        for message_id, _ in arrived:
            del self._open[message_id]
        exchanges = [exchange for _, exchange in arrived]
        answered = [exchange for exchange in exchanges if exchange.reply is None]
        self._executor.complete(answered)
        if self._adversary is not None:
            self._adversary.corrupt(answered)
        return [exchange.reply for exchange in exchanges if exchange.reply is not None]

    def _record_round(self, exchanges: list[Exchange]) -> None:
        links = self._world.links
        replied = [e.node for e in exchanges if e.reply is not None and e.reply.has_content()]
        self.rounds.append(
            {
                "round": len(self.rounds) + 1,
                "t_s": self._world.clock.now,
                "accuracy": float("nan"),
                "loss": float("nan"),
                "n_selected": len(exchanges),
                "n_replied": len(replied),
                "replied": replied,
                "bytes_up": sum(links.bytes_up[:-1]),
                "bytes_down": sum(links.bytes_down[:-1]),
            }
        )
