"""How long a block takes through the Bitcoin network of 2015."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row, interval_rows, median_interval

MEASURED_S, THEIRS_S = 8.7, 9.42
NODES, BLOCK_BYTES, INTERVAL_S = 6_000, 535_000, 600.0
_GERVAIS = "Gervais et al., CCS 2016: measured in the Bitcoin network"
_FEW = {"EU": 2, "NA": 2, "AP": 1}
_MANY = {"EU": 8, "NA": 6, "AP": 2, "JP": 1, "SA": 1, "AU": 1}


@claim(
    "bitcoin-propagation",
    paper="Gervais, Karame, Wüst, Glykantzis, Ritzdorf & Čapkun, 'On the Security and Performance of Proof of Work Blockchains' "
    "(CCS 2016)",
    where="validation of their simulator: median block propagation time of Bitcoin; network by SimBlock's tables of 2015",
    statement="Half of some 6,000 Bitcoin nodes of 2015 have a block of 535 kB after 8.7 s (their simulator: 9.42 s).",
)
def bitcoin_propagation(profile: Profile) -> Iterator[Row]:
    """Time until half of the nodes have a block, over blocks from everywhere.

    It depends on where a block comes from: about 7 s from Europe, 11 s from North America, for want of upload bandwidth. So that
    few blocks will do, each region publishes its own, and its figure counts by its share of the nodes.
    """
    smoke = profile == "smoke"
    seeds, blocks = (range(1), _FEW) if smoke else (range(5), _MANY)
    found = [spread_s(seed, blocks) for seed in seeds]
    halves = [_weighed(times, 0) for times in found]
    name = "time until half of the nodes have a block"
    yield Row.within(name, median_interval(halves)[0], "s", MEASURED_S, 0.15, _GERVAIS)
    yield from interval_rows(name, halves, "s")
    yield Row("the same, 90 % of the nodes", median_interval([_weighed(times, 1) for times in found])[0], "s")
    for region in blocks:
        mean = median_interval([sum(one[0] for one in times[region]) / len(times[region]) for times in found])[0]
        yield Row(f"{name}, from {region}", mean, "s")
    reached = min(one[2] for times in found for region in times.values() for one in region)
    yield Row.at_least("share of nodes reached", reached, 1.0, "nobody leaves, and nothing is lost")
    yield Row("Gervais et al.'s simulator", THEIRS_S, "s", source="Gervais et al., CCS 2016: as they report it")
    if not smoke:
        halved = _weighed(spread_s(0, blocks, halved=True), 0)
        yield Row(f"{name}, if the table's latencies are round trips", halved, "s")


def _weighed(times: dict[str, list[tuple[float, float, float]]], which: int) -> float:
    from decai_sim.world.regions import REGIONS

    table = REGIONS["bitcoin-2015"]
    share = dict(zip(table.names, table.share, strict=True))
    total = sum(share[region] for region in times)
    return sum(share[region] * sum(one[which] for one in found) / len(found) for region, found in times.items()) / total


def spread_s(
    seed: int, blocks: Mapping[str, int], nodes: int = NODES, halved: bool = False
) -> dict[str, list[tuple[float, float, float]]]:
    """Let random nodes of each region publish a block every ten minutes.

    Args:
        seed: of the world.
        blocks: how many each region publishes.
        nodes: size of the network.
        halved: whether the table of latencies is read as round trips, rather than one-way as SimBlock does.

    Returns:
        Per region and block the seconds from its publication until 50 % and until 90 % of the other nodes have it, and the share
        of nodes that get it.
    """
    import numpy as np

    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, World
    from decai_sim.world.dissemination import BlockRelay
    from decai_sim.world.latency import RegionMatrix
    from decai_sim.world.topologies import Bitcoin

    latency = RegionMatrix(table="bitcoin-2015", one_way=not halved)
    network = Internet(regions="bitcoin-2015", latency=latency, jitter=1e-3)
    world = World(nodes, network, None, Mix(gpu=1), Streams(seed), Bitcoin())
    draw = world.streams.of("bitcoin-propagation")
    origins = [
        (region, origin)
        for region, count in blocks.items()
        for origin in draw.choice(np.flatnonzero(world.paths.regions[:nodes] == region), count).tolist()
    ]
    spread = BlockRelay().start(world, items=len(origins))
    for k, (_, origin) in enumerate(origins):
        world.clock.at(k * INTERVAL_S, spread.publish, origin, BLOCK_BYTES)
    world.run(len(origins) * INTERVAL_S)
    found: dict[str, list[tuple[float, float, float]]] = {region: [] for region in blocks}
    for block, (region, origin) in enumerate(origins):
        delays = np.delete(spread.delays_s(block), origin)
        half, most = np.quantile(delays, [0.5, 0.9], method="inverted_cdf")
        found[region].append((float(half), float(most), float(np.isfinite(delays).mean())))
    return found
