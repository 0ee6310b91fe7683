"""FLTrust: a server with a few clean samples survives a majority of attackers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row
from decai_sim.papers.worker_momentum import Size, ahead, ends, measured, no_better
from decai_sim.papers.worker_momentum import scenario as single_steps

if TYPE_CHECKING:
    from decai_sim.scenario import Scenario

SMOKE = Size(attackers=15, rounds=40, lr=0.1)
PAPER = Size(nodes=100, attackers=60, rounds=150, task="fashion_mnist", model={"kind": "mlp", "hidden": [64]}, lr=0.05, seeds=5)
MOST: dict[str, Any] = {"kind": "sign_flip", "scale": 4}
RULES: dict[str, Any] = {"FLTrust": "fltrust", "mean": "mean", "median": "median", "geometric median": "geometric_median"}
_CAO = "Cao et al., NDSS 2021, Section VI: 100 clean samples are enough against 40 to 60 % attackers; the ordering"


@claim(
    "fltrust",
    paper="Cao, Fang, Liu & Gong, 'FLTrust: Byzantine-robust federated learning via trust bootstrapping' (NDSS 2021)",
    where="Section VI: a root data set of 100 samples, 60 % of the nodes attack",
    statement="A server that weighs updates by how they agree with what it learns from 100 clean samples learns with a majority "
    "of attackers, where the mean and medians do not.",
)
def fltrust(profile: Profile) -> Iterator[Row]:
    """Accuracies with three fifths of the nodes sending the opposite of what they learned, four times as loud."""
    yield from fltrust_rows(SMOKE if profile == "smoke" else PAPER)


def fltrust_rows(size: Size, attack: dict[str, Any] | None = None) -> Iterator[Row]:
    """The figures of the claim, for an experiment of any size."""
    seeds = range(1, size.seeds + 1)
    found = {rule: ends(scenario(seed, rule, size, attack or MOST) for seed in seeds) for rule in RULES}
    calm = ends(scenario(seed, "FLTrust", size, None) for seed in seeds)
    yield from measured("nobody attacks, FLTrust", calm)
    for rule, values in found.items():
        yield from measured(f"60 % attack, {rule}", values)
    for rule in list(RULES)[1:]:
        yield ahead(f"60 % attack: FLTrust ahead of {rule} by", found["FLTrust"], found[rule], 0.2, _CAO)
    yield no_better("FLTrust: lost to 60 % attackers", calm, found["FLTrust"], 0.1, _CAO)


def scenario(seed: int, rule: str = "FLTrust", size: Size = SMOKE, attack: dict[str, Any] | None = MOST) -> Scenario:
    """Federated averaging of a few steps a round, data alike.

    Example:
        >>> scenario(1).defense.kind, scenario(1).protocol.server_samples
        ('fltrust', 100)
    """
    one = single_steps(seed, attack, RULES[rule], "iid", size)
    return one.but(protocol__local_steps=5, protocol__optimiser="sgd", protocol__keep_state=False)
