"""The transport as one would write it down first: SimPy, a process a message, a resource a queue. Slow, and plain to see.

Nothing of it is shared with ``decai_sim.world``, but what it is given: rates, latencies, tables of draws and the times at which
nodes come and go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import simpy


class Plain:
    """Moves messages between nodes 0 … n−1."""

    def __init__(self, n: int, world: Any, start: Callable[[int, int, str], int], base_s: Callable[[int, int], float]) -> None:
        """Take over a world's rates, tables and options.

        Args:
            n: number of nodes.
            world: what is taken over from.
            start: from a link's ends and a kind of message to where such messages along it begin in the tables.
            base_s: from a link's ends to its latency.
        """
        paths, links = world.paths, world.links
        self.env = simpy.Environment()
        self.up, self.down = paths.upload_bps.tolist(), paths.download_bps.tolist()
        self.retransmit, self.chunk_bytes, self.queue_bytes = paths.retransmit, paths.chunk_bytes, paths.queue_bytes
        self.rates = paths.link_rates
        self.both = paths.queueing == "both"
        self.stretch, self.lost = links.stretch.tolist(), links.lost.tolist()
        self.base_s = base_s
        self.cursor: dict[tuple[int, int, int], int] = {}
        self.first = start
        self.online = [True] * n
        self.departures: list[list[float]] = [[] for _ in range(n)]
        self.uploads = [simpy.Resource(self.env) for _ in range(n)]
        self.downloads = [simpy.Resource(self.env) for _ in range(n)]
        self.links: list[dict[int, simpy.Resource]] = [{} for _ in range(n)]  # by receiver
        self.backlog: dict[simpy.Resource, float] = {}  # when what is in a queue will have passed
        self.table: list[list[Any]] = []
        self.bytes_up, self.bytes_down = [0] * n, [0] * n
        self.cut: Callable[[int, int], bool] = lambda src, dst: False
        self.hold_up: Callable[[int, int, str], float] = lambda src, dst, kind: 0.0
        self.longer_s: Callable[[str], float] = lambda kind: 0.0

    def churn(self, node: int, online: bool, periods: Iterator[float]) -> Iterator[Any]:
        """A process: the node's comings and goings."""
        self.online[node] = online
        for period in periods:
            if period == math.inf:
                return
            yield self.env.timeout(period)
            if self.online[node]:
                self.departures[node].append(self.env.now)
                # Whatever waits goes on waiting in queues that nobody uses any more.
                self.uploads[node], self.downloads[node] = simpy.Resource(self.env), simpy.Resource(self.env)
                self.links[node] = {}
            self.online[node] = not self.online[node]

    def send(self, src: int, dst: int, nbytes: int, kind: str, deliver: Callable[..., object], *args: Any) -> None:
        row = [self.env.now, math.nan, src, dst, kind, nbytes, "expired"]
        self.table.append(row)
        self.env.process(self.message(row, deliver, args))

    def draw(self, src: int, dst: int, kind: str) -> tuple[float, bool]:
        """Latency and fate of the next message on a link."""
        way = src, dst, self.first(src, dst, kind)
        place = self.cursor[way] = (self.cursor.get(way, way[-1]) + 1) % len(self.stretch)
        return self.base_s(src, dst) * self.stretch[place], self.lost[place]

    def message(self, row: list[Any], deliver: Callable[..., object], args: tuple[Any, ...]) -> Iterator[Any]:
        """A process: one message."""
        _, _, src, dst, _, nbytes, _ = row
        if not self.online[src]:
            self.bytes_up[src] += nbytes
            row[-1] = "offline"
            return
        before = len(self.departures[src])
        missing, pieces = nbytes, []
        while True:
            size = min(missing, self.chunk_bytes or missing)
            missing -= size
            out = self.env.event()
            pieces.append(self.env.process(self.piece(row, before, size, out)))
            yield out
            if not missing or row[-1] in ("offline", "lost"):
                break
        yield self.env.all_of(pieces)
        if row[-1] == "expired":
            row[1], row[-1] = self.env.now, "delivered"
            self.bytes_down[dst] += nbytes
            deliver(*args)

    def piece(self, row: list[Any], before: int, size: int, out: simpy.Event) -> Iterator[Any]:
        """A process: what of a message travels at once."""
        env, (_, _, src, dst, kind, *_) = self.env, row
        for attempt in range(self.retransmit + 1):
            if row[-1] != "expired":
                break
            self.bytes_up[src] += size
            if len(self.departures[src]) > before:
                row[-1] = "offline"
                break
            latency, lost = self.draw(src, dst, kind)
            latency += self.longer_s(kind) + self.hold_up(src, dst, kind)
            lost = lost or self.cut(src, dst) or latency == math.inf
            up, down, link = (8 * size / bps for bps in (self.up[src], self.down[dst], self.carries(src, dst)))
            queue, ways = self.uploads[src], self.links[src]
            if self.is_full(queue, self.up[src]):
                if attempt == self.retransmit:
                    row[-1] = "lost"
                else:
                    yield env.timeout(max(1.0, 6 * self.base_s(src, dst)) * 2**attempt)
                continue
            if lost and attempt == self.retransmit:
                row[-1] = "lost"
            self.fill(queue, up)
            turn = queue.request()
            yield turn
            began = env.now
            env.process(self.occupy(queue, turn, up))
            width = up if self.both else max(up, down)
            if link:
                # Onto the link as soon as it is free: its bytes follow each other there while the sender's queue goes on.
                way = ways.setdefault(dst, simpy.Resource(env))
                on_link = way.request()
                yield on_link
                env.process(self.occupy(way, on_link, link))
            reached, out_s = env.now + latency, max(began + width, env.now + link)
            passed = env.timeout(out_s - env.now)
            if lost:
                yield passed
                if not out.triggered:
                    out.succeed()
                if attempt < self.retransmit:
                    yield env.timeout(max(1.0, 6 * self.base_s(src, dst)) * 2**attempt)
                continue
            passed.callbacks.append(lambda _: out.triggered or out.succeed())
            if not self.both:
                yield passed
                yield env.timeout(latency)
                self.die_with_ends(row, before, out_s)
                return
            yield env.timeout(reached - env.now)
            if self.die_with_ends(row, before, out_s):
                return
            tail = env.now + max(up, link)
            queue = self.downloads[dst]
            if self.is_full(queue, self.down[dst]):
                if attempt == self.retransmit:
                    row[-1] = "lost"
                else:
                    again_s = out_s + max(1.0, 6 * self.base_s(src, dst)) * 2**attempt
                    yield env.timeout(max(again_s, env.now + 1.0) - env.now)
                continue
            self.fill(queue, down)
            turn = queue.request()
            yield turn
            yield env.process(self.occupy(queue, turn, down))
            yield env.timeout(max(0.0, tail - env.now))
            self.die_with_ends(row, before, out_s)
            return
        if not out.triggered:
            out.succeed()

    def carries(self, src: int, dst: int) -> float:
        """What the link between two nodes carries, bits per second."""
        return math.inf if self.rates is None else float(self.rates.bps(np.array([src]), np.array([dst]))[0])

    def is_full(self, queue: simpy.Resource, bps: float) -> bool:
        """Whether a queue holds more than it can."""
        return (self.backlog.get(queue, 0.0) - self.env.now) * bps / 8 > self.queue_bytes

    def fill(self, queue: simpy.Resource, seconds: float) -> None:
        self.backlog[queue] = max(self.backlog.get(queue, 0.0), self.env.now) + seconds

    def occupy(self, queue: simpy.Resource, turn: Any, seconds: float) -> Iterator[Any]:
        yield self.env.timeout(seconds)
        queue.release(turn)

    def die_with_ends(self, row: list[Any], before: int, out_s: float) -> bool:
        """Mark a message dead whose sender left before its last byte was out, or whose receiver left meanwhile or is away."""
        sent_s, _, src, dst, *_ = row
        cut_off = len(self.departures[src]) > before and self.departures[src][before] < out_s
        missed = not self.online[dst] or any(t_s > sent_s for t_s in self.departures[dst])
        if (cut_off or missed) and row[-1] == "expired":
            row[-1] = "offline"
        return row[-1] != "expired"
