"""Sending: every byte waits its turn, travels, and is accounted for; one event a message, two where both ends queue."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from heapq import heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.trace import DELIVERED, LOST, OFFLINE, Trace
from decai_sim.world.capacities import Capacities
from decai_sim.world.clock import NORMAL, Clock
from decai_sim.world.fair import FairShare
from decai_sim.world.transfers import Chunk, Transfer, Travelling

if TYPE_CHECKING:
    from decai_sim.seeding import Streams
    from decai_sim.world.network import Paths
    from decai_sim.world.nodes import Nodes

TABLE = 1 << 17
"""Jitter and loss are drawn ahead; every link walks through these tables from a place of its own."""
LEAST_RTO_S = 1.0
"""RFC 6298, section 2.4: the least time after which what is not acknowledged is sent again."""

Tamper = Callable[[np.ndarray, np.ndarray, str], np.ndarray]
"""From senders, receivers and kind to the seconds by which each message is held up; ``inf`` drops it."""

_INF = float("inf")


def _twice(values: np.ndarray, code: str = "d") -> tuple[array[Any], np.ndarray]:
    """The same memory as Python's array, of which single numbers are read quickly, and as NumPy's."""
    # C's "long long" is an integer type of its own to NumPy, for which much is ten times as slow.
    dtype = np.dtype(np.int64 if code == "q" else code)
    numbers = array(code, np.ascontiguousarray(values, dtype=dtype).tobytes())
    return numbers, np.frombuffer(numbers, dtype=dtype)


class Links:
    """Moves messages between nodes.

    A message waits for its turn in the sender's upload queue (first in, first out), is transmitted at the slowest of the two
    access rates and the link's, and arrives one latency later. A fast sender's queue is busy only as long as its own rate needs:
    a server feeds many slow receivers at once. A link that carries only so much is a queue of its own, which a message enters as
    soon as it has its turn at the sender. With ``queueing="both"`` the receiver's download queue is taken in the order in which
    messages reach it, at the price of a second event; with ``"fair"`` there are no queues, and the transfers under way share
    access rates and links, max–min fairly.

    A message dies if it is lost on the way as often as it may be sent, if its sender vanishes before the last byte is out, or if
    its receiver goes meanwhile or is not there when it arrives. A lost one is sent again after RFC 6298's first timeout, which
    then doubles; one that a full download queue dropped, no sooner than the least timeout after that. A message larger than
    ``chunk_bytes`` travels in pieces, the next one after the last byte of the one before is out; others' messages may come
    between.

    Attributes:
        tamper: who holds messages up or drops them on the way; see :data:`Tamper`.
        tamper_relayed: likewise, of those alone that their senders pass on for others.
    """

    def __init__(self, clock: Clock, paths: Paths, nodes: Nodes, trace: Trace, streams: Streams) -> None:
        self._clock, self.paths, self._nodes, self._trace = clock, paths, nodes, trace
        self._env: Any = clock.env
        n = len(paths.upload_bps)
        self._n = n
        self._rated_s = 8 / paths.upload_bps, 8 / paths.download_bps  # seconds a byte
        (self._up_s, self.up_s), (self._down_s, self.down_s) = (_twice(rated_s) for rated_s in self._rated_s)
        self._upload_free_s, self.upload_free_s = _twice(np.zeros(n))
        self._download_free_s, self.download_free_s = _twice(np.zeros(n))
        self._lags, self.lags = _twice(np.ones(n))
        rates = paths.link_rates
        self.capacities = None if rates is None else Capacities(rates, n)
        self.groups: np.ndarray | None = None
        self.tamper: list[Tamper] = []
        self.tamper_relayed: list[Tamper] = []

        # Equal shares of an exponential's quantiles, shuffled: the mean is exact, whatever the seed.
        quantiles = -np.log((np.arange(TABLE) + 0.5) / TABLE)
        self._stretch, self.stretch = _twice(1 + paths.jitter * streams.of("jitter").permutation(quantiles))
        lost = np.zeros(TABLE, dtype=bool) if paths.loss is None else paths.loss.table(TABLE, streams.of("loss"))
        self._lost, flags = _twice(lost, "b")
        self.lost: np.ndarray = flags.view(bool)
        self.place = streams.counter("messages")
        # Per link: which one it is of those used so far; where that one stands in the tables; its latency. Numbers in lists, not
        # lists in a dictionary: the interpreter's collector has to go through all lists there are, time and again.
        self._used: dict[int, int] = {}
        self._cursors: list[int] = []
        self._bases_s: list[float] = []

        self.both = paths.queueing == "both"
        self._queue_bytes = paths.queue_bytes
        self.chunk_bytes = paths.chunk_bytes
        self._fair: FairShare | None = None
        if paths.queueing == "fair":
            self._fair, self.chunk_bytes = FairShare(clock, paths.upload_bps, paths.download_bps, rates), None
        self._uploaded, self.uploaded = _twice(np.zeros(n), "q")
        self._downloaded, self.downloaded = _twice(np.zeros(n), "q")
        nodes.on_offline.append(self._hang_up)

    @property
    def bytes_up(self) -> list[int]:
        """Bytes each node set out to send, those sent again included, the server's last."""
        return [int(nbytes) for nbytes in self.uploaded]

    @property
    def bytes_down(self) -> list[int]:
        """Bytes of whole messages each node received, the server's last."""
        return [int(nbytes) for nbytes in self.downloaded]

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return float(self._env._now)

    # -- what links are like now ----------------------------------------------------------------------------------------------

    def partition(self, groups: Sequence[int] | None) -> None:
        """Lose all messages between nodes of different groups that are sent from now on.

        Args:
            groups: ``(n + 1,)`` group numbers, the server's last; None: everybody reaches everybody again.
        """
        self.groups = None if groups is None else np.asarray(groups)

    def slow(self, node: int, factor: float) -> None:
        """Divide both access rates of ``node`` by ``factor``; 1 gives them back."""
        for s_per_byte, rated_s in zip((self.up_s, self.down_s), self._rated_s, strict=True):
            s_per_byte[node] = rated_s[node] * factor
        if self._fair is not None:
            self._fair.slow(node, factor)

    def lag(self, node: int, factor: float) -> None:
        """Multiply the latencies of all links of ``node`` by ``factor``; 1 gives them back.

        Raises:
            ValueError: ``factor`` is below 1.
        """
        if not factor >= 1:
            raise ValueError(f"factor: {factor!r} is not allowed: at least 1")
        self.lags[node] = factor

    def occupy(self, node: int, nbytes: float) -> None:
        """Let ``nbytes`` of foreign traffic enter both access queues of ``node`` now; it goes nowhere and is not accounted.

        What a queue of limited size does not hold is dropped.
        """
        now = self._env._now
        for free_s, s_per_byte in ((self.upload_free_s, self.up_s), (self.download_free_s, self.down_s)):
            waiting = max(0.0, float(free_s[node] - now) / s_per_byte[node]) if s_per_byte[node] else 0.0
            free_s[node] = now + max(waiting, min(waiting + nbytes, self.paths.queue_bytes)) * s_per_byte[node]
        if self._fair is not None:
            self._fair.start(node, node, nbytes, lambda: None, lambda: None)

    def _hang_up(self, node: int, began_s: float) -> None:
        self.upload_free_s[node] = self.download_free_s[node] = 0.0  # what was still queued has died
        if self.capacities is not None:
            self.capacities.clear(node)
        if self._fair is not None:
            self._fair.leave(node)

    # -- sending --------------------------------------------------------------------------------------------------------------

    def send(self, src: int, dst: int, nbytes: int, kind: str, deliver: Callable[..., object], *args: Any) -> None:
        """Send ``nbytes`` from ``src`` to ``dst``; on arrival ``deliver(*args)`` is called, or never.

        Args:
            src: sending node, −1 for the server.
            dst: receiving node, −1 for the server.
            nbytes: size on the wire, bytes.
            kind: what the trace calls it.
            deliver: called at the arrival time.
            args: its arguments.
        """
        code, now = self._trace.code(kind), self._env._now
        number = self._trace.out(now, src, dst, code, nbytes)
        self.begin(Transfer(self, number, now, src, dst, nbytes, code, kind, deliver, args))

    def begin(self, transfer: Transfer) -> None:
        """As :meth:`send`, of a message that the trace has already."""
        src, dst = transfer.src, transfer.dst
        nodes = self._nodes
        if not nodes.online[src]:
            self._uploaded[src] += transfer.nbytes
            self._trace.set_out(transfer.code, transfer.nbytes)
            self.end(transfer, OFFLINE)
            return
        transfer.session = nodes.session[src]
        key = src % self._n * self._n + dst % self._n
        link = self._used.get(key)
        if link is None:
            link = self.start_at(src, dst, int(self.place(src, dst) * TABLE), self.paths.base_s(src, dst))
        transfer.cursors, transfer.link, transfer.base_s = self._cursors, link, self._bases_s[link]
        if self.chunk_bytes is None or transfer.nbytes <= self.chunk_bytes:
            self._transmit(transfer, transfer)
        else:
            transfer.waiting = transfer.missing = transfer.nbytes
            self._next_chunk(transfer)

    def start_at(self, src: int, dst: int, place: int, base_s: float) -> int:
        """Let messages from ``src`` to ``dst`` find jitter and loss after ``place`` in the tables, and take ``base_s``."""
        link = self._used[src % self._n * self._n + dst % self._n] = len(self._cursors)
        self._cursors.append(place)
        self._bases_s.append(base_s)
        return link

    def again(self, transfer: Transfer, cursors: Any, link: int, since_s: float, *, queued: bool, least_s: float = 0.0) -> None:
        """Go on with a message that was lost once.

        Args:
            transfer: the message, or of a larger one the first chunk; its sender is there.
            cursors: where ``cursors[link]`` says how far the tables are used, and is moved on.
            link: see there.
            since_s: since when the timeout counts: when its last byte was out, virtual seconds.
            queued: whether its waiting has been counted.
            least_s: not before then.
        """
        piece = self._taken_over(transfer, cursors, link, queued)
        piece.out_s = since_s
        self.lose(transfer, piece, least_s)

    def go_on(self, transfer: Transfer, cursors: Any, link: int, out_s: float, reaches_s: float, *, dies: bool) -> None:
        """Go on with a message larger than a chunk whose first one is under way.

        Args:
            transfer: the message; its sender is there.
            cursors: as for :meth:`again`,
            link: likewise.
            out_s: when the chunk's last byte is out,
            reaches_s: and when it reaches the receiver.
            dies: whether it is lost on the way.
        """
        chunk = self._taken_over(transfer, cursors, link, True)
        chunk.out_s = out_s
        self._follow(transfer, chunk)
        if dies:
            self.lose(transfer, chunk)
        else:
            self.post(reaches_s, chunk)

    def _taken_over(self, transfer: Transfer, cursors: Any, link: int, queued: bool) -> Travelling:
        transfer.session = self._nodes.session[transfer.src]
        transfer.cursors, transfer.link, transfer.queued = cursors, link, queued
        if self.chunk_bytes is None or transfer.nbytes <= self.chunk_bytes:
            return transfer
        transfer.waiting, transfer.missing = transfer.nbytes - self.chunk_bytes, transfer.nbytes
        return Chunk(self, transfer, self.chunk_bytes)

    def _next_chunk(self, transfer: Transfer) -> None:
        if transfer.over:
            return
        assert self.chunk_bytes is not None
        size = min(self.chunk_bytes, transfer.waiting)
        transfer.waiting -= size
        self._transmit(transfer, Chunk(self, transfer, size))

    def _follow(self, transfer: Transfer, piece: Travelling) -> None:
        """Let the next chunk come after this one, unless it has been asked to already."""
        if transfer.waiting and not piece.followed:
            piece.followed = True
            self._clock.at(piece.out_s, self._next_chunk, transfer)

    def _transmit(self, transfer: Transfer, piece: Travelling) -> None:
        """Put a message, or a chunk of it, in its sender's queue, now."""
        src, dst, size, now = transfer.src, transfer.dst, piece.size, self._env._now
        if transfer.over:
            return
        self._uploaded[src] += size
        self._trace.set_out(transfer.code, size)
        if self._nodes.session[src] != transfer.session:
            self.end(transfer, OFFLINE)
            return
        cursors, link = transfer.cursors, transfer.link
        place = cursors[link] = (cursors[link] + 1) % TABLE
        latency = transfer.base_s * (self._stretch[place] * self._lags[src] * self._lags[dst]) + transfer.longer_s
        dies = self._lost[place]
        if self.tamper or self.tamper_relayed:
            for hold_up in (*self.tamper, *(self.tamper_relayed if transfer.relayed else ())):
                latency += float(hold_up(np.array([src]), np.array([dst]), transfer.kind)[0])
            dies = dies or latency == _INF
        if self.groups is not None:
            dies = dies or self.groups[src] != self.groups[dst]
        if self._fair is not None:
            piece.latency_s, piece.dies = latency, bool(dies)
            self._fair.start(src, dst, size, piece.transferred, piece.broken)
            return
        s_per_byte, start = self._up_s[src], self._upload_free_s[src]
        wait_s = start - now
        if wait_s <= 0.0:
            start, wait_s = now, 0.0
        elif wait_s > self._queue_bytes * s_per_byte:
            piece.out_s = now
            self.lose(transfer, piece)
            return
        self._trace.waited(transfer.code, not transfer.queued, wait_s, wait_s)
        transfer.queued = True
        own = size * s_per_byte
        self._upload_free_s[src] = start + own
        if not self.both:
            wide = size * self._down_s[dst]
            if wide > own:
                own = wide
        out_s, begins_s = start + own, start
        if self.capacities is not None:
            begins_s, passed_s = self.capacities.enter(src, dst, start, size)
            out_s = max(out_s, passed_s)
        piece.out_s = out_s
        if piece is not transfer:
            self._follow(transfer, piece)
        if dies:
            self.lose(transfer, piece)
        else:
            piece.landing = False
            env = self._env
            reaches_s = (begins_s if self.both else out_s) + latency
            heappush(env._queue, (reaches_s, NORMAL, next(env._eid), piece))

    def post(self, t_s: float, piece: Travelling) -> None:
        """Let ``piece`` happen at ``t_s``."""
        heappush(self._env._queue, (t_s, NORMAL, next(self._env._eid), piece))

    def lose(self, transfer: Transfer, piece: Travelling, least_s: float = 0.0) -> None:
        """Send a message, or a chunk of it, again after a timeout, not before ``least_s``; or give it up."""
        if piece.tries == self.paths.retransmit:
            self.end(transfer, LOST)
            return
        # RFC 6298, 2.2: after the first measurement R the timeout is R + 4 (R / 2); 5.5: it doubles. R is a round trip.
        timeout_s = max(LEAST_RTO_S, 3 * 2 * transfer.base_s) * 2**piece.tries
        piece.tries += 1
        self._clock.at(max(piece.out_s + timeout_s, least_s), self._transmit, transfer, piece)

    # -- arriving -------------------------------------------------------------------------------------------------------------

    def reached(self, transfer: Transfer, piece: Travelling) -> None:
        """A message, or a chunk of it, is there; or its first byte is, where the receiver has a queue."""
        if transfer.over:
            return
        now, nodes, src, dst = self._env._now, self._nodes, transfer.src, transfer.dst
        session = transfer.session
        if nodes.session[src] != session and nodes.ended_s[src][session] < piece.out_s:
            self.end(transfer, OFFLINE)  # cut off
            return
        # Whoever was away when it was sent, and is back, receives it.
        if not nodes.online[dst] or nodes.left_s[dst] > transfer.sent_s:
            self.end(transfer, OFFLINE)
            return
        if self.both and not piece.landing:
            self._land(transfer, piece)
            return
        if piece is not transfer:
            transfer.missing -= piece.size
            if transfer.missing:
                return
        transfer.over = True
        nbytes = transfer.nbytes
        self._trace.settled(transfer.number, now, DELIVERED, transfer.code, nbytes, transfer.sent_s)
        self._downloaded[dst] += nbytes
        transfer.deliver(*transfer.args)

    def _land(self, transfer: Transfer, piece: Travelling) -> None:
        """Put what reaches its receiver in the download queue there."""
        now, src, dst, size = self._env._now, transfer.src, transfer.dst, piece.size
        s_per_byte, start = self._down_s[dst], self._download_free_s[dst]
        wait_s = start - now
        if wait_s <= 0.0:
            start, wait_s = now, 0.0
        elif wait_s > self._queue_bytes * s_per_byte:
            self.lose(transfer, piece, now + LEAST_RTO_S)
            return
        self._trace.waited(transfer.code, 0, wait_s, wait_s)
        passed_s = self._download_free_s[dst] = start + size * s_per_byte
        comes_in_s = self._up_s[src]
        if self.capacities is not None:
            comes_in_s = max(comes_in_s, float(self.capacities.s_per_byte[self.capacities.slot(src, dst)]))
        piece.landing = True
        self.post(max(passed_s, now + size * comes_in_s), piece)

    def end(self, transfer: Transfer, outcome: int) -> None:
        """Record how a message ends."""
        if not transfer.over:
            transfer.over = True
            now = self._env._now
            self._trace.settled(transfer.number, now, outcome, transfer.code, transfer.nbytes, transfer.sent_s)
