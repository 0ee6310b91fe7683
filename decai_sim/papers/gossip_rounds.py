"""How many rounds a rumour takes to reach everybody."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row, interval_rows

_ROUNDS = {"push": {1_000: 17.7, 10_000: 23.6, 100_000: 29.9}, "push_pull": {1_000: 9.2, 10_000: 11.7, 100_000: 13.9}}
_DEVIATION = {"push": 1.5, "push_pull": 0.5}
_ROUNDED = 0.05
"""Standard deviation of the rounds of one run, in plain simulations."""
_SOURCES = {
    "push": "Pittel 1987: log₂n + ln n + O(1); the constant recomputed by a plain simulation of rounds",
    "push_pull": "Karp et al. 2000: log₃n + O(ln ln n), here ln ln n; the constant recomputed by a plain simulation of rounds",
}


@claim(
    "gossip-rounds",
    paper="Pittel, 'On spreading a rumor' (SIAM Journal on Applied Mathematics 47, 1987); Karp, Schindelhauer, Shenker & "
    "Vöcking, 'Randomized rumor spreading' (FOCS 2000)",
    where="rounds until everybody knows, push; and push–pull",
    statement="Telling one random other a round reaches n people in log₂n + ln n + O(1) rounds; asking as well, in "
    "log₃n + O(ln ln n).",
)
def gossip_rounds(profile: Profile) -> Iterator[Row]:
    """Mean rounds until all nodes of a world have an item."""
    seeds = {1_000: 40, 10_000: 8} if profile == "smoke" else {1_000: 100, 10_000: 40, 100_000: 12}
    sizes = list(seeds)
    means: dict[tuple[str, int], float] = {}
    for kind, expected in _ROUNDS.items():
        for n in sizes:
            rounds = [float(rounds_to_all(kind, n, seed)) for seed in range(seeds[n])]
            means[kind, n] = sum(rounds) / len(rounds)
            name = f"mean rounds to reach all, {kind}, n = {n}"
            error = 3 * _DEVIATION[kind] / math.sqrt(seeds[n]) + _ROUNDED
            yield Row.near(name, means[kind, n], "rounds", expected[n], error, f"{_SOURCES[kind]}; ± 3 standard errors")
            yield from interval_rows(f"rounds to reach all, {kind}, n = {n}", rounds, "rounds")
    first, last = sizes[0], sizes[-1]
    times = last / first
    loglog = math.log(math.log(last) / math.log(first))
    for kind, growth in (("push", math.log2(times) + math.log(times)), ("push_pull", math.log(times, 3) + loglog)):
        name = f"rounds more from n = {first} to {last}, {kind}"
        error = _DEVIATION[kind] * math.sqrt(1 / seeds[first] + 1 / seeds[last])
        source = f"{_SOURCES[kind].split(';')[0]}; ± 3 standard errors"
        yield Row.near(name, means[kind, last] - means[kind, first], "rounds", growth, 3 * error, source)


def rounds_to_all(kind: str, n: int, seed: int) -> int:
    """Publish one item and count the rounds until everybody has it.

    Args:
        kind: ``push`` or ``push_pull``.
        n: number of nodes.
        seed: of the world.
    """
    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, World
    from decai_sim.world.dissemination import Push, PushPull
    from decai_sim.world.latency import Constant

    # What is sent in a round arrives within it.
    network = Internet(upload_bps=1e9, download_bps=1e9, jitter=0.01, latency=Constant(delay_s=0.01))
    world = World(n, network, None, Mix(gpu=1), Streams(seed))
    protocol = Push(period_s=1.0) if kind == "push" else PushPull(period_s=1.0)
    spread = protocol.start(world, items=1)
    item = spread.publish(0, nbytes=100)
    until_s = 0.0
    while not math.isfinite(float(spread.delays_s(item).max())):
        until_s += 1.0
        world.run(until_s - 0.5)
    rounds = math.ceil(float(spread.delays_s(item).max()))
    if n > 10_000:
        del world, spread
        gc.collect()  # the parts of a world refer to each other, and several large ones at once are not wanted
    return rounds
