"""Inner product manipulation: a small step back hides among the honest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row
from decai_sim.papers.worker_momentum import Size, ahead, ends, measured, scenario

SMOKE = Size(rounds=120, lr=0.3, momentum=0.0)
PAPER = Size(rounds=300, task="fashion_mnist", model={"kind": "mlp", "hidden": [64]}, batch=32, lr=0.1, momentum=0.0, seeds=5)
HIDDEN = {"kind": "ipm", "epsilon": 0.5}
LOUD = {"kind": "ipm", "epsilon": 5}
_KRUM = "Xie, Koyejo & Gupta, UAI 2019, Section 5: Krum fails with a small ε"
_MEDIAN = "Xie, Koyejo & Gupta, UAI 2019, Section 5: the median fails with nearly half of the nodes attacking"


@claim(
    "ipm",
    paper="Xie, Koyejo & Gupta, 'Fall of empires: breaking Byzantine-tolerant SGD by inner product manipulation' (UAI 2019)",
    where="Section 5: Krum with a small ε, the coordinate-wise median with nearly half attackers; data alike",
    statement="Attackers who send a little of the opposite of the honest mean are what Krum chooses, so that it ends below "
    "the plain mean; nearly half of them keep the coordinate-wise median from learning.",
)
def ipm(profile: Profile) -> Iterator[Row]:
    """Accuracies of the mean, Krum and the median under small and large steps back.

    How far Krum falls depends on the task: digits from 92 to 24 %, Fashion-MNIST (300 rounds, five seeds) from 80 to 73 %, where
    the mean has 82 %. The order is judged, by five points.
    """
    yield from ipm_rows(SMOKE if profile == "smoke" else PAPER)


def ipm_rows(size: Size, hidden: dict[str, Any] | None = None) -> Iterator[Row]:
    """The figures of the claim, for an experiment of any size."""
    from dataclasses import replace

    def found(attack: dict[str, Any] | None, rule: str, of: Size = size) -> list[float]:
        return ends(scenario(seed, attack, rule, "iid", of) for seed in range(1, size.seeds + 1))

    attack = hidden or HIDDEN
    few = {rule: found(attack, rule) for rule in ("mean", "krum")}
    calm = found(None, "krum")
    yield from measured("a fifth attack with a small ε, mean", few["mean"])
    yield from measured("a fifth attack with a small ε, Krum", few["krum"])
    yield from measured("a fifth attack with a large ε, Krum", found(LOUD, "krum"))
    yield from measured("nobody attacks, Krum", calm)
    yield ahead("a small ε: mean ahead of Krum by", few["mean"], few["krum"], 0.05, _KRUM)
    yield ahead("Krum: lost to a small ε", calm, few["krum"], 0.05, _KRUM)
    many = replace(size, attackers=(size.nodes - 1) // 2)
    median, calm = found(attack, "median", many), found(None, "median", many)
    yield from measured(f"{many.attackers} of {many.nodes} attack, median", median)
    yield from measured("nobody attacks, median", calm)
    yield ahead("median: lost to nearly half", calm, median, 0.2, _MEDIAN)
