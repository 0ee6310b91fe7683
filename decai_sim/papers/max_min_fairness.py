"""Transfers side by side share their access links max–min fairly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row

_HAND = "worked out by hand"
_DEFINITION = "Bertsekas & Gallager 1992, section 6.5.2: every transfer has a bottleneck"
_UP_BPS, _DOWN_BPS, _DELAY_S = 4e6, 9e6, 0.05


class _Transfer(NamedTuple):
    name: str
    src: int
    dst: int
    megabits: float
    ends_s: float


# All begin at 0; node 0 uploads two, three come in at node 2 and two at node 3.
# From 0 to 1 s: A and B have 2 Mbit/s each (half of node 0's 4), which leaves 7 of node 2's 9 to C and D, 3.5 each, and to E the
# 4 of its own upload (7 are left at node 3). C and E end at 1 s. From then D has its own 4 (7 are left at node 2) and ends at
# 2 s, A at 3 s; B then has all 4 of node 0's upload for its last 4 Mbit.
_HAND_SOLVED = (
    _Transfer("A", 0, 2, 6.0, 3.0),
    _Transfer("B", 0, 3, 10.0, 4.0),
    _Transfer("C", 1, 2, 3.5, 1.0),
    _Transfer("D", 4, 2, 7.5, 2.0),
    _Transfer("E", 5, 3, 4.0, 1.0),
)


@claim(
    "max-min-fairness",
    paper="Bertsekas & Gallager, 'Data Networks' (2nd ed., 1992)",
    where="section 6.5.2, max–min fair flow control",
    statement="Nobody's rate can grow without shrinking one that is as small or smaller: each transfer has a bottleneck that is "
    "full and on which nobody is faster.",
)
def max_min_fairness(profile: Profile) -> Iterator[Row]:
    """When five transfers over one network end, and whether random ones all have their bottleneck."""
    ends = transfer_ends_s()
    for transfer in _HAND_SOLVED:
        name = f"transfer {transfer.name} of {transfer.megabits:g} Mbit, {transfer.src} to {transfer.dst}, ends"
        yield Row.near(name, ends[transfer.name], "s", transfer.ends_s, 1e-6, _HAND)
    cases = 200 if profile == "smoke" else 5000
    without, overfull = check_random(cases)
    yield Row.at_most(f"transfers without a bottleneck, {cases} random cases", without, 0, _DEFINITION)
    yield Row.at_most(f"access links overfull, {cases} random cases", overfull, 0, "no link carries more than its rate")


def transfer_ends_s() -> dict[str, float]:
    """When the last byte of each hand-solved transfer is sent, as messages of a world."""
    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, World
    from decai_sim.world.latency import Constant

    network = Internet(
        upload_bps=_UP_BPS, download_bps=_DOWN_BPS, queueing="fair", jitter=1e-9, latency=Constant(delay_s=_DELAY_S)
    )
    world = World(6, network, None, Mix(gpu=1), Streams(1))
    for transfer in _HAND_SOLVED:
        nbytes = round(transfer.megabits * 1e6 / 8)
        world.links.send(transfer.src, transfer.dst, nbytes, transfer.name, lambda: None)
    world.run()
    arrived = world.trace.messages().set_index("kind")["t_delivered_s"]
    return {transfer.name: float(arrived[transfer.name]) - _DELAY_S for transfer in _HAND_SOLVED}


def check_random(cases: int, seed: int = 0) -> tuple[int, int]:
    """Look for what is not max–min fair among random rates and transfers.

    Args:
        cases: how many networks, of 2 to 12 nodes with 1 to 40 transfers.
        seed: of all draws.

    Returns:
        How many transfers have no bottleneck, and how many access links carry more than their rate.
    """
    import numpy as np

    from decai_sim.world.fair import max_min

    generator = np.random.default_rng(seed)
    without = overfull = 0
    for _ in range(cases):
        n, k = int(generator.integers(2, 13)), int(generator.integers(1, 41))
        capacity = generator.integers(1, 10, 2 * n).astype(float)  # uploads, then downloads
        src = generator.integers(0, n, k)
        dst = (src + generator.integers(1, n, k)) % n
        rates = max_min(capacity[:n], capacity[n:], src, dst)
        has = np.zeros(k, dtype=bool)
        load = np.bincount(np.concatenate([src, n + dst]), np.tile(rates, 2), minlength=2 * n)
        overfull += int((load > capacity * (1 + 1e-9)).sum())
        fastest = np.zeros(2 * n)
        for ends in (src, n + dst):
            np.maximum.at(fastest, ends, rates)
        for ends in (src, n + dst):
            has |= (load[ends] >= capacity[ends] * (1 - 1e-9)) & (rates >= fastest[ends] * (1 - 1e-9))
        without += int((~has).sum())
    return without, overfull
