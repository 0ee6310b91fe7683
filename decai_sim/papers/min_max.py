"""Min-Max: as far out as the honest are from each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row
from decai_sim.papers.worker_momentum import Size, ahead, ends, measured, scenario

SMOKE = Size(rounds=120, lr=0.3, momentum=0.0)
PAPER = Size(rounds=300, task="fashion_mnist", model={"kind": "mlp", "hidden": [64]}, batch=32, lr=0.1, momentum=0.0, seeds=5)
RULES = {"Krum": "krum", "trimmed mean": "trimmed_mean", "median": "median"}
ATTACKS: dict[str, Any] = {"ALIE": {"kind": "alie"}, "Min-Max": {"kind": "min_max"}, "Min-Sum": {"kind": "min_sum"}}
_SHEJWALKAR = "Shejwalkar & Houmansadr, NDSS 2021, table I: attack impact of Min-Max no smaller than of LIE; 0.02 is ours"


@claim(
    "min-max",
    paper="Shejwalkar & Houmansadr, 'Manipulating the Byzantine: optimizing model poisoning attacks and defenses for federated "
    "learning' (NDSS 2021)",
    where="Section VI, table I: attackers who do not know the rule, a fifth of the nodes",
    statement="Min-Max, which goes as far out as honest updates are from each other, does at least as much harm as ALIE with its "
    "own formula for how far to go.",
)
def min_max(profile: Profile) -> Iterator[Row]:
    """Accuracies of rules under ALIE, Min-Max and Min-Sum; the last is there to be seen."""
    yield from min_max_rows(SMOKE if profile == "smoke" else PAPER)


def min_max_rows(size: Size, rules: dict[str, str] | None = None, attacks: dict[str, Any] | None = None) -> Iterator[Row]:
    """The figures of the claim, for an experiment of any size."""
    for called, rule in (rules or RULES).items():
        found = {
            name: ends(scenario(seed, attack, rule, "iid", size) for seed in range(1, size.seeds + 1))
            for name, attack in (attacks or ATTACKS).items()
        }
        for name, values in found.items():
            yield from measured(f"{called}, {name}", values)
        yield ahead(f"{called}: more lost to Min-Max than to ALIE", found["ALIE"], found["Min-Max"], -0.02, _SHEJWALKAR)
