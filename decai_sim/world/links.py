"""Sending: every byte waits its turn, travels, and is accounted for; one event a message, two where both ends queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.trace import DELIVERED, LOST, OFFLINE, Trace
from decai_sim.world.clock import NORMAL, Clock, Occurrence
from decai_sim.world.fair import FairShare

if TYPE_CHECKING:
    from decai_sim.seeding import Streams
    from decai_sim.world.network import Paths
    from decai_sim.world.nodes import Nodes

TABLE = 1 << 17
"""Jitter and loss are drawn ahead; every link walks through these tables from a place of its own."""
_LEAST_RTO_S = 1.0
"""RFC 6298, section 2.4: the least time after which what is not acknowledged is sent again."""

Tamper = Callable[[np.ndarray, np.ndarray, str], np.ndarray]
"""From senders, receivers and kind to the seconds by which each message is held up; ``inf`` drops it."""


class Links:
    """Moves messages between nodes.

    A message waits for its turn in the sender's upload queue (first in, first out), is transmitted at the slowest of the two
    access rates and the link's, and arrives one latency later. A fast sender's queue is busy only as long as its own rate needs:
    a server feeds many slow receivers at once. With ``queueing="both"`` the receiver's download queue is taken in the order in
    which messages reach it, at the price of a second event; with ``"fair"`` there are no queues, and the transfers under way
    share all access rates, max–min fairly.

    A message dies if it is lost on the way as often as it may be sent, if its sender vanishes before the last byte is out, or if
    its receiver goes meanwhile or is not there when it arrives. A lost one is sent again after RFC 6298's first timeout, which
    then doubles. A message larger than ``chunk_bytes`` travels in pieces, the next one after the last byte of the one before is
    out; others' messages may come between.

    Attributes:
        tamper: who holds messages up or drops them on the way; see :data:`Tamper`.
    """

    def __init__(self, clock: Clock, paths: Paths, nodes: Nodes, trace: Trace, streams: Streams) -> None:
        self._clock, self.paths, self._nodes, self._trace = clock, paths, nodes, trace
        self._env: Any = clock.env
        n = len(paths.upload_bps)
        self._n = n
        self._rated_s = 8 / paths.upload_bps, 8 / paths.download_bps  # seconds a byte
        self.up_s, self.down_s = (rated_s.copy() for rated_s in self._rated_s)
        self.link_s = 8 / paths.link_bps
        self.upload_free_s, self.download_free_s = np.zeros((2, n))
        self.lags = np.ones(n)
        self.groups: np.ndarray | None = None
        self.tamper: list[Tamper] = []

        # Equal shares of an exponential's quantiles, shuffled: the mean is exact, whatever the seed.
        quantiles = -np.log((np.arange(TABLE) + 0.5) / TABLE)
        self.stretch: np.ndarray = 1 + paths.jitter * streams.of("jitter").permutation(quantiles)
        self.lost = np.zeros(TABLE, dtype=bool) if paths.loss is None else paths.loss.table(TABLE, streams.of("loss"))
        self.place = streams.counter("messages")
        self._used: dict[int, tuple[list[int], float]] = {}  # per link: where it stands in the tables, and its latency

        self._fair: FairShare | None = None
        if paths.queueing == "fair":
            self._fair = FairShare(clock, paths.upload_bps, paths.download_bps, paths.link_bps)
        self.both = paths.queueing == "both"
        self.uploaded, self.downloaded = np.zeros((2, n), dtype=np.int64)
        nodes.on_offline.append(self._hang_up)

    @property
    def bytes_up(self) -> list[int]:
        """Bytes each node set out to send, those sent again included, the server's last."""
        return [int(nbytes) for nbytes in self.uploaded]

    @property
    def bytes_down(self) -> list[int]:
        """Bytes of whole messages each node received, the server's last."""
        return [int(nbytes) for nbytes in self.downloaded]

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
        self.begin(Transfer(number, now, src, dst, nbytes, code, kind, deliver, args))

    def begin(self, transfer: Transfer) -> None:
        """As :meth:`send`, of a message that the trace has already."""
        src = transfer.src
        if not self._nodes.online[src]:
            self.uploaded[src] += transfer.nbytes
            self._end(transfer, OFFLINE)
            return
        transfer.session = self._nodes.session[src]
        transfer.cursors, transfer.base_s = self._link(src, transfer.dst)
        self._next_piece(transfer)

    def again(self, transfer: Transfer, cursors: Any, link: int, out_s: float) -> None:
        """Go on with a message that was lost once, its last byte out at ``out_s``.

        Args:
            transfer: the message; its sender is there.
            cursors: where ``cursors[link]`` says how far the tables are used, and is moved on.
            link: see there.
            out_s: virtual seconds.
        """
        transfer.session = self._nodes.session[transfer.src]
        transfer.cursors, transfer.link = cursors, link
        transfer.base_s = self.paths.base_s(transfer.src, transfer.dst)
        transfer.waiting, transfer.queued = 0, True
        piece = _Piece(self, transfer, transfer.nbytes)
        piece.out_s = out_s
        self._lose(piece)

    def _link(self, src: int, dst: int) -> tuple[list[int], float]:
        key = (src % self._n) * self._n + dst % self._n
        link = self._used.get(key)
        if link is None:
            link = self._used[key] = [int(self.place(src, dst) * TABLE)], self.paths.base_s(src, dst)
        return link

    def _next_piece(self, transfer: Transfer) -> None:
        if transfer.over:
            return
        most = self.paths.chunk_bytes
        size = transfer.waiting if most is None or self._fair is not None else min(most, transfer.waiting)
        transfer.waiting -= size
        self._transmit(_Piece(self, transfer, size))

    def _transmit(self, piece: _Piece) -> None:
        """Put a piece in its sender's queue, now."""
        transfer, size, now = piece.transfer, piece.size, self._env._now
        src, dst = transfer.src, transfer.dst
        if transfer.over:
            return
        self.uploaded[src] += size
        if self._nodes.session[src] != transfer.session:
            self._end(transfer, OFFLINE)
            return
        place = transfer.cursors[transfer.link] = (int(transfer.cursors[transfer.link]) + 1) % TABLE
        latency = transfer.base_s * float(self.stretch[place] * self.lags[src] * self.lags[dst]) + transfer.longer_s
        for hold_up in self.tamper:
            latency += float(hold_up(np.array([src]), np.array([dst]), transfer.kind)[0])
        cut = self.groups is not None and self.groups[src] != self.groups[dst]
        dies = bool(self.lost[place]) or cut or latency == float("inf")
        if self._fair is not None:
            piece.latency_s, piece.dies = latency, dies
            self._fair.start(src, dst, size, piece.transferred, piece.broken)
            return
        own = size * float(self.up_s[src])
        wide = size * max(self.link_s, 0.0 if self.both else float(self.down_s[dst]))
        start = max(now, float(self.upload_free_s[src]))
        if start > now and start - now > self.paths.queue_bytes * self.up_s[src]:
            piece.out_s = now
            self._lose(piece)
            return
        self._trace.waited(transfer.code, not transfer.queued, start - now, start - now)
        transfer.queued = True
        self.upload_free_s[src] = start + own
        piece.out_s = start + max(own, wide)
        if transfer.waiting and not piece.followed:
            piece.followed = True
            self._clock.at(piece.out_s, self._next_piece, transfer)
        if dies:
            self._lose(piece)
        else:
            piece.landing = False
            self._post((start if self.both else piece.out_s) + latency, piece)

    def _post(self, t_s: float, piece: _Piece) -> None:
        heappush(self._env._queue, (t_s, NORMAL, next(self._env._eid), piece))

    def _lose(self, piece: _Piece) -> None:
        transfer = piece.transfer
        if piece.tries == self.paths.retransmit:
            self._end(transfer, LOST)
            return
        # RFC 6298, 2.2: after the first measurement R the timeout is R + 4 (R / 2); 5.5: it doubles. R is a round trip.
        timeout_s = max(_LEAST_RTO_S, 3 * 2 * transfer.base_s) * 2**piece.tries
        piece.tries += 1
        self._clock.at(piece.out_s + timeout_s, self._transmit, piece)

    # -- arriving -------------------------------------------------------------------------------------------------------------

    def _reached(self, piece: _Piece) -> None:
        """A piece is there; or its first byte is, where the receiver has a queue."""
        transfer, now = piece.transfer, self._env._now
        if transfer.over:
            return
        if self._dead(transfer.src, transfer.session, piece.out_s, transfer.dst, transfer.sent_s):
            self._end(transfer, OFFLINE)
            return
        if self.both and not piece.landing:
            dst, free = transfer.dst, float(self.download_free_s[transfer.dst])
            start = max(now, free)
            if start > now and start - now > self.paths.queue_bytes * self.down_s[dst]:
                self._lose(piece)
                return
            self._trace.waited(transfer.code, 0, start - now, start - now)
            passed = self.download_free_s[dst] = start + piece.size * float(self.down_s[dst])
            piece.landing = True
            self._post(max(passed, now + piece.size * max(self.link_s, float(self.up_s[transfer.src]))), piece)
            return
        transfer.missing -= piece.size
        if not transfer.missing:
            self._end(transfer, DELIVERED)
            self.downloaded[transfer.dst] += transfer.nbytes
            transfer.deliver(*transfer.args)

    def _dead(self, src: int, session: int, out_s: float, dst: int, sent_s: float) -> bool:
        """Whether what was sent at ``sent_s`` in its sender's ``session``, and out at ``out_s``, died with one of its ends."""
        nodes = self._nodes
        if nodes.session[src] != session and nodes.ended_s[src][session] < out_s:
            return True  # cut off
        # Whoever was away when it was sent, and is back, receives it.
        return not nodes.online[dst] or nodes.left_s[dst] > sent_s

    def _end(self, transfer: Transfer, outcome: int) -> None:
        if not transfer.over:
            transfer.over = True
            now = self._env._now
            self._trace.settled(transfer.number, now, outcome, transfer.code, transfer.nbytes, transfer.sent_s)


class Transfer:
    """One message, from its sending to its end.

    Args:
        number: what the trace calls it.
        sent_s: when it was sent.
        src, dst: from and to whom.
        nbytes: size on the wire, bytes.
        code, kind: number and name of its kind.
        deliver: called with ``args`` on arrival.
        args: see there.
        longer_s: by how much it takes longer than its link has it, seconds.
    """

    __slots__ = (
        *("number", "sent_s", "src", "dst", "nbytes", "code", "kind", "deliver", "args", "longer_s"),
        *("session", "cursors", "link", "base_s", "queued", "missing", "over", "waiting"),
    )

    session: int
    cursors: Any
    base_s: float

    def __init__(
        self,
        number: int,
        sent_s: float,
        src: int,
        dst: int,
        nbytes: int,
        code: int,
        kind: str,
        deliver: Callable[..., object],
        args: tuple[Any, ...],
        longer_s: float = 0.0,
    ) -> None:
        self.number, self.sent_s, self.src, self.dst, self.nbytes = number, sent_s, src, dst, nbytes
        self.code, self.kind, self.deliver, self.args, self.longer_s = code, kind, deliver, args, longer_s
        self.link = 0
        self.waiting = nbytes  # bytes not yet in the sender's queue
        self.missing = nbytes  # bytes not yet there
        self.queued = self.over = False


class _Piece(Occurrence):
    """What of a message travels at once: all of it, or a chunk."""

    __slots__ = ("_links", "dies", "followed", "landing", "latency_s", "out_s", "size", "transfer", "tries")

    def __init__(self, links: Links, transfer: Transfer, size: int) -> None:
        self._links, self.transfer, self.size = links, transfer, size
        self.tries = 0
        self.out_s = self.latency_s = 0.0
        self.landing = self.dies = self.followed = False

    def happen(self) -> None:
        self._links._reached(self)

    def transferred(self) -> None:
        """All bytes have been sent, where rates are shared."""
        links = self._links
        self.out_s = links._env._now
        if self.dies:
            links._lose(self)
        else:
            links._post(self.out_s + self.latency_s, self)

    def broken(self) -> None:
        """One of its ends has gone, where rates are shared."""
        self._links._end(self.transfer, OFFLINE)
