"""Very many small messages at once: whole stretches of virtual time as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.trace import DELIVERED, OFFLINE, Trace, by_kind
from decai_sim.world.calendar import ARRIVES, LATER, LONGEST_S, REACHES, Calendar, entries, joined, those
from decai_sim.world.clock import NORMAL, Clock, Occurrence
from decai_sim.world.departures import Departures
from decai_sim.world.presence import Presence
from decai_sim.world.sending import Arrivals as Arrivals
from decai_sim.world.sending import Relays, Sending
from decai_sim.world.turns import turns
from decai_sim.world.wiring import Wiring as Wiring

if TYPE_CHECKING:
    import scipy.sparse as sp

    from decai_sim.world.links import Links
    from decai_sim.world.nodes import Nodes


class Bulk(Occurrence):
    """Moves very many small messages, as :class:`~decai_sim.world.links.Links` would, a stretch of time at once.

    No message arrives sooner than the least latency of all links after it was sent. So whatever arrives within a stretch of that
    length has been sent before it began, and can be worked off as arrays: queues, losses, deaths, accounting. What comes of it
    happens in later stretches. Everything else on the clock (a node that goes, a fault, a message sent by ``Links``) ends a
    stretch early. The outcome is that of one event a message, to the last bit.

    Those who use it :meth:`open` a mailbox: a function that gets the :class:`Arrivals` of a stretch and may send more, at the
    times of the arrivals that made it do so. Whatever else it does happens at the end of the stretch: there the clock stands.

    Source: conservative synchronisation with lookahead, Fujimoto, "Parallel discrete event simulation", CACM 33 (1990), here for
    the sake of arrays rather than processors; pending messages are kept in a calendar queue (Brown, CACM 31, 1988).

    Args:
        clock, links, nodes, trace: the world's.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Internet, Mix, Ring, World
        >>> world = World(5, Internet(), None, Mix(laptop=1), Streams(1), Ring())
        >>> heard = []
        >>> box = world.bulk.open(lambda arrivals: heard.extend(zip(arrivals.dst.tolist(), arrivals.item.tolist())))
        >>> world.bulk.fan_out(box, [0.0], [2], world.wiring, 100, "news", [7])
        >>> world.run()
        >>> sorted(heard)
        [(1, 7), (3, 7)]
    """

    def __init__(self, clock: Clock, links: Links, nodes: Nodes, trace: Trace) -> None:
        self._clock, self._links, self._nodes, self._trace = clock, links, nodes, trace
        self._env: Any = clock.env
        self._presence = Presence(nodes)
        self._boxes: list[Callable[[Arrivals], object]] = []
        self._departures = Departures(self._env, links, trace, self._presence, self._one)
        self._wirings = 0
        self._queue_bytes = links.paths.queue_bytes if math.isfinite(links.paths.queue_bytes) else None

        self._least_s = LONGEST_S
        if links.chunk_bytes is not None:
            # The second chunk of a message follows when the first one's last byte is out.
            self._least_s = min(LONGEST_S, links.chunk_bytes * float(links.up_s[:-1].min(initial=math.inf)))
        if links.paths.queueing == "fair":
            self._least_s = 0.0
        self._departures.promised_s = self._least_s
        self._calendar = Calendar(self._least_s or LONGEST_S)
        self._armed: list[tuple[float, int]] = []  # those of our entries that stand in SimPy's queue, the earliest last
        self._delivering = False
        self._since_s = 0.0  # when the stretch at work began
        self._sendings: list[Sending] = []  # what it made its receivers send

    # -- what others use ------------------------------------------------------------------------------------------------------

    def wire(self, graph: sp.csr_array) -> Wiring:
        """Prepare the links of a graph.

        Args:
            graph: ``(n, n)`` adjacency matrix; row ``i`` holds the links that lead from node ``i``.
        """
        wiring = Wiring(graph, self._links, self._wirings)
        self._wirings += 1
        if len(wiring.base_s):
            self.look_ahead(float(wiring.base_s.min()))
        return wiring

    def look_ahead(self, least_s: float) -> None:
        """Promise that no message takes less than ``least_s``, and no :meth:`later` either; the least of all promises counts."""
        if least_s < self._least_s:
            self._least_s = self._departures.promised_s = least_s
            self._calendar.divide(least_s or LONGEST_S)

    def open(self, arrived: Callable[[Arrivals], object], anyone: bool = False, relayed: Relays | None = None) -> int:
        """A new mailbox, whose arrivals ``arrived`` is called with.

        Args:
            arrived: called once a stretch.
            anyone: whether those who send will send to others than their neighbours.
            relayed: tells what their senders pass on for others; None: all is their own.
        """
        if anyone:
            self.look_ahead(self._links.paths.least_s())
        self._boxes.append(arrived)
        self._departures.relays.append(relayed)
        return len(self._boxes) - 1

    def kind(self, box: int, name: str) -> int:
        """The code by which arrivals in mailbox ``box`` of this kind are known."""
        code = self._trace.code(name)
        self._departures.names[code] = name
        return code

    def fan_out(
        self,
        box: int,
        t_s: Any,
        src: Any,
        wiring: Wiring,
        nbytes: Any,
        kind: str,
        item: Any,
        but: Any = None,
        **how: Any,
    ) -> None:
        """Send to all neighbours.

        Args:
            box: whose mailbox the copies arrive in.
            t_s: ``(k,)`` when: see :meth:`send`.
            src: ``(k,)`` who sends.
            wiring: to whom.
            nbytes: size of a copy on the wire, bytes; one for all, or ``(k,)``.
            kind: what the trace calls it.
            item: ``(k,)`` what they are about.
            but: ``(k,)`` one neighbour each that gets none, such as the one it came from; −1: all get one.
            how: see :meth:`send`.
        """
        links, whose = wiring.of(np.asarray(src))
        nbytes = np.broadcast_to(nbytes, len(src))
        if but is not None:
            wanted = wiring.dst[links] != np.asarray(but)[whose]
            links, whose = links[wanted], whose[wanted]
        self.along(box, np.asarray(t_s, float)[whose], links, wiring, nbytes[whose], kind, np.asarray(item)[whose], **how)

    def along(
        self,
        box: int,
        t_s: np.ndarray,
        links: np.ndarray,
        wiring: Wiring,
        nbytes: Any,
        kind: str,
        item: np.ndarray,
        **how: Any,
    ) -> None:
        """Send one message along each of ``links``, ``(m,)`` numbers of links of ``wiring``; ``how``: see :meth:`send`."""
        self._out(box, t_s, wiring.src[links], wiring.dst[links], wiring.base_s[links], links, wiring, nbytes, kind, item, **how)

    def send(
        self,
        box: int,
        t_s: Any,
        src: Any,
        dst: Any,
        nbytes: Any,
        kind: str,
        item: Any,
        *,
        longer_s: float = 0.0,
    ) -> None:
        """Send to anybody, ``(m,)`` messages; those of one instant leave in the order given here.

        Jitter and loss of a message are found by its ends, its kind, its ``item`` and when it is sent. Who sends to others than
        its neighbours says so to :meth:`open`.

        Args:
            box: whose mailbox they arrive in.
            t_s: ``(m,)`` when: now, or from a mailbox the time of an arrival.
            src: ``(m,)`` from whom.
            dst: ``(m,)`` to whom.
            nbytes: size on the wire, bytes; one for all, or ``(m,)``.
            kind: what the trace calls it.
            item: ``(m,)`` what they are about.
            longer_s: by how much each takes longer, such as for being looked at, seconds.

        Raises:
            ValueError: a time is neither now nor within the stretch that a mailbox is given.
            RuntimeError: a message arrives sooner than was promised; see :meth:`look_ahead`.
        """
        t_s, src, dst, item = np.asarray(t_s, float), np.asarray(src), np.asarray(dst), np.asarray(item)
        self._out(box, t_s, src, dst, 0.0, 0, None, nbytes, kind, item, longer_s=longer_s)

    def later(self, box: int, t_s: np.ndarray, node: np.ndarray, kind: str, item: np.ndarray) -> None:
        """Remind nodes of something: an arrival from themselves at ``t_s``, which nothing but their absence prevents.

        Raises:
            ValueError: a time has passed, or lies within the stretch that a mailbox is given; see :meth:`look_ahead`.
        """
        now = self._env._now
        if not len(t_s):
            return
        if np.min(t_s) < now:
            raise ValueError(f"t_s: {float(np.min(t_s))!r} is not allowed: it is {now!r} already")
        self._enter(
            entries(
                t_s=t_s,
                place=self._departures.places(len(t_s)),
                stage=LATER,
                box=box,
                src=node,
                dst=node,
                kind=self.kind(box, kind),
                item=item,
                nbytes=0,
                number=-1,
                sent_s=now,
                out_s=now,
                session=self._presence.session[node],
            )
        )

    def under_way(self, box: int) -> set[int]:
        """What the messages and reminders are about that may still arrive in mailbox ``box``: their ``item``."""
        items = {int(item) for part in self._calendar.waiting() for item in part["item"][part["box"] == box].tolist()}
        for sending in self._sendings:
            items.update(sending.item[sending.column("box") == box].tolist())
        items.update(item for its_box, item in self._departures.single() if its_box == box)
        return items

    # -- sending --------------------------------------------------------------------------------------------------------------

    def _out(
        self,
        box: int,
        t_s: np.ndarray,
        src: np.ndarray,
        dst: np.ndarray,
        base_s: Any,
        link: Any,
        wiring: Wiring | None,
        nbytes: Any,
        kind: str,
        item: np.ndarray,
        *,
        longer_s: float = 0.0,
    ) -> None:
        if not len(t_s):
            return
        sizes, code = np.asarray(nbytes, dtype=np.int64), self.kind(box, kind)
        self._sendings.append(Sending(t_s, src, dst, base_s, link, item, sizes, code, box, longer_s, 0, [wiring]))
        if not self._delivering:
            self._since_s = self._env._now
            self._send()

    def _send(self) -> None:
        """Send what has been collected, in order of time: so does the sender's queue, whoever sends what in which order."""
        sendings, self._sendings = self._sendings, []
        if not sendings:
            return
        sending = sendings[0]
        if len(sendings) > 1 or (sending.t_s[1:] < sending.t_s[:-1]).any():
            sending = Sending.together(sendings)
        t_s = sending.t_s
        if t_s[0] < self._since_s or t_s[-1] > self._env._now:
            wrong = t_s[0] if t_s[0] < self._since_s else t_s[-1]
            raise ValueError(f"t_s: {float(wrong)!r} is not allowed: messages are sent now, at {self._env._now!r}")
        for new in self._departures.leave(sending):
            self._enter(new)

    def _one(self, box: int, src: int, dst: int, nbytes: int, item: int, code: int) -> None:
        """A message that travelled by itself has arrived."""
        self._boxes[box](Arrivals(*(np.array([value]) for value in (self._env._now, src, dst, code, item, nbytes))))

    # -- stretches ------------------------------------------------------------------------------------------------------------

    def _enter(self, new: np.ndarray) -> None:
        if not len(new):
            return
        self._calendar.file(new)
        if not self._delivering:
            self._arm_next()

    def _arm_next(self) -> None:
        following = self._calendar.next()
        if following is not None and (not self._armed or following < self._armed[-1]):
            self._armed.append(following)
            heappush(self._env._queue, (following[0], NORMAL, following[1], self))

    def happen(self) -> None:
        """The next entry's time has come; what follows goes with it as far as nothing else comes first."""
        env, calendar, step_by_step = self._env, self._calendar, self._clock.until_s == -math.inf
        self._armed.pop()
        self._delivering = True
        try:
            while calendar.next() is not None:
                assert calendar.today is not None
                begin, (end, before_s) = calendar.at, self._stretch()
                if end == begin:
                    return
                calendar.at = end
                self._since_s, env._now = float(calendar.times[begin]), float(calendar.times[end - 1])
                self._work_off(calendar.today[begin:end], before_s)
                if step_by_step or self._clock.until_s == -math.inf:
                    return
        finally:
            self._delivering = False
            self._arm_next()

    def _stretch(self) -> tuple[int, float]:
        """Up to where today's entries can be worked off at once, and before when what they turn into belongs with them."""
        assert self._calendar.today is not None
        queue, times, until_s = self._env._queue, self._calendar.times, self._clock.until_s
        first_s = float(times[self._calendar.at])
        last_s = first_s if until_s == -math.inf else min(first_s + self._least_s, until_s)
        end = int(np.searchsorted(times, last_s, side="right"))
        while queue and queue[0][3] is self and queue[0][0] <= last_s:
            heappop(queue)  # what it announces is at work, or is announced again
            self._armed.pop()
        before_s = math.nextafter(last_s, math.inf)
        if queue and queue[0][0] < before_s:
            before_s = queue[0][0]
            first = int(np.searchsorted(times, before_s, side="left"))
            while first < end and (float(times[first]), NORMAL, self._calendar.today["place"][first]) < queue[0][:3]:
                first += 1
            end = first
        if end < len(times):
            before_s = min(before_s, float(times[end]))
        return max(end, self._calendar.at), before_s

    # -- arriving -------------------------------------------------------------------------------------------------------------

    def _work_off(self, stretch: np.ndarray, before_s: float) -> None:
        links = self._links
        if links.both:
            stretch = self._landed(stretch, before_s)
        alive = self._presence.alive(stretch)
        message = stretch["stage"] != LATER
        if not alive.all():
            self._settle(those(stretch, ~alive & message), OFFLINE)
            stretch, message = those(stretch, alive), message[alive]
        if not len(stretch):
            return
        t_s = stretch["t_s"].copy()
        src, dst, kind, item, nbytes = (stretch[name].astype(np.int64) for name in ("src", "dst", "kind", "item", "nbytes"))
        of_all = slice(None) if message.all() else message
        self._trace.many_settled(
            stretch["number"][of_all], t_s[of_all], DELIVERED, kind[of_all], nbytes[of_all], stretch["sent_s"][of_all]
        )
        np.add.at(links.downloaded, dst, nbytes)
        arrivals = Arrivals(t_s, src, dst, kind, item, nbytes)
        try:
            for box, mine in by_kind(stretch["box"]):
                self._boxes[box](arrivals if isinstance(mine, slice) else arrivals[mine])
        finally:
            self._send()

    def _landed(self, stretch: np.ndarray, before_s: float) -> np.ndarray:
        """Put what reaches its receiver in the download queue there; returns what has passed it before ``before_s``."""
        links = self._links
        there = stretch["stage"] == REACHES
        if not there.any():
            return stretch
        heads, rest = those(stretch, there), those(stretch, ~there)
        alive = self._presence.alive(heads)
        if not alive.all():
            self._settle(those(heads, ~alive), OFFLINE)
            heads = those(heads, alive)
        t_s, nbytes, dst = heads["t_s"].copy(), heads["nbytes"], heads["dst"]
        s_per_byte = links.down_s[dst]
        service = nbytes * s_per_byte
        longest_s = None if self._queue_bytes is None else self._queue_bytes * s_per_byte
        start = turns(t_s, service, dst, links.download_free_s, longest_s)
        if longest_s is not None and np.isnan(start).any():
            enters = ~np.isnan(start)
            self._departures.dropped(those(heads, ~enters), t_s[~enters])
            heads, t_s, start, service = those(heads, enters), t_s[enters], start[enters], service[enters]
        if len(heads):
            self._trace.many_waited(heads["kind"], start - t_s, again=True)
        comes_in_s = links.up_s[heads["src"]]
        if links.capacities is not None:
            slot = links.capacities.slots(heads["src"].astype(np.int64), heads["dst"].astype(np.int64))
            comes_in_s = np.maximum(links.capacities.s_per_byte[slot], comes_in_s)
        heads["t_s"] = np.maximum(start + service, t_s + heads["nbytes"] * comes_in_s)
        heads["place"], heads["stage"] = self._departures.places(len(heads)), ARRIVES
        soon = (heads["t_s"] < before_s) & (self._calendar.is_today(heads["t_s"]))
        self._enter(those(heads, ~soon))
        passed = joined([rest.tobytes(), those(heads, soon).tobytes()])
        if len(passed):
            self._env._now = max(self._env._now, float(passed["t_s"][-1]))
        return passed

    def _settle(self, entries: np.ndarray, outcome: int) -> None:
        number, t_s, *said = (entries[name] for name in ("number", "t_s", "kind", "nbytes", "sent_s"))
        self._trace.many_settled(number, t_s, outcome, *said)
