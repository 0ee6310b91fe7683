"""Averaging all together, and in small groups, while nodes come and go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row, interval_rows, median_interval
from decai_sim.papers.scattered import apart, averaged

if TYPE_CHECKING:
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

UPLOAD_BPS = 7_000
"""So slow that 650 parameters, sent twice, take as long as large models do elsewhere."""
_RYABININ = (
    "Ryabinin et al., NeurIPS 2021, section 4.1: all-reduce fails as a whole when a node does, groups fail alone; the ordering, "
    "by half as much again (2.2 and 6.5 times here)"
)
_EXACT = "Ryabinin et al., NeurIPS 2021, section 3.2: exact after as many rounds as the grid has dimensions; float32"


@claim(
    "moshpit",
    paper="Ryabinin, Gorbunov, Plokhotnyuk & Pekhimenko, 'Moshpit SGD: communication-efficient decentralized training on "
    "heterogeneous unreliable devices' (NeurIPS 2021)",
    where="section 3.2 on exact averages of full grids, section 4.1 on averaging with failures",
    statement="Without churn groups on a grid of two dimensions average exactly in two rounds; under churn they agree where "
    "all-reduce among all nodes fails.",
)
def moshpit(profile: Profile) -> Iterator[Row]:
    """How far apart models are, and who got no average; medians over the seeds."""
    side, seeds = (6, range(1, 4)) if profile == "smoke" else (32, range(1, 8))
    nodes = side * side
    calm = averaged(scenario(side, 1, nodes, rounds=2, online_s=None))
    yield Row.at_most(
        f"apart after 2 rounds without churn, groups of {side}", float(apart(calm)[-1] / _start(nodes)), 1e-6, _EXACT
    )
    for online_s in (600.0, 120.0):
        churn = f"online for {online_s / 60:g} min"
        left: dict[int, list[float]] = {}
        for size in (side, nodes):
            what = f"groups of {size}" if size < nodes else "all-reduce"
            runs = [averaged(scenario(size, seed, nodes, online_s=online_s)) for seed in seeds]
            left[size] = [float(apart(run)[-1]) / _start(nodes) for run in runs]
            yield Row(f"trainings that got no average, {what}, {churn}", median_interval([failed(run) for run in runs])[0])
            yield Row(f"apart at the end, {what}, {churn}", median_interval(left[size])[0])
            yield from interval_rows(f"apart at the end, {what}, {churn}", left[size])
        further = [b / a if a else float("inf") for a, b in zip(left[side], left[nodes], strict=True)]
        yield Row.at_least(f"apart at the end, all-reduce over groups, {churn}", median_interval(further)[0], 1.5, _RYABININ)


def failed(run: Run) -> float:
    """Share of trainings after which nothing came of averaging."""
    kinds = run.events["kind"].value_counts()
    return float(kinds.get("averaging_failed", 0) / kinds["job_end"])


def _start(nodes: int) -> float:
    import numpy as np

    from decai_sim.papers.scattered import first_models

    first = first_models(nodes)
    return float(np.linalg.norm(first - first.mean(0)))


def scenario(group_size: int, seed: int, nodes: int = 64, rounds: int = 12, online_s: float | None = 600.0) -> Scenario:
    """Nodes that come and go, and average in groups; what a node sends in a round takes it about 6 s, as 40 MB at 100 Mbit/s.

    Example:
        >>> scenario(64, 1).protocol.group_size
        64
    """
    from decai_sim.scenario import Scenario

    return Scenario.model_validate(
        {
            "nodes": nodes,
            "seed": seed,
            "network": {"kind": "internet", "upload_bps": UPLOAD_BPS},
            "churn": online_s and {"kind": "exponential", "mean_online_s": online_s, "mean_offline_s": online_s / 9},
            "task": {"kind": "digits", "model": "softmax"},
            "protocol": {"kind": "moshpit", "group_size": group_size, "rounds": rounds, "node_tests": 0},
        }
    )
