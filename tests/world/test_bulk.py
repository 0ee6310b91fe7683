"""The fast transport against Links, message by message, and against plain SimPy."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import decai_sim as ds
from decai_sim.seeding import Streams
from decai_sim.world import Exponential, Ideal, Internet, Mix, Ring, SmallWorld, link_rates
from decai_sim.world.bulk import Arrivals
from decai_sim.world.dissemination import BlockRelay
from decai_sim.world.loss import GilbertElliott
from decai_sim.world.topologies import Given, RandomEachRound
from decai_sim.world.turns import turns
from decai_sim.world.world import World
from tests.world.plain import Plain
from tests.world.worlds import Absences, Wires, world

HORIZON_S = 40.0


def small_world(n: int, seed: int, **options: Any) -> World:
    """A small internet that is slow enough for queues and short-lived enough for deaths."""
    network = Internet(**{"upload_bps": 1e6, "download_bps": 2e6, "loss": 0.05, **options})
    churn = Exponential(mean_online_s=15, mean_offline_s=4)
    return World(n, network, churn, Mix(laptop=1), Streams(seed), SmallWorld(degree=4, rewire=0.3))


def news(n: int, seed: int) -> list[tuple[float, int, int, int]]:
    """What is published: when, by whom, its number and its size in bytes."""
    draw = np.random.default_rng(seed)
    return [(float(draw.uniform(0, 3)), int(draw.integers(n)), item, int(draw.integers(0, 40_000))) for item in range(6)]


class Flood:
    """Whoever hears of an item for the first time sends it to all neighbours but the one it came from; a kind an item."""

    def __init__(self, graph: Any, send: Callable[[int, int, int, str, int], object]) -> None:
        self.graph, self.send, self.sizes = graph, send, dict[int, int]()
        self.seen: set[tuple[int, int]] = set()

    def publish(self, origin: int, item: int, nbytes: int) -> None:
        self.sizes[item] = nbytes
        self.hear(-1, origin, item)

    def hear(self, src: int, dst: int, item: int) -> None:
        if (dst, item) not in self.seen:
            self.seen.add((dst, item))
            for other in self.graph.indices[self.graph.indptr[dst] : self.graph.indptr[dst + 1]].tolist():
                if other != src:
                    self.send(dst, other, self.sizes[item], f"item {item}", item)


class BulkFlood:
    """The same by mailbox."""

    def __init__(self, w: World, boxes: int = 1) -> None:
        self.w, self.sizes = w, dict[int, int]()
        self.seen = np.zeros((10, w.n), dtype=bool)
        self.boxes = [w.bulk.open(self.arrived) for _ in range(boxes)]

    def publish(self, origin: int, item: int, nbytes: int) -> None:
        self.sizes[item] = nbytes
        if not self.seen[item, origin]:
            self.spread(np.array([self.w.clock.now]), np.array([-1]), np.array([origin]), item)

    def arrived(self, arrivals: Arrivals) -> None:
        for item in np.unique(arrivals.item).tolist()[::-1]:  # in no order that the times are in
            some = arrivals[arrivals.item == item]
            self.spread(some.t_s, some.src, some.dst, item)

    def spread(self, t_s: np.ndarray, src: np.ndarray, dst: np.ndarray, item: int) -> None:
        new = np.flatnonzero(~self.seen[item, dst])
        _, first = np.unique(dst[new], return_index=True)
        new = new[np.sort(first)]
        self.seen[item, dst[new]] = True
        box = self.boxes[item % len(self.boxes)]
        items = np.full(len(new), item)
        self.w.bulk.fan_out(box, t_s[new], dst[new], self.w.wiring, self.sizes[item], f"item {item}", items, but=src[new])


Also = Callable[[World], object]


def by_bulk(w: World, published: list[Any], boxes: int = 1, also: Also | None = None, drive: Also | None = None) -> pd.DataFrame:
    flood = BulkFlood(w, boxes)
    for t_s, *what in published:
        w.clock.at(t_s, flood.publish, *what)
    if also is not None:
        also(w)
    if drive is None:
        w.run(HORIZON_S)
    else:
        drive(w)
    return sorted_table(w.trace.messages())


def by_links(w: World, published: list[Any], also: Also | None = None) -> pd.DataFrame:
    wiring, links = w.wiring, w.links
    # The draws of the wiring: Links has places of its own otherwise.
    ends = zip(wiring.src.tolist(), wiring.dst.tolist(), wiring.cursor.tolist(), wiring.base_s.tolist(), strict=True)
    for src, dst, place, base_s in ends:
        links.start_at(src, dst, place, base_s)

    def send(src: int, dst: int, nbytes: int, kind: str, item: int) -> None:
        links.send(src, dst, nbytes, kind, flood.hear, src, dst, item)

    flood = Flood(w.graph, send)
    for t_s, *what in published:
        w.clock.at(t_s, flood.publish, *what)
    if also is not None:
        also(w)
    w.run(HORIZON_S)
    return sorted_table(w.trace.messages())


def plainly(w: World, published: list[Any], meddled: bool = False) -> tuple[pd.DataFrame, Plain]:
    wiring = w.wiring
    keys = [*zip(wiring.src.tolist(), wiring.dst.tolist(), strict=True)]
    starts, bases = (dict(zip(keys, column.tolist(), strict=True)) for column in (wiring.cursor, wiring.base_s))
    plain = Plain(w.n, w, lambda src, dst, kind: starts[src, dst], lambda *link: bases[link])
    if meddled:  # as in meddle()
        plain.cut = lambda src, dst: 1.5 <= plain.env.now < 2.1 and src % 2 != dst % 2
        plain.hold_up = lambda src, dst, kind: (
            float(hold_up(np.array([src]), np.array([dst]), kind)[0]) if 1.1 <= plain.env.now < 2.2 else 0.0
        )

    def send(src: int, dst: int, nbytes: int, kind: str, item: int) -> None:
        plain.send(src, dst, nbytes, kind, flood.hear, src, dst, item)

    flood = Flood(w.graph, send)
    return sorted_table(alongside(plain, w, flood, published)), plain


def alongside(plain: Plain, w: World, protocol: Any, published: list[Any]) -> pd.DataFrame:
    """Let plain SimPy run what is published, with the comings and goings of a world."""
    churn = Exponential(mean_online_s=15, mean_offline_s=4)
    here = churn.start(w.n, w.streams)

    def periods(node: int) -> Iterator[float]:
        for k in itertools.count():
            yield float(churn.periods(k, here ^ bool(k % 2), np.zeros(w.n), w.streams)[node])

    for node in range(w.n):
        plain.env.process(plain.churn(node, bool(here[node]), periods(node)))

    def publisher() -> Iterator[Any]:
        for t_s, *what in sorted(published):
            yield plain.env.timeout(t_s - plain.env.now)
            protocol.publish(*what)

    plain.env.process(publisher())
    plain.env.run(HORIZON_S)
    columns = ["t_sent_s", "t_delivered_s", "src", "dst", "kind", "bytes", "outcome"]
    return pd.DataFrame(plain.table, columns=columns)


def by_news(w: World, protocol: Any, published: list[Any]) -> pd.DataFrame:
    """Let a protocol run what is published."""
    for t_s, *what in published:
        w.clock.at(t_s, protocol.publish, *what)
    w.run(HORIZON_S)
    return w.trace.messages()


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Messages of one kind along one link are told apart by when they were sent."""
    return frame.astype({"kind": str, "outcome": str}).sort_values(["kind", "src", "dst", "t_sent_s"], ignore_index=True)


def sorted_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Every item travels once along every link in each direction: that tells messages apart."""
    frame = frame[frame.kind != "single"].astype({"kind": str, "outcome": str})
    assert not frame.duplicated(["kind", "src", "dst"]).any()
    return frame.sort_values(["kind", "src", "dst"], ignore_index=True)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert len(one) == len(other) > 0
    for name in ("src", "dst", "kind", "bytes", "outcome"):
        assert one[name].tolist() == other[name].tolist(), name
    for name in ("t_sent_s", "t_delivered_s"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=0)


LINKS = link_rates.Lognormal(median_bps=6e5, sigma=1.0)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"queueing": "both"},
    {"loss": GilbertElliott(p_enter=0.05, p_leave=0.3), "retransmit": 2},
    {"queueing": "both", "retransmit": 1, "link_bps": 7e5},
    {"chunk_bytes": 8_000, "retransmit": 1},
    {"chunk_bytes": 8_000, "queueing": "both"},
    {"link_bps": LINKS, "retransmit": 1},
    {"link_bps": LINKS, "queueing": "both", "chunk_bytes": 8_000},
    {"queue_bytes": 50_000},
    {"queue_bytes": 50_000, "retransmit": 2},
    {"queue_bytes": 30_000, "queueing": "both", "download_bps": 5e5},
    {"queue_bytes": 30_000, "queueing": "both", "retransmit": 2, "download_bps": 5e5},
    # Chunks that would fill a queue to the brim leave it to rounding who finds it full.
    {"queue_bytes": 30_000, "queueing": "both", "retransmit": 1, "chunk_bytes": 25_000, "link_bps": LINKS, "download_bps": 4e5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "uplink")
@settings(max_examples=3, deadline=None)
@given(n=st.integers(5, 40), seed=st.integers(0, 10_000), boxes=st.integers(1, 3))
@example(n=40, seed=453, boxes=1)  # a latency that one link alone has to other last bits, of a message sent again
@example(n=21, seed=9122, boxes=2)  # dropped by a full download queue when its sender has gone already
def test_three_ways_of_sending_agree_event_for_event(options: dict[str, Any], n: int, seed: int, boxes: int) -> None:
    published = news(n, seed)
    bulk, single = small_world(n, seed, **options), small_world(n, seed, **options)
    table, plain = plainly(small_world(n, seed, **options), published)
    fast = by_bulk(bulk, published, boxes)
    same(fast, table)
    assert [*bulk.links.bytes_up[:-1], *bulk.links.bytes_down[:-1]] == plain.bytes_up + plain.bytes_down
    slow = by_links(single, published)
    same(slow, table)
    assert [*single.links.bytes_up[:-1], *single.links.bytes_down[:-1]] == plain.bytes_up + plain.bytes_down
    pd.testing.assert_frame_equal(fast, slow, check_exact=True)  # to the last bit
    pd.testing.assert_frame_equal(bulk.trace.traffic().sort_values("kind", ignore_index=True), single.trace.traffic(), rtol=1e-12)


class Questions:
    """Who has something to ask asks a dozen nodes, neighbours or not; each sends an answer of the size that was asked for."""

    def __init__(self, n: int, send: Callable[[int, int, int, str, int], object]) -> None:
        self.n, self.send, self.sizes = n, send, dict[int, int]()

    def publish(self, origin: int, item: int, nbytes: int) -> None:
        self.sizes[item] = nbytes
        for other in asked(self.n, origin, item):
            self.send(origin, other, 500, f"ask {item}", item)

    def hear(self, src: int, dst: int, item: int, kind: str) -> None:
        if kind.startswith("ask"):
            self.send(dst, src, self.sizes[item], f"answer {item}", item)


class BulkQuestions:
    """The same by mailbox."""

    def __init__(self, w: World) -> None:
        self.w, self.sizes, self.box = w, np.zeros(10, dtype=np.int64), w.bulk.open(self.arrived, anyone=True)

    def publish(self, origin: int, item: int, nbytes: int) -> None:
        self.sizes[item] = nbytes
        dst = np.array(asked(self.w.n, origin, item))
        same = np.full(len(dst), 1)
        self.w.bulk.send(self.box, same * self.w.clock.now, same * origin, dst, 500, f"ask {item}", same * item)

    def arrived(self, arrivals: Arrivals) -> None:
        for item in np.unique(arrivals.item).tolist()[::-1]:
            some = arrivals[(arrivals.item == item) & (arrivals.kind == self.w.bulk.kind(self.box, f"ask {item}"))]
            if len(some):
                what = int(self.sizes[item]), f"answer {item}", some.item
                self.w.bulk.send(self.box, some.t_s, some.dst, some.src, *what)


def asked(n: int, origin: int, item: int) -> list[int]:
    others = np.random.default_rng([origin, item]).permutation(n)
    return [node for node in others.tolist() if node != origin][:12]


BURSTS: list[dict[str, Any]] = [{**options, "loss": GilbertElliott(p_enter=0.05, p_leave=0.3)} for options in OPTIONS]
BURSTS.append({**OPTIONS[0], "queueing": "uplink", "retransmit": 3, "loss": GilbertElliott(p_enter=0.1, p_leave=0.2)})


@pytest.mark.parametrize("options", BURSTS, ids=lambda options: "-".join(options))
@settings(max_examples=3, deadline=None)
@given(n=st.integers(5, 40), seed=st.integers(0, 10_000))
def test_questions_to_anybody_are_answered_as_plain_simpy_has_it(options: dict[str, Any], n: int, seed: int) -> None:
    published = news(n, seed)
    bulk, single, given_ = (small_world(n, seed, **options) for _ in range(3))

    def of_links(w: World) -> Questions:
        # Latencies that are computed side by side have other last bits.
        w.links.numbers(*(ends.ravel() for ends in np.indices((n, n))))
        send = w.links.send
        mine = Questions(n, lambda src, dst, nbytes, kind, item: send(src, dst, nbytes, kind, mine.hear, src, dst, item, kind))
        return mine

    def of_plain(plain: Plain) -> Questions:
        send = plain.send
        mine = Questions(n, lambda src, dst, nbytes, kind, item: send(src, dst, nbytes, kind, mine.hear, src, dst, item, kind))
        return mine

    place, base_s = given_.links.place, given_.links.paths.base_s
    plain = Plain(n, given_, lambda src, dst, kind: int(place(src, dst) * len(given_.links.stretch)), base_s)
    table = sorted_table(alongside(plain, given_, of_plain(plain), published))
    fast = sorted_table(by_news(bulk, BulkQuestions(bulk), published))
    slow = sorted_table(by_news(single, of_links(single), published))
    same(fast, table)
    pd.testing.assert_frame_equal(fast, slow, check_exact=True)
    assert bulk.links.bytes_up == single.links.bytes_up
    assert bulk.links.bytes_up[:-1] == plain.bytes_up


class PlainRelay:
    """Blocks are announced, asked for, and sent one at a time: as ``BlockRelay``, with a process for all that takes time."""

    def __init__(self, plain: Plain, graph: Any, timeout_s: float) -> None:
        self.plain, self.graph, self.timeout_s = plain, graph, timeout_s
        self.sizes: list[int] = []
        self.has: set[tuple[int, int]] = set()
        self.asked_s: dict[tuple[int, int], float] = {}
        self.other: dict[tuple[int, int], int] = {}
        self.waiting: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by node and how often it has gone
        self.uploading: dict[int, tuple[int, int, int, Any]] = {}

    def publish(self, origin: int, _: int, nbytes: int) -> None:
        if self.plain.online[origin]:
            self.sizes.append(nbytes)
            self.take_in(-1, origin, len(self.sizes) - 1)

    def take_in(self, src: int, node: int, item: int) -> None:
        if (node, item) not in self.has:
            self.has.add((node, item))
            for other in self.graph.indices[self.graph.indptr[node] : self.graph.indptr[node + 1]].tolist():
                if other != src:
                    self.plain.send(node, other, 61, "inv", self.announced, node, other, item)

    def announced(self, src: int, node: int, item: int) -> None:
        self.other[node, item] = src
        self.ask(node, src, item)

    def ask(self, node: int, other: int, item: int) -> None:
        now = self.plain.env.now
        if (node, item) in self.has or self.asked_s.get((node, item), -math.inf) + self.timeout_s > now:
            return
        self.asked_s[node, item] = now
        self.plain.send(node, other, 61, "getdata", self.wanted, node, other, item)
        self.plain.env.process(self.ask_again(node, item))

    def ask_again(self, node: int, item: int) -> Iterator[Any]:
        before = len(self.plain.departures[node])
        yield self.plain.env.timeout(self.timeout_s)
        if len(self.plain.departures[node]) == before:
            self.ask(node, self.other[node, item], item)

    def wanted(self, by: int, node: int, item: int) -> None:
        session = len(self.plain.departures[node])
        queue = self.waiting.setdefault((node, session), [])
        queue.append((by, item))
        under_way = self.uploading.get(node)
        if under_way is None or under_way[0] != session:
            self.next_block(node)

    def next_block(self, node: int) -> None:
        session = len(self.plain.departures[node])
        self.uploading.pop(node, None)
        queue = self.waiting.get((node, session))
        if queue:
            to, item = queue.pop(0)
            mine = self.uploading[node] = (session, to, item, object())
            self.plain.send(node, to, self.sizes[item], "block", self.there, node, to, item)
            self.plain.env.process(self.give_up(node, mine))

    def give_up(self, node: int, mine: Any) -> Iterator[Any]:
        yield self.plain.env.timeout(self.timeout_s)
        if self.uploading.get(node) is mine and len(self.plain.departures[node]) == mine[0]:
            self.next_block(node)

    def there(self, src: int, node: int, item: int) -> None:
        self.take_in(src, node, item)
        if self.uploading.get(src, ())[1:3] == (node, item):
            self.next_block(src)


class BulkRelay:
    """The same by ``BlockRelay``."""

    def __init__(self, w: World, timeout_s: float) -> None:
        self.w, self.spread = w, BlockRelay(timeout_s=timeout_s).start(w, 10)

    def publish(self, origin: int, _: int, nbytes: int) -> None:
        if self.w.nodes.online[origin]:
            self.spread.publish(origin, nbytes)


@pytest.mark.parametrize("options", BURSTS, ids=lambda options: "-".join(options))
@settings(max_examples=3, deadline=None)
@given(n=st.integers(5, 40), seed=st.integers(0, 10_000), timeout_s=st.floats(0.3, 5))
@example(n=23, seed=9695, timeout_s=0.3219395270081035)  # a reminder, and just after it an announcement
def test_blocks_sent_one_at_a_time_travel_as_plain_simpy_has_it(
    options: dict[str, Any], n: int, seed: int, timeout_s: float
) -> None:
    published = news(n, seed)
    bulk, given_ = (small_world(n, seed, **options) for _ in range(2))
    wiring, place, base_s = given_.wiring, given_.links.place, given_.links.paths.base_s
    wired = dict(zip(zip(wiring.src.tolist(), wiring.dst.tolist(), strict=True), wiring.cursor.tolist(), strict=True))

    def start(src: int, dst: int, kind: str) -> int:
        return wired[src, dst] if kind == "inv" else int(place(src, dst) * len(given_.links.stretch))

    plain = Plain(n, given_, start, base_s)
    plain.longer_s = lambda kind: 0.0 if kind == "block" else 0.01
    table = in_order(alongside(plain, given_, PlainRelay(plain, given_.graph, timeout_s), published))
    fast = in_order(by_news(bulk, BulkRelay(bulk, timeout_s), published))
    same(fast, table)
    assert bulk.links.bytes_up[:-1] == plain.bytes_up


# -- together with everything else on the clock -------------------------------------------------------------------------------


def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
    """Some links drop a kind of messages, others hold all up."""
    dropped = ((src + dst) % 5 == 0) & (kind == "item 2")
    return np.where(dropped, np.inf, 0.05 * (src % 3))


def meddle(w: World) -> None:
    """Messages are held up and dropped for a while, and the network falls into two parts."""
    w.clock.at(1.1, w.links.tamper.append, hold_up)
    w.clock.at(1.5, w.links.partition, [node % 2 for node in range(w.n + 1)])
    w.clock.at(2.1, w.links.partition, None)
    w.clock.at(2.2, w.links.tamper.clear)


@pytest.mark.parametrize(
    "options", [OPTIONS[0], OPTIONS[1], OPTIONS[3], OPTIONS[9]], ids=lambda options: "-".join(options) or "uplink"
)
@settings(max_examples=3, deadline=None)
@given(n=st.integers(5, 40), seed=st.integers(0, 10_000))
def test_meddling_with_messages_and_parts_is_what_plain_simpy_makes_of_it(options: dict[str, Any], n: int, seed: int) -> None:
    published = news(n, seed)
    bulk, single = small_world(n, seed, **options), small_world(n, seed, **options)
    table, _ = plainly(small_world(n, seed, **options), published, meddled=True)
    same(by_bulk(bulk, published, also=meddle), table)
    same(by_links(single, published, also=meddle), table)


def troubles(w: World) -> None:
    """A bit of all that can happen to links, nodes and the clock."""
    at, links, n = w.clock.at, w.links, w.n
    at(0.7, links.slow, 0, 4.0)
    at(0.9, links.lag, 1, 3.0)
    at(1.1, links.tamper.append, hold_up)
    at(1.3, links.occupy, 2, 30_000)
    at(1.5, links.partition, [node % 2 for node in range(n + 1)])
    at(1.9, links.partition, None)
    at(2.2, links.tamper.clear)
    at(2.4, w.nodes.hold, 3, "fire")
    at(2.9, w.nodes.release, 3, "fire")
    at(3.1, links.slow, 0, 1.0)
    at(3.3, links.lag, 1, 1.0)
    for t_s in np.linspace(0.05, 5, 40).tolist():
        at(t_s, links.send, -1, int(100 * t_s) % n, 5_000, "single", int)

    def ticking() -> Iterator[Any]:
        while True:
            yield w.clock.env.timeout(0.11)

    w.clock.env.process(ticking())


TROUBLED: list[dict[str, Any]] = [
    {},
    {"queueing": "both"},
    {"queueing": "both", "retransmit": 2, "loss": 0.2},
    {"retransmit": 1, "chunk_bytes": 10_000, "link_bps": LINKS},
    {"queueing": "both", "retransmit": 2, "queue_bytes": 30_000, "chunk_bytes": 20_000, "link_bps": LINKS, "download_bps": 5e5},
]


@pytest.mark.parametrize("options", TROUBLED, ids=lambda options: "-".join(options) or "uplink")
@settings(max_examples=3, deadline=None)
@given(n=st.integers(5, 40), seed=st.integers(0, 10_000))
def test_troubles_strike_the_same_messages_at_the_same_times(options: dict[str, Any], n: int, seed: int) -> None:
    # What has no size passes a receiver's queue in no time, and would arrive at the instant at which the one before does.
    least = 1 if "queueing" in options else 0
    published = [*news(n, seed), *((t_s + 1, origin, item + 6, least) for t_s, origin, item, _ in news(n, seed + 1)[:3])]
    one, other = small_world(n, seed, **options), small_world(n, seed, **options)

    def shorter_sighted(w: World) -> None:
        troubles(w)
        w.clock.at(1.7, w.bulk.look_ahead, 0.001)

    tables = by_bulk(one, published, 2, shorter_sighted), by_links(other, published, troubles)
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    singles = (w.trace.messages().query("kind == 'single'") for w in (one, other))
    pd.testing.assert_frame_equal(
        *(rows.astype({"kind": str, "outcome": str}).reset_index(drop=True) for rows in singles), check_exact=True
    )
    assert one.links.bytes_up == other.links.bytes_up
    assert one.links.bytes_down == other.links.bytes_down
    assert one.trace.events().equals(other.trace.events())


def by_steps(w: World) -> None:
    while w.clock.env.peek() <= HORIZON_S:
        w.clock.step()


def by_simpy(w: World) -> None:
    w.clock.env.run(until=HORIZON_S)


def by_strides(w: World) -> None:
    for t_s in np.arange(0.0, HORIZON_S, 0.037).tolist():
        w.clock.run(t_s)
    w.run(HORIZON_S)


@pytest.mark.parametrize("queueing", ["uplink", "both"])
@pytest.mark.parametrize("drive", [by_steps, by_simpy, by_strides])
def test_whoever_drives_the_clock_sees_the_same_history(drive: Also, queueing: str) -> None:
    for seed in range(2):
        digests = []
        for how in (None, drive):
            w = small_world(30, seed, queueing=queueing, retransmit=1)
            by_bulk(w, news(30, seed), 2, troubles, how)
            digests.append(w.trace.digest())
        assert digests[0] == digests[1]


def test_where_nothing_takes_time_all_happens_at_once_in_the_order_of_sending() -> None:
    published = [(0.0, 4, 0, 100), (1.5, 7, 1, 0), (1.5, 8, 2, 5)]
    one, other = (World(30, Ideal(), None, Mix(laptop=1), Streams(3), SmallWorld(degree=4)) for _ in range(2))
    by_bulk(one, published)
    by_links(other, published)
    rows = one.trace.messages()
    assert (rows.t_delivered_s == rows.t_sent_s).all()
    assert rows.t_sent_s.unique().tolist() == [0.0, 1.5]
    for item in range(3):
        mine, theirs = (w.trace.messages().query(f"kind == 'item {item}'")[["src", "dst"]] for w in (one, other))
        assert len(mine) == 30 * 4 - 29
        assert mine.to_numpy().tolist() == theirs.to_numpy().tolist()


# -- mailboxes ----------------------------------------------------------------------------------------------------------------


def line(latency_s: Any = 0.5) -> World:
    """Nodes 0 - 1 - 2 - 3 in a row, a megabyte a second."""
    import networkx as nx

    return world(4, network=Wires([8e6] * 5, [math.inf] * 5, latency_s), topology=Given.of(nx.path_graph(4)))


def test_by_hand() -> None:
    w, got = line(), list[Any]()

    def arrived(arrivals: Arrivals) -> None:
        columns = (arrivals.t_s, arrivals.src, arrivals.dst, arrivals.item, arrivals.nbytes)
        got.extend(zip(*(column.tolist() for column in columns), strict=True))
        assert set(arrivals.kind.tolist()) == {w.bulk.kind(box, "x")}
        assert w.clock.now == arrivals.t_s[-1]

    box = w.bulk.open(arrived)
    # Node 1 sends 250 kB to each neighbour, then 125 kB along its second link: out at 0.25, 0.5 and 0.625.
    w.bulk.fan_out(box, [0.0], [1], w.wiring, 250_000, "x", [7])
    w.bulk.along(box, np.zeros(1), w.wiring.link(np.array([1]), np.array([2])), w.wiring, 125_000, "x", np.array([8]))
    w.bulk.send(box, [0.0], [3], [0], [500_000], "x", [9], longer_s=0.25)  # no link of the wiring: out at 0.5
    w.run()
    assert got == [(0.75, 1, 0, 7, 250_000), (1.0, 1, 2, 7, 250_000), (1.125, 1, 2, 8, 125_000), (1.25, 3, 0, 9, 500_000)]
    assert w.links.bytes_up == [0, 625_000, 0, 500_000, 0]
    assert w.trace.traffic().loc[0, "mean_queued_s"] == pytest.approx((0 + 0.25 + 0.5 + 0) / 4)


def clustered(lost: np.ndarray) -> float:
    """How much the loss of one message says of the next one: 0 if nothing."""
    return float(np.corrcoef(lost[:-1], lost[1:])[0, 1])


def test_losses_come_in_bursts_along_any_link() -> None:
    # In the bad state everything is lost, and the state changes with p_enter and p_leave: a correlation of 1 - 0.01 - 0.1.
    w = World(3, Internet(loss=GilbertElliott(p_enter=0.01, p_leave=0.1)), None, Mix(laptop=1), Streams(1), Ring())
    lost = np.ones(20_000, dtype=bool)
    box = w.bulk.open(lambda arrivals: lost.__setitem__(arrivals.item, False), anyone=True)

    def send(first: int) -> None:
        items = np.arange(first, first + 100)
        w.bulk.send(box, np.full(100, w.clock.now), np.zeros(100, int), np.ones(100, int), 100, "x", items)

    for first in range(0, len(lost), 100):
        w.clock.at(1.0 + first, send, first)
    w.run()
    assert clustered(lost) == pytest.approx(0.89, abs=0.03)
    assert lost.mean() == pytest.approx(1 / 11, abs=0.02)


def test_losses_come_in_bursts_along_links_that_come_and_go() -> None:
    # Of 2 nodes each has the other as its contact in every round, anew.
    bursts = GilbertElliott(p_enter=0.05, p_leave=0.1)
    w = World(2, Internet(loss=bursts), None, Mix(laptop=1), Streams(1), RandomEachRound(degree=1, period_s=1.0))
    box, lost = w.bulk.open(lambda arrivals: lost.__setitem__(arrivals.item, False)), np.ones(3000, dtype=bool)
    w.use_links()
    for i in range(len(lost)):
        w.clock.at(i + 0.5, lambda i=i: w.bulk.fan_out(box, [w.clock.now], [0], w.wiring, 10, "x", [i]))  # type: ignore[misc]
    w.run(len(lost) + 9)
    assert clustered(lost) == pytest.approx(0.85, abs=0.06)


def test_models_that_neighbours_send_each_other_are_lost_in_bursts() -> None:
    bursts = {"kind": "gilbert_elliott", "p_enter": 0.05, "p_leave": 0.1}
    scenario = ds.Scenario(
        nodes=6,
        topology="ring",
        task="digits",
        network={"kind": "internet", "loss": bursts},
        protocol={"kind": "dpsgd", "rounds": 200, "deadline_s": 5, "evaluate_every": 200, "local_steps": 1},
    )
    models = ds.run(scenario, progress=False).messages.query("kind == 'model'").sort_values("t_sent_s")
    links = [(link.outcome == "lost").to_numpy(float) for _, link in models.groupby(["src", "dst"])]
    assert np.mean([clustered(link) for link in links if link.std()]) > 0.7


def test_what_is_sent_in_one_stretch_leaves_in_order_of_time_whoever_sends_it() -> None:
    # Node 2 hears from 1 at 0.5 and from 3 at 0.625, in one stretch, and answers in two goes, the later one first.
    w, got = line(lambda src, dst: 0.625 if 3 in (src, dst) else 0.5), list[Any]()

    def reply(arrivals: Arrivals) -> None:
        for late in (True, False):
            some = arrivals[(arrivals.t_s > 0.6) == late]
            w.bulk.send(second, some.t_s, some.dst, some.src, 1_000_000, "reply", some.item)

    first = w.bulk.open(reply)
    second = w.bulk.open(lambda arrivals: got.extend(zip(arrivals.t_s.tolist(), arrivals.dst.tolist(), strict=True)))
    w.bulk.send(first, [0.0, 0.0], [3, 1], [2, 2], 0, "ask", [0, 1])
    w.run()
    # To 1: out 0.5 - 1.5, there at 2. To 3: out 1.5 - 2.5, there at 3.125.
    assert got == [(2.0, 1), (3.125, 3)]
    assert w.trace.messages().query("kind == 'reply'").dst.tolist() == [1, 3]


def test_mailboxes_may_use_the_same_name_for_what_they_send() -> None:
    w, got = line(), {0: list[int](), 1: list[int]()}
    boxes = [w.bulk.open(lambda arrivals, mine=mine: mine.extend(arrivals.item.tolist())) for mine in got.values()]  # type: ignore[misc]
    for item in range(4):
        w.bulk.send(boxes[item % 2], [0.0], [0], [1], 10, "x", [item])
    w.run()
    assert got == {0: [0, 2], 1: [1, 3]}


def test_reminders_come_to_those_who_have_been_there_since() -> None:
    w, got = world(3, churn=Absences({1: [2.0, 2.0, math.inf], 2: [0, 1.0, math.inf]})), list[Any]()

    def arrived(arrivals: Arrivals) -> None:
        got.extend(zip(arrivals.t_s.tolist(), arrivals.dst.tolist(), arrivals.item.tolist(), strict=True))

    box = w.bulk.open(arrived)
    w.bulk.later(box, np.array([1.0, 1.0, 1.5, 3.0, 5.0, 5.0]), np.array([0, 1, 2, 1, 1, 0]), "tick", np.arange(6))
    w.run()
    assert got == [(1.0, 0, 0), (1.0, 1, 1), (1.5, 2, 2), (5.0, 0, 5)]
    assert len(w.trace.messages()) == sum(w.links.bytes_up) == 0


def test_a_reminder_before_the_end_of_the_stretch_at_work_is_refused() -> None:
    w = line()

    def too_soon(arrivals: Arrivals) -> None:
        w.bulk.later(box, arrivals.t_s + 0.125, arrivals.dst, "tick", arrivals.item)

    box = w.bulk.open(too_soon)
    w.bulk.later(box, np.array([1.0, 1.1875]), np.array([0, 0]), "tock", np.array([0, 0]))
    with pytest.raises(ValueError, match=r"t_s: 1\.125 is not allowed: it is 1\.1875 already"):
        w.run()


def test_a_message_sooner_than_was_promised_is_refused() -> None:
    w = line(0.01)

    def by_a_short_cut(arrivals: Arrivals) -> None:
        w.bulk.send(box, arrivals.t_s, arrivals.dst, [3, 3], 0, "x", arrivals.item)

    box = w.bulk.open(by_a_short_cut)
    w.bulk.later(box, np.array([1.0, 1.2]), np.array([0, 0]), "tock", np.array([0, 0]))
    with pytest.raises(RuntimeError, match=r"'x': a message takes less than the 0\.25 s"):
        w.run()


@pytest.mark.parametrize("t_s", [0.75, 1.25])
def test_messages_are_sent_now(t_s: float) -> None:
    w = line()
    box = w.bulk.open(len)
    w.run(1.0)
    with pytest.raises(ValueError, match=rf"t_s: {t_s} is not allowed: messages are sent now, at 1\.0"):
        w.bulk.send(box, [t_s], [0], [1], 10, "x", [0])


@pytest.mark.parametrize("drive", [World.run, by_steps])
def test_after_an_error_in_a_mailbox_everything_goes_on(drive: Also) -> None:
    w, got = line(), list[Any]()

    def arrived(arrivals: Arrivals) -> None:
        got.extend(zip(arrivals.t_s.tolist(), arrivals.dst.tolist(), strict=True))
        onwards = arrivals[arrivals.dst < 3]
        w.bulk.send(box, onwards.t_s, onwards.dst, onwards.dst + 1, 0, "x", onwards.item)
        if len(got) == 1:
            raise ZeroDivisionError

    box = w.bulk.open(arrived)
    w.bulk.send(box, [0.0], [0], [1], 0, "x", [1])
    w.clock.at(0.875, lambda: w.bulk.send(box, [0.875], [1], [2], 0, "x", [0]))
    with pytest.raises(ZeroDivisionError):
        drive(w)
    assert w.clock.now == 0.5
    w.bulk.send(box, [0.5], [0], [2], 0, "x", [3])
    drive(w)
    assert got == [(0.5, 1), (1.0, 2), (1.0, 2), (1.375, 2), (1.5, 3), (1.5, 3), (1.875, 3)]
    assert w.clock.idle


def test_a_message_sent_when_a_node_comes_back_finds_it_there() -> None:
    w = world(2, network=Wires([math.inf] * 3, [math.inf] * 3, 0.5), churn=Absences({0: [0, 1.0, math.inf]}))
    got: list[float] = []
    w.nodes.on_online.append(lambda node: w.bulk.send(box, [w.clock.now], [node], [1], 5, "hello", [0]))
    box = w.bulk.open(lambda arrivals: got.extend(arrivals.t_s.tolist()))
    w.run()
    assert got == [1.5]


# -- draws --------------------------------------------------------------------------------------------------------------------


def test_a_message_sent_again_is_as_likely_to_be_lost_as_the_first_time() -> None:
    p = 0.3
    w = World(800, Internet(loss=p, retransmit=1), None, Mix(laptop=1), Streams(5), SmallWorld(degree=20, rewire=0.5))
    box = w.bulk.open(len)
    # One message a link: what is sent again must not meet the draw of the first time.
    w.bulk.fan_out(box, np.zeros(800), np.arange(800), w.wiring, 10, "x", np.zeros(800, dtype=int))
    w.run()
    n, lost = w.trace.traffic().loc[0, ["messages", "lost"]]
    assert n == 16_000
    assert abs(lost - n * p**2) < 4 * math.sqrt(n * p**2 * (1 - p**2))


def test_links_have_draws_of_their_own_in_every_wiring_and_for_whatever_is_sent_along_them() -> None:
    n = 2000
    w = World(n, Internet(loss=0.5), None, Mix(laptop=1), Streams(5), Ring())
    box = w.bulk.open(len)
    links, none = np.arange(0, 2 * n, 2), np.zeros(n, dtype=int)
    for wiring in (w.wiring, w.bulk.wire(w.graph)):
        w.bulk.along(box, np.zeros(n), links, wiring, 0, "wired", none)
    src, dst = w.wiring.src[links], w.wiring.dst[links]
    for kind in ("want", "item"):
        w.bulk.send(box, np.zeros(n), src, dst, 0, kind, none)
    for a, b in zip(src.tolist(), dst.tolist(), strict=True):
        w.links.send(a, b, 0, "single", int)
    w.clock.at(1.0, lambda: w.bulk.send(box, np.ones(n), src, dst, 0, "item", none))
    w.run()
    lost = (w.trace.messages().outcome == "lost").to_numpy().reshape(-1, n)
    assert len(lost) == 6
    assert np.abs(np.corrcoef(lost) - np.eye(6)).max() < 4.5 / math.sqrt(n)


# -- queues -------------------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 3), st.integers(0, 99), st.floats(0, 9)), max_size=300),
    st.sampled_from([1, 3, 40, 100]),
    st.lists(st.floats(0, 20), min_size=100, max_size=100),
    st.booleans(),
)
@example([(i / 50, 1.0 + i % 3, i % 40, 4.0 + i % 2) for i in range(300)], 100, [1.0] * 100, True)
@settings(max_examples=50)
def test_turns_are_those_of_a_loop_to_the_last_bit(customers: Any, queues: int, free: list[float], impatient: bool) -> None:
    t_s, service, queue, patience = (np.array([row[i] for row in sorted(customers)]) for i in range(4))
    queue = queue.astype(int) % queues
    free_s, expected = np.array(free), []
    for comes, lasts, which, most in zip(t_s.tolist(), service.tolist(), queue.tolist(), patience.tolist(), strict=True):
        start = max(comes, free[which])
        if impatient and start - comes > most:
            expected.append(math.nan)
        else:
            expected.append(start)
            free[which] = start + lasts
    starts = turns(t_s, service, queue, free_s, patience if impatient else None)
    np.testing.assert_array_equal(starts, expected)
    assert free_s.tolist() == free


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_fixed_size_messages_at_one_uplink_wait_as_pollaczek_and_khinchine_have_it(rho: float) -> None:
    # M/D/1: Poisson arrivals, service time s; the mean wait is rho s / (2 (1 - rho)).
    m, s = 200_000, 0.001  # 1000 bytes at a megabyte a second
    w = world(2, network=Wires([8e6] * 3, [math.inf] * 3, 0.25))

    def arrived(arrivals: Arrivals) -> None:
        due = arrivals[arrivals.kind == w.bulk.kind(box, "due")]
        w.bulk.send(box, due.t_s, due.dst, np.ones(len(due), dtype=int), 1000, "data", due.item)

    box = w.bulk.open(arrived)
    t_s = Streams(1).of("arrivals").exponential(s / rho, m).cumsum()
    w.bulk.later(box, t_s, np.zeros(m, dtype=int), "due", np.arange(m))
    w.run()
    traffic = w.trace.traffic().set_index("kind").loc["data"]
    assert traffic.delivered == m
    assert traffic.mean_queued_s == pytest.approx(rho * s / (2 * (1 - rho)), rel=0.03)
    assert traffic.mean_delay_s == pytest.approx(traffic.mean_queued_s + s + 0.25)


def test_a_few_that_wait_long_do_not_keep_the_others_in_memory() -> None:
    w = world(2, network=Wires([math.inf] * 3, [math.inf] * 3, 0.25))
    box = w.bulk.open(len)
    nodes = np.zeros(2000, dtype=int)
    tracemalloc.start()
    for second in range(100):
        t_s = second + np.linspace(0, 0.9, len(nodes))
        t_s[0] = 1e6
        w.bulk.later(box, t_s, nodes, "tick", nodes)
        w.run(second + 1.0)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 1e6  # all of them would be 16 MB


def test_what_is_delayed_beyond_all_days_stands_in_nobodys_way() -> None:
    scenario = ds.Scenario(
        nodes=50,
        network="internet",
        protocol={"kind": "broadcast", "items": 3, "interval_s": 5},
        adversaries=[{"kind": "delay", "share": 0.3, "delay_s": 1e15}],
    )
    late = ds.run(scenario, progress=False)
    for delay_s in (1e18, 1e30):
        later = ds.run(scenario.but(adversaries__0__delay_s=delay_s), progress=False)
        assert later.propagation()["reached"].tolist() == late.propagation()["reached"].tolist()
