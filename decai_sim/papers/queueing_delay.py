"""How long messages wait at an uplink that is nearly busy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row, interval_rows, median_interval

if TYPE_CHECKING:
    import numpy as np

_PK = "Pollaczek–Khinchine formula, fixed service time s: ρ·s / (2(1 − ρ))"
_BYTES, _UP_BPS, _DELAY_S = 1250, 1e6, 0.05


@claim(
    "queueing-delay",
    paper="Kleinrock, 'Queueing Systems', vol. 1 (1975)",
    where="ch. 5, the queue M/G/1, for fixed service times M/D/1",
    statement="Messages of one size that come at random to an uplink of load ρ wait ρ / (2(1 − ρ)) transmission times "
    "on average.",
)
def queueing_delay(profile: Profile) -> Iterator[Row]:
    """Waiting times at one uplink, against the formula."""
    import numpy as np

    smoke = profile == "smoke"
    loads, messages, seeds = ((0.3, 0.7), 30_000, range(2)) if smoke else ((0.3, 0.5, 0.7, 0.9), 150_000, range(5))
    for load in loads:
        waits = [waiting_times(load, messages, seed) for seed in seeds]
        means = [float(wait.mean()) for wait in waits]
        name = f"mean wait at load {load:g}, transmission times"
        wanted = load / (2 * (1 - load))
        yield Row.within(name, median_interval(means)[0], "", wanted, 0.05, _PK)
        yield from interval_rows(name, means)
        at_once = [float(np.mean(wait < 1e-6)) for wait in waits]
        name = f"share that need not wait at load {load:g}"
        yield Row.near(name, median_interval(at_once)[0], "", 1 - load, 0.01, "Poisson arrivals see time averages: 1 − ρ")
        yield from interval_rows(name, at_once)


def waiting_times(load: float, messages: int, seed: int) -> np.ndarray:
    """Send messages of one size over one link of a world, as a Poisson process.

    Args:
        load: share of the time that the uplink is busy.
        messages: how many.
        seed: of their times.

    Returns:
        ``(messages,)`` how long each waited, in transmission times.
    """
    import numpy as np

    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, World
    from decai_sim.world.latency import Constant

    network = Internet(upload_bps=_UP_BPS, download_bps=1e9, jitter=1e-9, latency=Constant(delay_s=_DELAY_S))
    world = World(2, network, None, Mix(gpu=1), Streams(seed))
    transmission_s = 8 * _BYTES / _UP_BPS
    gaps = world.streams.of("queueing-delay").exponential(transmission_s / load, messages)
    for t_s in np.cumsum(gaps).tolist():
        world.clock.at(t_s, world.links.send, 0, 1, _BYTES, "message", _nothing)
    world.run()
    sent = world.trace.messages()
    waited: np.ndarray = (sent["t_delivered_s"] - sent["t_sent_s"]).to_numpy() - _DELAY_S - transmission_s
    return waited / transmission_s


def _nothing() -> None:
    pass
