"""A flood over a world with everything in it: what benches of the world measure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from decai_sim.benches.bench import cpu_s

if TYPE_CHECKING:
    from decai_sim.world.network import Queueing


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


def flood(nodes: int, items: int, queueing: Queueing = "uplink", rate_per_s: float = 20.0, seed: int = 1) -> Flooded:
    """Flood items of 300 bytes over a random regular graph of degree 8, with latency, bandwidth, loss and churn.

    Making the world is not part of what is timed; publishing, and all that comes of it, is.

    Args:
        nodes: size of the network.
        items: how many are published.
        queueing: where messages wait.
        rate_per_s: how many are published per virtual second.
        seed: of the world.
    """
    from decai_sim.seeding import Streams
    from decai_sim.world import Exponential, Internet, Mix, World
    from decai_sim.world.dissemination import Flood
    from decai_sim.world.topologies import RandomRegular

    network = Internet(loss=0.01, queueing=queueing)
    world = World(nodes, network, Exponential(), Mix(phone=0.5, laptop=0.5), Streams(seed), RandomRegular())
    spread = Flood().start(world, items=items)
    here = np.flatnonzero(world.nodes.online[:nodes])

    def publish(origin: int) -> None:
        if world.nodes.online[origin]:
            spread.publish(origin, 300)

    for k, origin in enumerate(world.streams.of("bench").choice(here, items).tolist()):
        world.clock.at(k / rate_per_s, publish, origin)
    assert len(spread.wiring.dst), "made here, before the time counts"
    spent = cpu_s(lambda: world.run(items / rate_per_s + 20))
    traffic = world.trace.traffic()
    delivered = int(traffic["delivered"].sum())
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
