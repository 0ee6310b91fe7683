"""How fast the simulated internet is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from decai_sim.benches.bench import Bench, alternating, cpu_s, middle_ratio
from decai_sim.benches.flood import flood, flood_one_by_one, spread
from decai_sim.benches.peers import bare_heap, simpy_inbox
from decai_sim.papers.rows import Row

if TYPE_CHECKING:
    from decai_sim.world import Topology

_HEAP = "a bare heapq loop with an empty callback, same process, in turn"
_STAY_S = 20.0
"""How long nodes stay where churn is to be felt: as long as a run lasts."""
_INBOX = "SimPy with a process a message and a Store a node, same process, in turn"


def measure(
    nodes: int = 5_000,
    items: int = 10,
    few: int = 1_000,
    many: int = 100_000,
    messages: int = 1_000_000,
    heap_events: int = 300_000,
    repeats: int = 3,
) -> Iterator[Row]:
    """The figures of ``decai-sim bench world``.

    Args:
        nodes: size of the network of the flood that is compared with its peers.
        items: how many items are flooded in it.
        few: size of a small network,
        many: and of a large one, between which the cost of a message may grow as much as the bare heap's.
        messages: how many there are in the largest flood, whose memory is measured.
        heap_events: how many events of the bare heap are timed.
        repeats: how many times each pair is measured.
    """
    yield from against_peers(nodes, items, heap_events, repeats)
    yield from other_ways(nodes, items, heap_events, repeats)
    yield from growth(few, many, messages, heap_events, repeats)
    yield memory(many, messages)
    yield from building(many, repeats)


def against_peers(nodes: int, items: int, heap_events: int, repeats: int) -> Iterator[Row]:
    """Messages per second with latency, bandwidth, loss and churn, over those of simpler loops.

    Nodes stay about as long as the run lasts.
    """
    from decai_sim.world.topologies import RandomRegular

    graph = RandomRegular().csr(nodes, 1)
    flood(nodes, 1)  # what is loaded and made once
    turns = alternating(
        repeats,
        lambda: bare_heap(nodes, heap_events),
        lambda: flood(nodes, items, mean_online_s=_STAY_S).per_s,
        lambda: flood(nodes, items, "both", mean_online_s=_STAY_S).per_s,
        lambda: simpy_inbox(graph, max(1, items // 10), 20.0),
    )
    what = f"flood of {nodes:,} nodes"
    best = [max(figures) for figures in zip(*turns, strict=True)]
    yield Row("bare heap, best", best[0], "events per CPU second")
    yield Row(f"{what}, uplink queue, best", best[1], "delivered messages per CPU second")
    yield Row(f"{what}, both queues, best", best[2], "delivered messages per CPU second")
    yield Row(f"{what}, SimPy inboxes, best", best[3], "delivered messages per CPU second")
    yield Row.at_least(f"{what}, uplink queue / bare heap", middle_ratio(turns, 1, 0), 0.18, _HEAP)
    yield Row.at_least(f"{what}, both queues / bare heap", middle_ratio(turns, 2, 0), 0.13, _HEAP)
    yield Row.at_least(f"{what}, uplink queue / SimPy inboxes", middle_ratio(turns, 1, 3), 4.0, _INBOX)


def other_ways(nodes: int, items: int, heap_events: int, repeats: int) -> Iterator[Row]:
    """The same with full queues that drop, with limits of links, by other protocols, and one event a message."""
    from decai_sim.world.dissemination import BlockRelay, GossipSub, Push, PushPull

    half = max(1, items // 2)
    ways: list[tuple[str, float | None, Callable[[], float]]] = [
        ("flood, uplink queue, nobody comes or goes", None, lambda: flood(nodes, items).per_s),
        ("flood, uplink queues of 1 MB", 0.18, lambda: flood(nodes, items, mean_online_s=_STAY_S, queue_bytes=1e6).per_s),
        ("flood, both queues of 1 MB", 0.13, lambda: flood(nodes, items, "both", mean_online_s=_STAY_S, queue_bytes=1e6).per_s),
        ("flood, chunks of 64 kB", 0.18, lambda: flood(nodes, items, mean_online_s=_STAY_S, chunk_bytes=65536).per_s),
        ("flood, links of 10 Mbit/s", 0.18, lambda: flood(nodes, items, mean_online_s=_STAY_S, link_bps=1e7).per_s),
        ("push gossip, uplink queue", 0.18, lambda: spread(Push(), nodes, items).per_s),
        ("push gossip, both queues", 0.13, lambda: spread(Push(), nodes, items, queueing="both").per_s),
        ("push–pull gossip, uplink queue", 0.18, lambda: spread(PushPull(), nodes, items).per_s),
        ("block relay, uplink queue", 0.18, lambda: spread(BlockRelay(), nodes, items).per_s),
        ("GossipSub, uplink queue", 0.18, lambda: spread(GossipSub(), nodes, items).per_s),
        ("flood by Links.send, uplink queue", 0.18, lambda: flood_one_by_one(nodes, half).per_s),
        ("flood by Links.send, both queues", 0.13, lambda: flood_one_by_one(nodes, half, queueing="both").per_s),
    ]
    turns = alternating(repeats, lambda: bare_heap(nodes, heap_events), *(way for *_, way in ways))
    for which, (what, target, _) in enumerate(ways, 1):
        name, ratio = f"{what}, {nodes:,} nodes / bare heap", middle_ratio(turns, which, 0)
        yield Row(name, ratio) if target is None else Row.at_least(name, ratio, target, _HEAP)


def growth(few: int, many: int, messages: int, heap_events: int, repeats: int) -> Iterator[Row]:
    """How much more a message costs in a large network, and how much more an event costs in a large heap."""

    def flooded(nodes: int) -> Callable[[], float]:
        items = max(1, round(messages / (7 * nodes)))
        return lambda: flood(nodes, items).per_s

    turns = alternating(
        repeats,
        flooded(few),
        flooded(many),
        lambda: bare_heap(few, heap_events),
        lambda: bare_heap(many, heap_events),
    )
    ours, heap = middle_ratio(turns, 0, 1), middle_ratio(turns, 2, 3)
    span = f"from {few:,} to {many:,}"
    for which, what in enumerate((f"message, {few:,} nodes", f"message, {many:,} nodes")):
        yield Row(f"cost of a {what}, best", 1e6 / max(turn[which] for turn in turns), "CPU µs")
    for which, what in enumerate((f"{few:,} pending", f"{many:,} pending"), 2):
        yield Row(f"cost of an event, {what}, bare heap, best", 1e6 / max(turn[which] for turn in turns), "CPU µs")
    yield Row(f"cost of a message {span} nodes, growth", ours)
    yield Row(f"cost of an event {span} pending, bare heap, growth", heap)
    yield Row.at_most(f"growth {span} / the bare heap's own", ours / heap, 1.0, _HEAP)


def memory(nodes: int, messages: int) -> Row:
    """The peak of memory of a large flood, in a process of its own."""
    command = [sys.executable, "-m", "decai_sim.benches.flood", str(nodes), str(messages)]
    sent, peak = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    name = f"peak memory of {nodes:,} nodes and {sent:,} messages"
    return Row.at_most(name, peak / 1e9, 2.0, "the whole process, the interpreter and its libraries included", "GB")


def building(nodes: int, repeats: int) -> Iterator[Row]:
    """How much faster than NetworkX's generators graphs of degree 8 are made."""
    import networkx as nx

    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, World
    from decai_sim.world.topologies import BarabasiAlbert, RandomRegular, SmallWorld

    pairs: list[tuple[str, Topology, Callable[[], Any]]] = [
        ("random regular", RandomRegular(degree=8), lambda: nx.random_regular_graph(8, nodes, seed=1)),
        ("Watts–Strogatz", SmallWorld(degree=8, rewire=0.1), lambda: nx.watts_strogatz_graph(nodes, 8, 0.1, seed=1)),
        ("Barabási–Albert", BarabasiAlbert(m=4), lambda: nx.barabasi_albert_graph(nodes, 4, seed=1)),
    ]
    bulk = World(nodes, Internet(), None, Mix(laptop=1), Streams(1)).bulk
    for label, topology, networkx_makes in pairs:
        theirs = cpu_s(networkx_makes)  # once: it takes seconds
        ours = min(cpu_s(partial(topology.csr, nodes, 1)) for _ in range(repeats))
        graph = topology.csr(nodes, 1)
        laid = min(cpu_s(partial(bulk.wire, graph)) for _ in range(repeats))
        yield Row(f"building {label}, {nodes:,} nodes of degree 8", ours, "CPU s")
        source = "NetworkX's generator of the same graph, same process"
        yield Row.at_least(f"building {label}, NetworkX's time / ours", theirs / ours, 8.0, source)
        yield Row.at_least(f"building and wiring {label}, NetworkX's time / ours", theirs / (ours + laid), 8.0, source)


world = Bench(
    "world",
    "Messages per second, growth with the size of the network, memory, and building of graphs: as ratios to plainer ways.",
    measure,
)
