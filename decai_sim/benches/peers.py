"""What the world's speed is held against: the least that any event-driven simulator does, and the way SimPy's manual shows."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.benches.bench import cpu_s

if TYPE_CHECKING:
    import scipy.sparse as sp


def bare_heap(pending: int, events: int) -> float:
    """Events per processor second of a bare ``heapq`` loop, each with an empty callback, which is replaced by another event.

    Args:
        pending: how many events wait at any time.
        events: how many to work off.
    """
    delays = np.random.default_rng(0).exponential(size=events + pending).tolist()

    def callback() -> None:
        pass

    queue = [(delays[i], i, callback) for i in range(pending)]
    heapq.heapify(queue)

    def loop() -> None:
        number = pending
        for i in range(events):
            now, _, call = heapq.heappop(queue)
            call()
            heapq.heappush(queue, (now + delays[i], number, callback))
            number += 1

    return events / cpu_s(loop)


def simpy_inbox(graph: sp.csr_array, items: int, rate_per_s: float) -> float:
    """Messages per processor second of a flood written as SimPy's manual has it: a process a message, a ``Store`` a node.

    With latencies, but no bandwidth, loss or churn, all of which would slow it down further.

    Args:
        graph: who is linked to whom.
        items: how many items are flooded.
        rate_per_s: how many are published per second.
    """
    import simpy

    n = graph.shape[0]
    neighbours = [part.tolist() for part in np.split(graph.indices, graph.indptr[1:-1])]
    generator = np.random.default_rng(0)
    latency_s = np.split(generator.exponential(0.1, graph.nnz), graph.indptr[1:-1])
    links = [list(zip(other, delay.tolist(), strict=True)) for other, delay in zip(neighbours, latency_s, strict=True)]
    env = simpy.Environment()
    inbox = [simpy.Store(env) for _ in range(n)]
    seen: list[set[int]] = [set() for _ in range(n)]
    delivered = 0

    def travel(delay_s: float, dst: int, item: int, src: int) -> Generator[Any, Any, None]:
        yield env.timeout(delay_s)
        yield inbox[dst].put((item, src))

    def node(me: int) -> Generator[Any, Any, None]:
        nonlocal delivered
        while True:
            item, src = yield inbox[me].get()
            delivered += 1
            if item not in seen[me]:
                seen[me].add(item)
                for other, delay_s in links[me]:
                    if other != src:
                        env.process(travel(delay_s, other, item, me))

    def publish() -> Generator[Any, Any, None]:
        for item, origin in enumerate(generator.integers(0, n, items).tolist()):
            yield inbox[origin].put((item, -1))
            yield env.timeout(1 / rate_per_s)

    for me in range(n):
        env.process(node(me))
    env.process(publish())
    return delivered / spent if (spent := cpu_s(env.run)) else 0.0
