"""Very many small messages at once: whole stretches of virtual time as arrays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Self
from zlib import crc32

import numpy as np

from decai_sim.trace import DELIVERED, LOST, OFFLINE, Trace, by_kind
from decai_sim.world.clock import NORMAL, Clock, Occurrence
from decai_sim.world.links import TABLE, Transfer

if TYPE_CHECKING:
    import scipy.sparse as sp

    from decai_sim.world.links import Links
    from decai_sim.world.nodes import Nodes


@dataclass
class Arrivals:
    """Messages that have arrived, in the order of their arrival; ``(m,)`` each.

    Attributes:
        t_s: when.
        src, dst: from and to whom.
        kind: the code of their kind, as :meth:`Bulk.kind` gives it.
        item: what they are about: whatever number their sender gave.
        nbytes: their sizes.
    """

    t_s: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    kind: np.ndarray
    item: np.ndarray
    nbytes: np.ndarray

    def __len__(self) -> int:
        return len(self.t_s)

    def __getitem__(self, which: np.ndarray) -> Self:
        """Some of them, by a mask or by their places."""
        return type(self)(*(getattr(self, name)[which] for name in ("t_s", "src", "dst", "kind", "item", "nbytes")))


class Wiring:
    """The links of a graph, from every node to its neighbours.

    Args:
        graph: ``(n, n)`` adjacency matrix; row ``i`` holds the links that lead from node ``i``.
        links: the world's.
        number: which of the world's wirings it is; every one takes its messages' jitter and loss from places of its own.

    Attributes:
        begins: ``(n + 1,)`` where each node's links begin.
        src, dst: ``(m,)`` their ends.
        base_s: ``(m,)`` their latencies.
        cursor: ``(m,)`` where they stand in the tables of jitter and loss.
    """

    __slots__ = ("_keys", "_last", "base_s", "begins", "cursor", "dst", "src")

    def __init__(self, graph: sp.csr_array, links: Links, number: int = 0) -> None:
        self.begins = graph.indptr.astype(np.int64)
        self.dst = graph.indices.astype(np.int64)
        self.src = np.repeat(np.arange(graph.shape[0]), np.diff(self.begins))
        self._keys = self.src * graph.shape[0] + self.dst
        self.base_s = links.paths.bases_s(self.src, self.dst)
        self.cursor = (links.place.array(self.src, self.dst, -1 - number) * TABLE).astype(np.int64)
        self._last = np.empty(len(self.dst), dtype=np.int32)

    def of(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The links of all ``nodes``, one node after the other, and for each of them whose in ``nodes`` it is."""
        return _ranges(self.begins[nodes], self.begins[nodes + 1])

    def link(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        """The numbers of the links from ``src`` to ``dst``, which there must be; ``(k,)`` each."""
        n = len(self.begins) - 1
        links: np.ndarray = np.searchsorted(self._keys, src.astype(np.int64) * n + dst)  # rows follow each other and are sorted
        return links

    def advance(self, links: np.ndarray) -> np.ndarray:
        """Where in the tables one message each along ``links``, in this order, finds its jitter and loss; ``(m,)``."""
        place: np.ndarray = self.cursor[links] + 1
        numbers = np.arange(len(links), dtype=np.int32)
        self._last[links] = numbers  # of equal ones the last is kept
        if (self._last[links] != numbers).any():  # more than one message on a link
            place += _rank(links)
        place %= TABLE
        self.cursor[links] = place
        return place


_ENTRY = np.dtype(
    [
        *(("t_s", "f8"), ("place", "i8")),  # when, and where among those of the same instant
        *(("item", "i8"), ("nbytes", "i8"), ("number", "i8"), ("sent_s", "f8"), ("out_s", "f8")),
        *(("src", "i4"), ("dst", "i4"), ("kind", "i4"), ("session", "i4"), ("box", "i2"), ("stage", "i1")),
    ],
    align=True,
)
"""What is on its way, or waits: one record, so that a stretch of them is cut out and put together at once."""
_BLOB = np.dtype(f"V{_ENTRY.itemsize}")
"""The same as bytes: NumPy copies records field by field, by name, which takes ten times as long."""
_REACHES, _ARRIVES, _LATER = range(3)


def _entries(**columns: Any) -> np.ndarray:
    entries = np.empty(len(columns["t_s"]), dtype=_ENTRY)
    for name, values in columns.items():
        entries[name] = values
    return entries


def _those(entries: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Some of them, by a mask."""
    some: np.ndarray = entries.view(_BLOB)[which].view(_ENTRY)
    return some


def _joined(parts: list[bytes]) -> np.ndarray:
    """All of them, in the order of their happening."""
    entries = np.frombuffer(b"".join(parts), dtype=_ENTRY)
    t_s = entries["t_s"].copy()
    order = np.argsort(t_s)
    t_s = t_s[order]
    if (t_s[1:] == t_s[:-1]).any():
        order = np.lexsort((entries["place"], entries["t_s"]))
    joined: np.ndarray = entries.take(order)
    return joined


@dataclass(slots=True)
class _Sending:
    """Messages that are sent, in order of time; ``(m,)`` each, or one value for all of them."""

    t_s: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    base_s: np.ndarray
    link: np.ndarray
    """Along which of its wiring's links; where there is no wiring, where in the tables jitter and loss are found."""
    item: np.ndarray
    nbytes: Any
    code: Any
    box: Any
    longer_s: Any
    alone: Any
    wiring: Any
    """Which of ``wirings``."""
    wirings: list[Wiring | None]

    def __len__(self) -> int:
        return len(self.t_s)

    def column(self, name: str) -> np.ndarray:
        """What it says of every message; ``(m,)``."""
        values = getattr(self, name)
        return values if _many(values) else np.full(len(self), values)

    def those(self, which: np.ndarray) -> _Sending:
        """Some of them, by a mask or by their places."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        some: dict[str, Any] = {name: values[which] if _many(values) else values for name, values in columns.items()}
        return _Sending(**some, wirings=self.wirings)

    @staticmethod
    def together(sendings: list[_Sending]) -> _Sending:
        """All of them, in order of time."""
        wirings: list[Wiring | None] = []
        for sending in sendings:
            wiring = sending.wirings[0]
            sending.wiring = next((i for i, known in enumerate(wirings) if known is wiring), len(wirings))
            if sending.wiring == len(wirings):
                wirings.append(wiring)
        columns: dict[str, Any] = {name: np.concatenate([one.column(name) for one in sendings]) for name in _COLUMNS}
        every = _Sending(**columns, wirings=wirings)
        return every.those(np.argsort(every.t_s, kind="stable"))


def _many(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.ndim > 0


_COLUMNS = [column.name for column in fields(_Sending) if column.name != "wirings"]
_LONGEST_S = 0.25
"""Longest stretch, where nothing shorter is needed: memory holds its messages twice."""


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
        paths = links.paths
        self._by_itself = paths.chunk_bytes is not None or paths.queueing == "fair" or math.isfinite(paths.queue_bytes)
        self._here = np.array(nodes.online)
        self._left_s = np.array(nodes.left_s)
        self._session = np.array(nodes.session)
        # First of all, so that whoever sends when a node comes or goes finds it so.
        nodes.on_offline.insert(0, self._goes)
        nodes.on_online.insert(0, self._comes)
        self._boxes: list[Callable[[Arrivals], object]] = []
        self._names: dict[int, str] = {}  # of kinds, by their codes
        self._wirings = 0
        self._alone_free_s = np.zeros(len(self._here))

        self._least_s = 0.0 if self._by_itself else _LONGEST_S
        self._days: list[int] = []  # a heap
        self._buckets: dict[int, list[bytes]] = {}
        self._day = -1
        self._today: np.ndarray | None = None
        self._times = np.zeros(0)  # today's
        self._at = 0
        self._armed: list[tuple[float, int]] = []  # those of our entries that stand in SimPy's queue, the earliest last
        self._delivering = False
        self._since_s = 0.0  # when the stretch at work began
        self._sendings: list[_Sending] = []  # what it made its receivers send

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
            self._put_back()
            waiting = [entries for bucket in self._buckets.values() for entries in bucket]
            self._least_s, self._buckets, self._days = least_s, {}, []
            for entries in waiting:
                self._file(np.frombuffer(entries, dtype=_ENTRY))

    def open(self, arrived: Callable[[Arrivals], object], anyone: bool = False) -> int:
        """A new mailbox, whose arrivals ``arrived`` is called with.

        Args:
            arrived: called once a stretch.
            anyone: whether those who send will send to others than their neighbours.
        """
        if anyone:
            self.look_ahead(self._links.paths.least_s())
        self._boxes.append(arrived)
        return len(self._boxes) - 1

    def kind(self, box: int, name: str) -> int:
        """The code by which arrivals in mailbox ``box`` of this kind are known."""
        code = self._trace.code(name)
        self._names[code] = name
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
        alone: bool = False,
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
            alone: whether the sender begins with such a message only when the one before has arrived; they have a queue of their
                own then. It means nothing where messages travel in chunks, share rates or find queues full.

        Raises:
            ValueError: a time is neither now nor within the stretch that a mailbox is given.
            RuntimeError: a message arrives sooner than was promised; see :meth:`look_ahead`.
        """
        t_s, src, dst, item = np.asarray(t_s, float), np.asarray(src), np.asarray(dst), np.asarray(item)
        # By the kind's name: its code depends on what the trace has been told of before.
        draw = self._links.place.array(src, dst, item, crc32(kind.encode()), t_s.view(np.int64))
        base_s, place = self._links.paths.bases_s(src, dst), (draw * TABLE).astype(np.int64)
        self._out(box, t_s, src, dst, base_s, place, None, nbytes, kind, item, longer_s=longer_s, alone=alone)

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
            _entries(
                t_s=t_s,
                place=self._places(len(t_s)),
                stage=_LATER,
                box=box,
                src=node,
                dst=node,
                kind=self.kind(box, kind),
                item=item,
                nbytes=0,
                number=-1,
                sent_s=now,
                out_s=now,
                session=self._session[node],
            )
        )

    # -- sending --------------------------------------------------------------------------------------------------------------

    def _out(
        self,
        box: int,
        t_s: np.ndarray,
        src: np.ndarray,
        dst: np.ndarray,
        base_s: np.ndarray,
        link: np.ndarray,
        wiring: Wiring | None,
        nbytes: Any,
        kind: str,
        item: np.ndarray,
        *,
        longer_s: float = 0.0,
        alone: bool = False,
    ) -> None:
        if not len(t_s):
            return
        sizes, code = np.asarray(nbytes, dtype=np.int64), self.kind(box, kind)
        self._sendings.append(_Sending(t_s, src, dst, base_s, link, item, sizes, code, box, longer_s, alone, 0, [wiring]))
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
            sending = _Sending.together(sendings)
        t_s = sending.t_s
        if t_s[0] < self._since_s or t_s[-1] > self._env._now:
            wrong = t_s[0] if t_s[0] < self._since_s else t_s[-1]
            raise ValueError(f"t_s: {float(wrong)!r} is not allowed: messages are sent now, at {self._env._now!r}")
        nbytes = sending.column("nbytes")
        first = self._trace.many_out(t_s, sending.src, sending.dst, sending.code, nbytes)
        number = np.arange(first, first + len(sending))
        if self._by_itself:
            self._send_singly(sending, number)
            return
        np.add.at(self._links.uploaded, sending.src, nbytes)
        here = self._here[sending.src]
        if not here.all():
            gone = sending.those(~here)
            self._trace.many_settled(number[~here], gone.t_s, OFFLINE, gone.code, nbytes[~here], gone.t_s)
            sending, number = sending.those(here), number[here]
        if not len(sending):
            return
        place, alone = self._draws(sending), sending.alone
        if isinstance(alone, np.ndarray):
            for which in (~alone, alone):
                if which.any():
                    self._transmit(sending.those(which), number[which], place[which], alone=bool(alone[which][0]))
        else:
            self._transmit(sending, number, place, alone=alone)

    def _transmit(self, sending: _Sending, number: np.ndarray, place: np.ndarray, *, alone: bool) -> None:
        links, trace = self._links, self._trace
        t_s, src, dst, code, nbytes = sending.t_s, sending.src, sending.dst, sending.code, sending.column("nbytes")
        latency = sending.base_s * (links.stretch[place] * links.lags[src] * links.lags[dst]) + sending.longer_s
        for hold_up in links.tamper:
            for kind, mine in by_kind(code):
                latency[mine] += hold_up(src[mine], dst[mine], self._names[kind])
        dies = links.lost[place] | np.isinf(latency)
        if links.groups is not None:
            dies |= links.groups[src] != links.groups[dst]

        both = links.both and not alone  # it has to queue at the receiver too
        own = nbytes * links.up_s[src]
        wide = np.maximum(own, nbytes * (links.link_s if both else np.maximum(links.link_s, links.down_s[dst])))
        if alone:
            held_s = wide + np.where(np.isinf(latency), sending.base_s, latency)
            start = _turns(t_s, held_s, src, self._alone_free_s)
        else:
            start = _turns(t_s, own, src, links.upload_free_s)
        trace.many_waited(code, start - t_s)
        out = start + wide
        reaches = (start if both else out) + latency
        if reaches.min() < self._env._now:
            kinds = {repr(self._names[kind]) for kind in sending.column("code")[reaches < self._env._now].tolist()}
            names = ", ".join(sorted(kinds))
            raise RuntimeError(f"{names}: a message takes less than the {self._least_s:g} s that were promised")
        entries = _entries(
            t_s=reaches,
            place=self._places(len(sending)),
            stage=_REACHES if both else _ARRIVES,
            box=sending.box,
            src=src,
            dst=dst,
            kind=code,
            item=sending.item,
            nbytes=nbytes,
            number=number,
            sent_s=t_s,
            out_s=out,
            session=self._session[src],
        )
        if dies.any():
            if links.paths.retransmit:
                self._send_again(sending.those(dies), number[dies], place[dies], out[dies])
            else:
                lost = sending.those(dies)
                trace.many_settled(number[dies], lost.t_s, LOST, lost.code, nbytes[dies], lost.t_s)
            entries = _those(entries, ~dies)
        self._enter(entries)

    def _draws(self, sending: _Sending) -> np.ndarray:
        """Where in the tables of jitter and loss each of them is found."""
        if len(sending.wirings) == 1:
            wiring = sending.wirings[0]
            return sending.link if wiring is None else wiring.advance(sending.link)
        places = sending.link.copy()
        for i, wiring in enumerate(sending.wirings):
            if wiring is not None:
                mine = sending.wiring == i
                places[mine] = wiring.advance(sending.link[mine])
        return places

    def _send_singly(self, sending: _Sending, number: np.ndarray) -> None:
        for transfer, _ in self._transfers(sending, number):
            self._links.begin(transfer)

    def _send_again(self, sending: _Sending, number: np.ndarray, place: np.ndarray, out_s: np.ndarray) -> None:
        for i, (transfer, wiring) in enumerate(self._transfers(sending, number)):
            if wiring is None:
                self._links.again(transfer, [int(place[i])], 0, float(out_s[i]))
            else:
                self._links.again(transfer, wiring.cursor, int(sending.link[i]), float(out_s[i]))

    def _transfers(self, sending: _Sending, number: np.ndarray) -> Iterator[tuple[Transfer, Wiring | None]]:
        """One by one, for :class:`Links`."""
        names = "t_s", "src", "dst", "nbytes", "code", "item", "box", "longer_s", "wiring"
        columns = (sending.column(name).tolist() for name in names)
        for which, sent_s, src, dst, nbytes, code, item, box, longer_s, wiring in zip(number.tolist(), *columns, strict=True):
            args = box, src, dst, nbytes, item, code
            kind = self._names[code]
            yield Transfer(which, sent_s, src, dst, nbytes, code, kind, self._one, args, longer_s), sending.wirings[wiring]

    def _one(self, box: int, src: int, dst: int, nbytes: int, item: int, code: int) -> None:
        """A message that travelled by itself has arrived."""
        self._boxes[box](Arrivals(*(np.array([value]) for value in (self._env._now, src, dst, code, item, nbytes))))

    def _places(self, m: int) -> np.ndarray:
        first = next(self._env._eid)
        self._env._eid = itertools.count(first + m)
        places: np.ndarray = first + np.arange(m)
        return places

    # -- the calendar ---------------------------------------------------------------------------------------------------------

    def _enter(self, entries: np.ndarray) -> None:
        if not len(entries):
            return
        self._file(entries)
        if not self._delivering:
            self._arm_next()

    def _file(self, entries: np.ndarray) -> None:
        days = self._day_of(entries["t_s"])
        if self._today is not None and days.min() <= self._day:
            self._put_back()
        order = np.argsort(days)
        days, memory = days[order], entries.take(order).tobytes()
        begins, lengths = _runs(days)
        ends = (begins + lengths) * _ENTRY.itemsize
        for day, begin, end in zip(days[begins].tolist(), (begins * _ENTRY.itemsize).tolist(), ends.tolist(), strict=True):
            bucket = self._buckets.get(day)
            if bucket is None:
                bucket = self._buckets[day] = []
                heappush(self._days, day)
            bucket.append(memory[begin:end])

    def _put_back(self) -> None:
        """Return what is left of today to its bucket."""
        if self._today is not None and self._at < len(self._today):
            self._buckets[self._day] = [self._today[self._at :].tobytes()]
            heappush(self._days, self._day)
        self._today = None

    def _day_of(self, t_s: np.ndarray) -> np.ndarray:
        days: np.ndarray = np.floor(t_s / (self._least_s or _LONGEST_S)).astype(np.int64)
        return days

    def _next(self) -> tuple[float, int] | None:
        """Time and place of the next entry."""
        while self._today is None or self._at == len(self._today):
            self._today = None
            if not self._days:
                return None
            self._day = heappop(self._days)
            self._today, self._at = _joined(self._buckets.pop(self._day)), 0
            self._times = self._today["t_s"].copy()
        return float(self._times[self._at]), int(self._today["place"][self._at])

    def _arm_next(self) -> None:
        following = self._next()
        if following is not None and (not self._armed or following < self._armed[-1]):
            self._armed.append(following)
            heappush(self._env._queue, (following[0], NORMAL, following[1], self))

    def happen(self) -> None:
        """The next entry's time has come; what follows goes with it as far as nothing else comes first."""
        env, step_by_step = self._env, self._clock.until_s == -math.inf
        self._armed.pop()
        self._delivering = True
        try:
            while self._next() is not None:
                assert self._today is not None
                begin, (end, before_s) = self._at, self._stretch()
                if end == begin:
                    return
                self._at, self._since_s, env._now = end, float(self._times[begin]), float(self._times[end - 1])
                self._work_off(self._today[begin:end], before_s)
                if step_by_step:
                    return
        finally:
            self._delivering = False
            self._arm_next()

    def _stretch(self) -> tuple[int, float]:
        """Up to where today's entries can be worked off at once, and before when what they turn into belongs with them."""
        assert self._today is not None
        queue, times, until_s = self._env._queue, self._times, self._clock.until_s
        first_s = float(times[self._at])
        last_s = first_s if until_s == -math.inf else min(first_s + self._least_s, until_s)
        end = int(np.searchsorted(times, last_s, side="right"))
        while queue and queue[0][3] is self and queue[0][0] <= last_s:
            heappop(queue)  # what it announces is at work, or is announced again
            self._armed.pop()
        before_s = math.nextafter(last_s, math.inf)
        if queue and queue[0][0] < before_s:
            before_s = queue[0][0]
            first = int(np.searchsorted(times, before_s, side="left"))
            while first < end and (float(times[first]), NORMAL, self._today["place"][first]) < queue[0][:3]:
                first += 1
            end = first
        if end < len(times):
            before_s = min(before_s, float(times[end]))
        return max(end, self._at), before_s

    # -- arriving -------------------------------------------------------------------------------------------------------------

    def _goes(self, node: int, began_s: float) -> None:
        self._here[node] = False
        self._left_s[node] = self._nodes.left_s[node]
        self._alone_free_s[node] = 0.0
        self._session[node] = self._nodes.session[node]

    def _comes(self, node: int) -> None:
        self._here[node] = True

    def _work_off(self, stretch: np.ndarray, before_s: float) -> None:
        links = self._links
        if links.both:
            stretch = self._landed(stretch, before_s)
        alive = self._alive(stretch)
        message = stretch["stage"] != _LATER
        if not alive.all():
            self._settle(_those(stretch, ~alive & message), OFFLINE)
            stretch, message = _those(stretch, alive), message[alive]
        if not len(stretch):
            return
        self._settle(stretch if message.all() else _those(stretch, message), DELIVERED)
        np.add.at(links.downloaded, stretch["dst"], stretch["nbytes"])
        try:
            for box, mine in by_kind(stretch["box"]):
                columns = (stretch[name][mine] for name in ("t_s", "src", "dst", "kind", "item", "nbytes"))
                t_s, *numbers = columns
                self._boxes[box](Arrivals(t_s.copy(), *(column.astype(np.int64) for column in numbers)))
        finally:
            self._send()

    def _landed(self, stretch: np.ndarray, before_s: float) -> np.ndarray:
        """Put what reaches its receiver in the download queue there; returns what has passed it before ``before_s``."""
        links = self._links
        there = stretch["stage"] == _REACHES
        if not there.any():
            return stretch
        heads, rest = _those(stretch, there), _those(stretch, ~there)
        alive = self._alive(heads)
        if not alive.all():
            self._settle(_those(heads, ~alive), OFFLINE)
            heads = _those(heads, alive)
        t_s, nbytes, dst = heads["t_s"].copy(), heads["nbytes"], heads["dst"]
        service = nbytes * links.down_s[dst]
        start = _turns(t_s, service, dst, links.download_free_s)
        if len(heads):
            self._trace.many_waited(heads["kind"], start - t_s, again=True)
        heads["t_s"] = np.maximum(start + service, t_s + nbytes * np.maximum(links.link_s, links.up_s[heads["src"]]))
        heads["place"], heads["stage"] = self._places(len(heads)), _ARRIVES
        soon = (heads["t_s"] < before_s) & (self._day_of(heads["t_s"]) == self._day)
        self._enter(_those(heads, ~soon))
        passed = _joined([rest.tobytes(), _those(heads, soon).tobytes()])
        if len(passed):
            self._env._now = max(self._env._now, float(passed["t_s"][-1]))
        return passed

    def _settle(self, entries: np.ndarray, outcome: int) -> None:
        number, t_s, *said = (entries[name] for name in ("number", "t_s", "kind", "nbytes", "sent_s"))
        self._trace.many_settled(number, t_s, outcome, *said)

    def _alive(self, entries: np.ndarray) -> np.ndarray:
        """Which of them have not died with one of their ends."""
        alive: np.ndarray = self._here[entries["dst"]] & (self._left_s[entries["dst"]] <= entries["sent_s"])
        changed = np.flatnonzero(alive & (self._session[entries["src"]] != entries["session"]))
        for i in changed.tolist():
            alive[i] = self._nodes.ended_s[int(entries["src"][i])][int(entries["session"][i])] >= entries["out_s"][i]
        return alive


def _ranges(begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All numbers from ``begins[i]`` to ``ends[i]``, for one ``i`` after the other, and which ``i`` each is of."""
    counts = ends - begins
    whose = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return np.arange(len(whose)) + (begins - first)[whose], whose


def _rank(keys: np.ndarray) -> np.ndarray:
    """How manieth of its key each one is, from 0."""
    order = np.argsort(keys, kind="stable")
    begins, lengths = _runs(keys[order])
    rank = np.empty(len(keys), dtype=np.int64)
    rank[order] = np.arange(len(keys)) - np.repeat(begins, lengths)
    return rank


def _runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of equal numbers begin, and how long they are."""
    bounds = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    bounds = np.concatenate([[0], bounds, [len(ordered)]])
    return bounds[:-1], bounds[1:] - bounds[:-1]


_FEW = 32
"""For fewer queues than these an operation on arrays takes longer than a loop."""


def _turns(t_s: np.ndarray, service_s: np.ndarray, queue: np.ndarray, free_s: np.ndarray) -> np.ndarray:
    """When each of those who come to queues, in this order, gets its turn: the later of when it comes and when the queue is free.

    Args:
        t_s: ``(m,)`` when they come.
        service_s: ``(m,)`` how long their turn lasts.
        queue: ``(m,)`` to which queue.
        free_s: when each queue is free; changed.
    """
    if len(t_s) < 8 * _FEW:
        return _turns_in_a_loop(t_s, service_s, queue, free_s)
    turns = np.empty(len(t_s))
    order = np.argsort(queue, kind="stable")
    begins, lengths = _runs(queue[order])
    longest_first = np.argsort(-lengths)
    begins, lengths = begins[longest_first], lengths[longest_first]
    queues = queue[order[begins]]
    free = free_s[queues]
    # All queues' first ones together, then the second ones, as long as there are many.
    nth, busy = 0, len(queues)
    while busy >= _FEW:
        which = order[begins[:busy] + nth]
        turns[which] = start = np.maximum(t_s[which], free[:busy])
        free[:busy] = start + service_s[which]
        nth += 1
        busy = int(np.searchsorted(-lengths[:busy], -nth))
    free_s[queues] = free
    if busy:
        which = order[_ranges(begins[:busy] + nth, begins[:busy] + lengths[:busy])[0]]
        turns[which] = _turns_in_a_loop(t_s[which], service_s[which], queue[which], free_s)
    return turns


def _turns_in_a_loop(t_s: np.ndarray, service_s: np.ndarray, queue: np.ndarray, free_s: np.ndarray) -> np.ndarray:
    starts = []
    free: dict[int, float] = {}
    columns = t_s.tolist(), service_s.tolist(), queue.tolist(), free_s[queue].tolist()
    for comes, lasts, which, first in zip(*columns, strict=True):
        start = free.get(which, first)
        if comes > start:
            start = comes
        starts.append(start)
        free[which] = start + lasts
    free_s[list(free)] = list(free.values())
    return np.array(starts, dtype=float)
