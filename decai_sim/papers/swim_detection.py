"""How soon a group of peers notices that one of them is gone."""

from __future__ import annotations

import math
from collections.abc import Iterator

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row, interval_rows, median_interval

_PERIODS = 100
_DAS = "Das, Gupta & Motivala, DSN 2002"
_NODES, _CRASHES, _EVERY = 30, 150, 8
"""A crash every so many periods: P(not noticed in 7) is e⁻⁷."""


@claim(
    "swim-detection",
    paper="Das, Gupta & Motivala, 'SWIM: Scalable weakly-consistent infection-style process group membership protocol' "
    "(DSN 2002)",
    where="the failure detector's expected detection time and accuracy",
    statement="A crash is noticed by somebody after e / (e − 1) = 1.58 protocol periods on average, whatever the size of the "
    "group.",
)
def swim_detection(profile: Profile) -> Iterator[Row]:
    """Delays of first detections over the internet, and false suspicions under loss."""
    nodes, seeds = (_NODES, range(2)) if profile == "smoke" else (100, range(9))
    means = []
    for seed in seeds:
        delays = first_detections(seed, nodes, _CRASHES)
        means.append(sum(delays) / len(delays))
    mean = sum(means) / len(means)
    name = f"mean time to the first detection, {nodes} nodes"
    limit = math.e / (math.e - 1)
    yield Row.within(name, mean, "periods", limit, 0.1, f"{_DAS}: e / (e − 1), the limit of large groups")
    # Nearly geometric with p = 1 − 1/e: its standard deviation is √(1/e) / p.
    error = math.sqrt(1 / math.e) / (1 - 1 / math.e) / math.sqrt(_CRASHES * len(means))
    name = f"{name}, against the expectation for so many"
    source = "each other node probes it once in n − 1 periods: Σ (1 − k / (n − 1))^(n − 1) over k ≥ 0; ± 3 standard errors"
    yield Row.near(name, mean, "periods", expected_periods(nodes), 3 * error, source)
    yield from interval_rows(f"{name}, of each seed", means, "periods")

    loss = 0.2
    for proxies in (0, 1, 3):
        expected = (1 - (1 - loss) ** 2) * (1 - (1 - loss) ** 4) ** proxies
        shares = [false_suspicions(seed, loss, proxies) for seed in seeds]
        error = math.sqrt(expected * (1 - expected) / (_NODES * _PERIODS))
        name = f"probes of living nodes that fail, loss {loss:.0%}, {proxies} proxies"
        source = f"{_DAS}, their reasoning: ping and ack, or four messages by way of each proxy, must fail; ± 3 standard errors"
        yield Row.near(name, median_interval(shares)[0], "", expected, 3 * error, source)
        yield from interval_rows(name, shares)


def expected_periods(nodes: int) -> float:
    """Mean time to the first detection if all others probe in round-robin order, each in a random one of its own.

    After k periods a prober has not come to the crashed node with probability 1 − k / (n − 1). With choices made anew each period
    it would be 1 / (1 − (1 − 1/(n − 1))^(n − 1)); both tend to e / (e − 1).

    Example:
        >>> round(expected_periods(30), 3), round(expected_periods(100_000), 3)
        (1.549, 1.582)
    """
    others = nodes - 1
    return sum((1 - k / others) ** others for k in range(min(others, 100)))


def first_detections(seed: int, nodes: int, crashes: int) -> list[float]:
    """Let nodes crash, one every eight periods, just before a period begins; how many periods later each was first suspected.

    Over the internet, without loss; periods of 20 s, so that every answer arrives in time.
    """
    from decai_sim.seeding import Streams
    from decai_sim.world import Crash, Internet, Mix, World
    from decai_sim.world.swim import Swim

    period_s = 20.0
    world = World(nodes, Internet(jitter=0.01), None, Mix(laptop=1), Streams(seed))
    for i in range(crashes):
        # It is back well before the next one goes.
        Crash(nodes=[i % nodes], at_s=_EVERY * (i + 1) * period_s - 1e-6, for_s=(_EVERY - 0.5) * period_s).install(world)
    swim = Swim(world, period_s, timeout_s=6.0, suspicion_periods=1e6)
    swim.start()
    world.run(_EVERY * (crashes + 1) * period_s)
    found = swim.detections()
    return [float(delay_s) / period_s for delay_s in found[found["first"]]["delay_s"]]


def false_suspicions(seed: int, loss: float, proxies: int) -> float:
    """Share of probes that fail although everybody is there."""
    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, World
    from decai_sim.world.swim import Swim

    world = World(_NODES, Internet(jitter=0.01, loss=loss), None, Mix(laptop=1), Streams(seed))
    swim = Swim(world, period_s=20.0, timeout_s=6.0, proxies=proxies, suspicion_periods=1e6)
    swim.start()
    world.run(20.0 * _PERIODS)
    return len(swim.detections()) / swim.probes
