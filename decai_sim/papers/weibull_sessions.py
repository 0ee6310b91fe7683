"""Sessions as they were measured: what a run's nodes do against the published law."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row, interval_rows, median_interval

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.world import Churn

_RENEWAL = "equilibrium renewal process: Cox, 'Renewal Theory' (1962)"


@claim(
    "weibull-sessions",
    paper="Stutzbach & Rejaie, 'Understanding churn in peer-to-peer networks' (IMC 2006)",
    where="Weibull fits of session lengths in BitTorrent swarms; the KAD setting is that of OverSim's examples",
    statement="How long peers stay has a Weibull law of shape 0.34 to 0.59: most visits are short, a few very long.",
)
def weibull_sessions(profile: Profile) -> Iterator[Row]:
    """Kolmogorov–Smirnov distances between sessions of a run and the published laws."""
    import numpy as np
    from scipy import stats as scipy_stats

    from decai_sim.world import Weibull
    from decai_sim.world.churn.weibull import MEASURED

    stats: Any = scipy_stats  # its distributions are made at run time
    n, seeds = (500, range(1)) if profile == "smoke" else (3000, range(5))
    critical = math.sqrt(-math.log(0.01 / 2) / 2 / n)
    for which, (measured, (shape, scale_s)) in enumerate(MEASURED.items()):
        law = stats.weibull_min(shape, scale=scale_s)
        source = (
            f"{'OverSim, KAD' if measured == 'kad' else 'Stutzbach & Rejaie 2006'}: shape {shape}, scale {scale_s / 60:.4g} min"
        )
        # Seeds of their own: from equal draws all laws would give equal distances.
        found = [sessions(Weibull(measured=measured, mean_offline_s=6 * 3600), n, 100 * which + seed) for seed in seeds]
        distances = [float(stats.kstest(lengths, law.cdf).statistic) for lengths, _ in found]
        name = f"KS distance of session lengths, {measured}, n = {n}"
        yield Row.at_most(name, median_interval(distances)[0], critical, f"{source}; 1 % level")
        yield from interval_rows(name, distances)
        exponential = stats.expon(scale=law.mean())
        wrong = min(float(stats.kstest(lengths, exponential.cdf).statistic) for lengths, _ in found)
        name = f"KS distance from the exponential law of the same mean, {measured}"
        yield Row.at_least(name, wrong, critical, "Stutzbach & Rejaie 2006: sessions are not exponential")

        # Rests of the sessions under way at time 0: more of the long ones are met then.
        rests = np.concatenate([rest for _, rest in found])
        equilibrium = stats.gamma(1 / shape)
        distance = float(stats.kstest((rests / scale_s) ** shape, equilibrium.cdf).statistic)
        limit = math.sqrt(-math.log(0.01 / 2) / 2 / len(rests))
        yield Row.at_most(f"KS distance of sessions under way at time 0, {measured}", distance, limit, f"{_RENEWAL}; 1 % level")


def sessions(churn: Churn, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the nodes of a world do, as its trace has it.

    Returns:
        ``(n,)`` seconds: each node's first session that began after time 0, however long it took: none is cut off by the end of
        a run, which would leave out the long ones. And what was left of the sessions under way at time 0.
    """
    from decai_sim.seeding import Streams
    from decai_sim.world import Ideal, Mix, World

    world = World(n, Ideal(), churn, Mix(laptop=1), Streams(seed))
    needed = [1 + there for there in world.nodes.online[:n]]
    until_s = 0.0
    while any(session < need for session, need in zip(world.nodes.session, needed, strict=False)):
        until_s += 86400.0
        world.run(until_s)
    events = world.trace.events()

    def nth(kind: str, k: int) -> np.ndarray:
        """``(n,)`` when each node came or left for the ``k``-th time; NaN: never."""
        mine = events[events["kind"] == kind]
        mine = mine[mine.groupby("node").cumcount() == k]
        return mine.set_index("node")["t_s"].reindex(range(n)).to_numpy()

    under_way = nth("online", 0) == 0.0
    lengths = nth("offline", 0) - nth("online", 0)
    rests = lengths[under_way]
    lengths[under_way] = (nth("offline", 1) - nth("online", 1))[under_way]
    return lengths, rests
