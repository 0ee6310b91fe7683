"""Robust rules on sorted labels: what they lose without any attacker, and what averaging a few rows first gives back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row
from decai_sim.papers.worker_momentum import SORTED, Size, ahead, ends, measured, scenario

RULES = {"Krum": "krum", "median": "median", "geometric median": "geometric_median"}
FIRST = {"kind": "bucketing", "s": 2}
PUBLISHED = {
    "Krum": ("90.6 to 93.3", "38.1 to 54.6"),
    "median": ("80.4 to 96.0", "68.7 to 79.3"),
    "geometric median": ("82.7 to 97.4", "79.5 to 91.6"),
}
"""Per cent without and with bucketing: nobody attacks (the mean: 98.8), and under mimicry (the mean: 93.1)."""
_LOGS = "Karimireddy, He & Jaggi, ICLR 2022, the authors' logs"
_LOSE = "Karimireddy, He & Jaggi, ICLR 2022, Section 3.1: on uneven data robust rules fail even without attackers; 0.01 is ours"
GAIN = 0.02

SMOKE = (Size(nodes=24, attackers=0), Size(lr=0.3, momentum=0.0))
_FASHION: dict[str, Any] = {"task": "fashion_mnist", "model": {"kind": "cnn"}, "rounds": 300, "batch": 32, "seeds": 5}
PAPER = (Size(nodes=24, attackers=0, lr=0.01, **_FASHION), Size(lr=0.1, momentum=0.0, **_FASHION))


@claim(
    "bucketing",
    paper="Karimireddy, He & Jaggi, 'Byzantine-robust learning on heterogeneous datasets via bucketing' (ICLR 2022)",
    where="Sections 3 and 6: labels sorted over 24 nodes, nobody attacks; 25 nodes of which 5 mimic another, no momentum",
    statement="On data that differ from node to node, robust rules do worse than the mean even if nobody attacks; averaging "
    "pairs of rows first gives back much of it, under mimicry, too.",
)
def bucketing(profile: Profile) -> Iterator[Row]:
    """Accuracies of each rule with and without bucketing, and of the plain mean."""
    calm, attacked = SMOKE if profile == "smoke" else PAPER
    yield from calm_rows(calm)
    yield from mimicry_rows(attacked)


def calm_rows(size: Size, rules: dict[str, str] | None = None) -> Iterator[Row]:
    """Nobody attacks."""
    seeds = range(1, size.seeds + 1)
    mean = ends(scenario(seed, None, "mean", SORTED, size) for seed in seeds)
    yield from measured("nobody attacks, mean", mean)
    for called, rule in (rules or RULES).items():
        alone, after = (ends(scenario(seed, None, how, SORTED, size) for seed in seeds) for how in (rule, [FIRST, rule]))
        yield from measured(f"nobody attacks, {called}", alone)
        yield from measured(f"nobody attacks, {called} after bucketing", after)
        yield ahead(f"nobody attacks: mean ahead of {called} by", mean, alone, 0.01, _LOSE)
        source = f"{_LOGS}: {PUBLISHED[called][0]} per cent"
        yield ahead(f"nobody attacks, {called}: gain by bucketing", after, alone, GAIN, source)


def mimicry_rows(size: Size, rules: dict[str, str] | None = None) -> Iterator[Row]:
    """Attackers all send what one honest node sends."""
    seeds, attack = range(1, size.seeds + 1), {"kind": "mimic"}
    yield from measured("mimicry, mean", ends(scenario(seed, attack, "mean", SORTED, size) for seed in seeds))
    for called, rule in (rules or RULES).items():
        alone, after = (ends(scenario(seed, attack, how, SORTED, size) for seed in seeds) for how in (rule, [FIRST, rule]))
        yield from measured(f"mimicry, {called}", alone)
        yield from measured(f"mimicry, {called} after bucketing", after)
        source = f"{_LOGS}: {PUBLISHED[called][1]} per cent"
        yield ahead(f"mimicry, {called}: gain by bucketing", after, alone, GAIN, source)
