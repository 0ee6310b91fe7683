"""Nodes that learn without a server: what they hold, hear and do, in virtual time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.errors import RunStoppedError, StalledError
from decai_sim.learning.values import Known, Value
from decai_sim.protocols.measures import Measures
from decai_sim.world.sizes import ENVELOPE_BYTES

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.jobs import Job
    from decai_sim.learning.trainer import Trainer
    from decai_sim.protocols.base import Lab
    from decai_sim.protocols.peer_to_peer import PeerToPeer
    from decai_sim.world.bulk import Arrivals

LEAST_WORK_S = 1e-3
"""No training takes less, not even of nothing: what has come has to be looked at."""
_LOOK_S = 600.0
"""How often somebody looks whether anything can happen any more, virtual seconds."""
_TRAIN, _WAKE = "train", "wake"


@dataclass(eq=False)
class _Out:
    """What is to be sent of one kind: to whom, and when, by whom, how large, what, and to how many of them."""

    to: list[int] = field(default_factory=list)
    said: list[tuple[float, int, int, int, int]] = field(default_factory=list)


class Peers:
    """The nodes of a run and what happens to them; the protocol says what they make of it.

    Nodes hold handles on models, :class:`~decai_sim.learning.values.Value`; nothing is computed before somebody looks. What they
    send in answer to the arrivals of one stretch of virtual time leaves as one array.

    Args:
        lab: the run.
        protocol: what the nodes do.
        trainer: trains them.
        models: what each node begins with; None: all with the task's initial model.

    Attributes:
        now: virtual seconds: when what is being dealt with happened.
        models: what each node would use if asked.
        updates: how many trainings each node has finished.
        busy: whether each is training.
        waited_s: how long each has waited for others, virtual seconds.
        nbytes: size of a model on the wire.
        state: whatever the protocol keeps in mind.
    """

    def __init__(self, lab: Lab, protocol: PeerToPeer, trainer: Trainer, models: torch.Tensor | None = None) -> None:
        from decai_sim.learning.training import work_flops

        self.lab, self.protocol, self.trainer = lab, protocol, trainer
        self.world, self.n, self._bulk = lab.world, lab.world.n, lab.world.bulk
        self.plan, self.now = protocol.plan(), 0.0
        self.state: Any = None
        problem, world = lab.problem, lab.world
        problem.layout.named(self.plan.personal)  # refuses what the model does not have
        trainer.store.reserve(3 * self.n)  # models that nodes begin with, those they train, and what becomes of these
        given = problem.initial().to(problem.device)[None] if models is None else models
        first: list[Value] = [Known(row) for row in trainer.store.put(given)]
        self.models = first if models is not None else first * self.n
        self.updates = [0] * self.n
        self.busy: list[Job | None] = [None] * self.n
        self.waited_s = np.zeros(self.n)
        self.nbytes = ENVELOPE_BYTES + 4 * problem.layout.d
        self.measures = Measures(lab, trainer, protocol)
        self.online = world.nodes.online
        self._flops = [float(work_flops(problem, node, self.plan)) for node in range(self.n)]

        self._smallest = self.nbytes if protocol.kinds == {"model"} else 1
        self._box = self._bulk.open(self._arrived)
        self._bulk.look_ahead(self._least_s())
        self._train, self._wake = (self._bulk.kind(self._box, name) for name in (_TRAIN, _WAKE))
        self._payloads: dict[int, Any] = {}
        self._numbers = 0
        self._kept = 1024  # how many payloads there may be before those that nobody will get are looked for
        self._out: dict[str, _Out] = {}
        self._reminders: list[tuple[float, int, int, int]] = []
        self._soon: list[tuple[float, int, int, int]] | None = None  # what comes of a stretch's arrivals within it; a heap
        self._over = False
        world.nodes.on_online.append(self._came)
        world.nodes.on_offline.append(self._left)

    # -- what protocols do ----------------------------------------------------------------------------------------------------

    def post(self, payload: Any) -> int:
        """Make something ready to be sent; returns its number."""
        number = self._numbers
        self._numbers += 1
        self._payloads[number] = payload
        return number

    def send(self, src: int, to: Iterable[int], payload: Any, kind: str = "model", nbytes: int | None = None) -> None:
        """Send ``payload`` from ``src`` to each of ``to``; ``nbytes`` None: the size of a model."""
        out = self._out.get(kind)
        if out is None:
            out = self._out[kind] = _Out()
        size, before = self.nbytes if nbytes is None else nbytes, len(out.to)
        if size < self._smallest:
            raise ValueError(
                f"nbytes: {size!r} is not allowed: {self.protocol.kind!r} says by its kinds that it sends models alone"
            )
        out.to.extend(to)
        out.said.append((self.now, src, size, self.post(payload), len(out.to) - before))

    def train(self, node: int, start: Value) -> None:
        """Let ``node`` train from ``start``, now; the protocol's ``trained`` is called when it has.

        A node that is already training must not be asked.
        """
        assert self.busy[node] is None
        job = self.busy[node] = self.trainer.begin(node, self.updates[node] + 1, start, self.plan)
        self.world.trace.event(self.now, node, "job_start", _TRAIN)
        self._remind(self.now + self.work_s(node, job.work_flops), self._train, node, 0)

    def wake(self, node: int, delay_s: float, number: int = 0) -> None:
        """Call the protocol's ``woke`` with ``node`` and ``number`` after ``delay_s``, if the node has not left meanwhile."""
        self._remind(self.now + delay_s, self._wake, node, number)

    def work_s(self, node: int, flops: float | None = None) -> float:
        """How long a training takes ``node`` that begins now, virtual seconds; ``flops`` None: as many as its samples need."""
        return max((self._flops[node] if flops is None else flops) / self.world.flops_per_s[node], LEAST_WORK_S)

    def finish(self) -> None:
        """There is nothing more to do."""
        self._over = True
        self.world.clock.stop()

    def here(self) -> list[int]:
        """The nodes that are online."""
        return [node for node in range(self.n) if self.online[node]]

    def record(self, models: Sequence[Value], n_selected: int, replied: Sequence[int]) -> None:
        """Keep what a round came to.

        Args:
            models: of all nodes, at its end.
            n_selected: how many took part.
            replied: those who finished training.
        """
        lab, number = self.lab, len(self.lab.rounds) + 1
        checkpoint(lab)
        total = self.protocol.total_rounds
        due = number % self.protocol.evaluate_every == 0 or number == total
        accuracy = loss = float("nan")
        if due:
            self._tidy()  # what is held for nobody takes room
            accuracy, loss = self.measures.take(number, self.now, models, self)
        record = {
            "round": number,
            "t_s": self.now,
            "accuracy": accuracy,
            "loss": loss,
            "n_selected": n_selected,
            "n_replied": len(replied),
            "replied": list(replied),
            "bytes_up": int(self.world.links.uploaded[:-1].sum()),
            "bytes_down": int(self.world.links.downloaded[:-1].sum()),
        }
        lab.rounds.append(record)
        lab.on_round(record)
        if number == total:
            self.finish()

    # -- what happens ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let everything happen until the protocol says that it is over.

        Raises:
            StalledError: nothing is left to happen before.
            RunStoppedError: the run was stopped.
        """
        self.now = self.world.clock.now
        self.protocol.begin(self)
        self._leave()
        until_s = self.now
        while not self._over:
            checkpoint(self.lab)
            until_s += _LOOK_S
            self.world.clock.run(until_s)
            if not self._over and (self.world.clock.idle or self.world.nodes.all_departed()):
                raise StalledError(
                    f"{self.protocol.kind} waits for a node to come online, from virtual time {self.world.clock.now:.1f} s on"
                )

    def _arrived(self, arrivals: Arrivals) -> None:
        soon = self._soon = []
        columns = arrivals.t_s, arrivals.kind, arrivals.dst, arrivals.item, arrivals.src
        payloads = [self._payloads.get(item) for item in arrivals.item.tolist()]
        received, ours = self.protocol.received, (self._train, self._wake)
        for payload, t_s, kind, dst, item, src in zip(payloads, *(column.tolist() for column in columns), strict=True):
            while soon and soon[0][0] < t_s:
                self._due(*heappop(soon))
            if kind in ours:
                self._happen(t_s, kind, dst, item, payload)
            elif not self._over:
                self.now = t_s
                received(self, dst, src, payload)
        while soon:
            self._due(*heappop(soon))
        self._soon = None
        self._leave()
        if len(self._payloads) > self._kept:
            self._tidy()

    def _due(self, t_s: float, kind: int, node: int, number: int) -> None:
        self._happen(t_s, kind, node, number, self._payloads[number])

    def _happen(self, t_s: float, kind: int, node: int, number: int, reminder: tuple[int, int]) -> None:
        if self._over:
            return
        self.now = t_s
        self._payloads.pop(number, None)
        session, about = reminder
        if session != self.world.nodes.session[node]:
            return  # it left at the very moment it was told, and is back
        if kind == self._train:
            self._trained(node)
        else:
            self.protocol.woke(self, node, about)

    def _trained(self, node: int) -> None:
        job, self.busy[node] = self.busy[node], None
        assert job is not None
        self.updates[node] += 1
        self.trainer.finished(job)
        self.world.trace.event(self.now, node, "job_end", _TRAIN)
        self.protocol.trained(self, node, job)

    def _came(self, node: int) -> None:
        if node >= 0 and not self._over:
            self.now = self.world.clock.now
            self.protocol.came(self, node)
            self._leave()

    def _left(self, node: int, began_s: float) -> None:
        if node < 0 or self._over:
            return
        self.now = self.world.clock.now
        if self.busy[node] is not None:
            self.busy[node] = None
            self.trainer.left(node)
            self.world.trace.event(self.now, node, "job_lost", _TRAIN)
        self.protocol.left(self, node)
        self._leave()

    def _remind(self, t_s: float, kind: int, node: int, number: int) -> None:
        due = self.post((self.world.nodes.session[node], number))
        if self._soon is not None and t_s <= self.world.clock.now:
            heappush(self._soon, (t_s, kind, node, due))
        else:
            self._reminders.append((t_s, kind, node, due))

    def _leave(self) -> None:
        """Send what has been collected."""
        out, self._out = self._out, {}
        for kind, one in out.items():
            if one.to:
                *columns, copies = (np.array(column) for column in zip(*one.said, strict=True))
                t_s, src, nbytes, item = (np.repeat(column, copies) for column in columns)
                self._bulk.send(self._box, t_s, src, np.array(one.to), nbytes, kind, item)
        reminders, self._reminders = self._reminders, []
        for name, code in ((_TRAIN, self._train), (_WAKE, self._wake)):
            due = [(t_s, node, number) for t_s, its_code, node, number in reminders if its_code == code]
            if due:
                t_s, node, number = (np.array(column) for column in zip(*due, strict=True))
                self._bulk.later(self._box, np.maximum(t_s, self.world.clock.now), node, name, number)

    def _least_s(self) -> float:
        """What no message takes less than: its link's latency, and where it does not queue at its receiver, its transmission."""
        paths, links = self.world.paths, self.world.links
        passes_s = 0.0
        if paths.queueing == "uplink" and links.chunk_bytes is None:
            passes_s = self._smallest * max(float(links.up_s[:-1].min()), float(links.down_s[:-1].min()))
        return paths.least_s() + 0.999 * passes_s

    def _tidy(self) -> None:
        """Let go of payloads that nobody will get any more."""
        wanted = self._bulk.under_way(self._box)
        wanted.update(item for one in self._out.values() for _, _, _, item, _ in one.said)
        wanted.update(number for *_, number in [*self._reminders, *(self._soon or ())])
        self._payloads = {number: payload for number, payload in self._payloads.items() if number in wanted}
        self._kept = max(1024, 2 * len(self._payloads))


def checkpoint(lab: Lab) -> None:
    """Stop if somebody wants so.

    Raises:
        RunStoppedError: somebody does.
    """
    if lab.stop is not None and lab.stop.is_set():
        raise RunStoppedError("the run was stopped")
