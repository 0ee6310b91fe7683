"""News that spreads over a world with everything in it: what benches of the world measure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.benches.bench import cpu_s

if TYPE_CHECKING:
    from decai_sim.world.dissemination import Dissemination
    from decai_sim.world.network import Queueing
    from decai_sim.world.world import World

_TAIL_S = 20.0
"""For how long a run goes on after the last item is published."""


@dataclass(frozen=True)
class Flooded:
    """What a flood took.

    Attributes:
        per_s: delivered messages per processor second.
        delivered: how many messages were delivered.
        sent: how many were sent.
    """

    per_s: float
    delivered: int
    sent: int


def flood(
    nodes: int, items: int, queueing: Queueing = "uplink", *, mean_online_s: float = 7200.0, seed: int = 1, **network: Any
) -> Flooded:
    """:func:`spread` by flooding."""
    from decai_sim.world.dissemination import Flood

    return spread(Flood(), nodes, items, mean_online_s=mean_online_s, seed=seed, queueing=queueing, **network)


def spread(
    protocol: Dissemination,
    nodes: int,
    items: int,
    *,
    rate_per_s: float = 20.0,
    mean_online_s: float = _TAIL_S,
    seed: int = 1,
    **network: Any,
) -> Flooded:
    """Spread items of 300 bytes over a random regular graph of degree 8, with latency, bandwidth, loss and churn.

    Making the world is not part of what is timed; publishing, and all that comes of it, is.

    Args:
        protocol: how they are spread.
        nodes: size of the network.
        items: how many are published.
        rate_per_s: how many are published per virtual second.
        mean_online_s: how long nodes stay; they are away for a quarter of that.
        seed: of the world.
        network: further options of the network.
    """
    world = _world(nodes, mean_online_s, seed, network)
    at = protocol.start(world, items=items)

    def publish(origin: int) -> None:
        if world.nodes.online[origin]:
            at.publish(origin, 300)

    _publish(world, items, rate_per_s, publish)
    assert len(at.wiring.dst), "made here, before the time counts"
    return _timed(world, items, rate_per_s)


def flood_one_by_one(
    nodes: int, items: int, *, rate_per_s: float = 20.0, mean_online_s: float = _TAIL_S, seed: int = 1, **network: Any
) -> Flooded:
    """The same flood without arrays: every message sent by ``Links.send``, with a callback of its own."""
    world = _world(nodes, mean_online_s, seed, network)
    neighbours = [part.tolist() for part in np.split(world.graph.indices, world.graph.indptr[1:-1])]
    seen: list[set[int]] = [set() for _ in range(nodes)]
    send = world.links.send

    def hear(src: int, dst: int, item: int) -> None:
        if item not in seen[dst]:
            seen[dst].add(item)
            for other in neighbours[dst]:
                if other != src:
                    send(dst, other, 300, "item", hear, dst, other, item)

    published = iter(range(items))

    def publish(origin: int) -> None:
        if world.nodes.online[origin]:
            hear(-1, origin, next(published))

    _publish(world, items, rate_per_s, publish)
    return _timed(world, items, rate_per_s)


def _world(nodes: int, mean_online_s: float, seed: int, network: dict[str, Any]) -> World:
    from decai_sim.seeding import Streams
    from decai_sim.world import Exponential, Internet, Mix, World
    from decai_sim.world.topologies import RandomRegular

    churn = Exponential(mean_online_s=mean_online_s, mean_offline_s=mean_online_s / 4)
    return World(nodes, Internet(loss=0.01, **network), churn, Mix(phone=0.5, laptop=0.5), Streams(seed), RandomRegular())


def _publish(world: World, items: int, rate_per_s: float, publish: Callable[[int], object]) -> None:
    here = np.flatnonzero(world.nodes.online[: world.n])
    for k, origin in enumerate(world.streams.of("bench").choice(here, items).tolist()):
        world.clock.at(k / rate_per_s, publish, origin)


def _timed(world: World, items: int, rate_per_s: float) -> Flooded:
    spent = cpu_s(lambda: world.run(items / rate_per_s + _TAIL_S))
    delivered = int(world.trace.traffic()["delivered"].sum())
    return Flooded(delivered / spent, delivered, world.trace.n_messages)


def peak_memory_bytes() -> int:
    """The most memory this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss there also counts what the process was forked from
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """``python -m decai_sim.benches.flood NODES MESSAGES``: flood, and print messages sent and the peak of memory in bytes."""
    nodes, messages = int(sys.argv[1]), int(sys.argv[2])
    done = flood(nodes, max(1, round(messages / (7 * nodes) + 0.5)))
    print(done.sent, peak_memory_bytes())


if __name__ == "__main__":
    main()
