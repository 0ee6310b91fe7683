"""Nearest-neighbour mixing: how far it helps as data grow unlike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row
from decai_sim.papers.worker_momentum import ONE_CLASS, Size, ahead, ends, measured, scenario

HONEST = 10
ATTACKS: dict[str, Any] = {
    "sign flip": {"kind": "sign_flip"},
    "optimised IPM": {"kind": "optimised_ipm"},
    "optimised ALIE": {"kind": "optimised_alie"},
}
HURRIED: dict[str, Any] = {
    name: attack if name == "sign flip" else {**attack, "evaluations": 6} for name, attack in ATTACKS.items()
}
"""The same for the smoke profile: attackers try the rule 6 times a round, where 20 is the default."""
UNEVEN: dict[str, Any] = {"alike": "iid", "moderate": {"kind": "dirichlet", "alpha": 1.0}, "extreme": ONE_CLASS}
"""How data are split: all the same, unlike, and one class a node."""
STEPS: dict[str, list[Any]] = {
    "without NNM": [{"kind": "clipping", "tau": 2.0}],
    "with NNM": [{"kind": "clipping", "tau": 2.0}, "nnm"],
}
SMOKE = (Size(rounds=100), (2,))
PAPER = (Size(rounds=800, task="fashion_mnist", model={"kind": "mlp", "hidden": [64]}, batch=25, seeds=5), (1, 2, 3, 4))
_ALLOUAH = "Allouah et al., AISTATS 2023, Section 5; ByzFL's heat maps, trimmed mean after clipping and NNM, 1 to 4 attackers"
_FIGURES = f"{_ALLOUAH}: one class a node .87, .61, .26, .21; all alike .98"


@claim(
    "nnm",
    paper="Allouah et al., 'Fixing by mixing: a recipe for optimal Byzantine ML under heterogeneity' (AISTATS 2023); ByzFL",
    where="Section 5 and ByzFL's heat maps: 10 honest nodes, 1 to 4 attackers, the worst of three attacks; moderately unlike is "
    "γ = 0.33 there, Dirichlet with α = 1 here",
    statement="Nearest-neighbour mixing before the trimmed mean helps where data are moderately unlike; where every node has a "
    "class of its own it does not save it.",
)
def nnm(profile: Profile) -> Iterator[Row]:
    """Accuracies under the worst of three attacks, for three ways to split the data.

    Deviations: ByzFL's γ = 0.33, a third of each node's samples drawn from all and the others sorted by label, is a Dirichlet
    split with α = 1 here; its digits are MNIST, here Fashion-MNIST or the small ones. In the smoke profile attackers who search
    for the worst factor look 6 times a round, in the paper profile 20 times, the default.
    """
    if profile == "smoke":
        yield from nnm_rows(*SMOKE, HURRIED)
    else:
        yield from nnm_rows(*PAPER)


def nnm_rows(size: Size, attackers: tuple[int, ...], attacks: dict[str, Any] | None = None) -> Iterator[Row]:
    """The figures of the claim, for an experiment of any size."""
    from dataclasses import replace

    for f in attackers:
        of = replace(size, nodes=HONEST + f, attackers=f)
        worst: dict[tuple[str, str], list[float]] = {}
        for split, partition in UNEVEN.items():
            for how, steps in STEPS.items():
                each = [
                    ends(scenario(seed, attack, [*steps, "trimmed_mean"], partition, of) for seed in range(1, of.seeds + 1))
                    for attack in (attacks or ATTACKS).values()
                ]
                worst[split, how] = [min(of_seed) for of_seed in zip(*each, strict=True)]
                yield from measured(f"{f} attackers, {split}, {how}: worst of the attacks", worst[split, how])
        with_, without = ({split: worst[split, how] for split in UNEVEN} for how in ("with NNM", "without NNM"))
        yield ahead(f"{f} attackers, moderate: gain by NNM", with_["moderate"], without["moderate"], 0.0, _ALLOUAH)
        name = f"{f} attackers, with NNM: lost from alike to extreme"
        yield ahead(name, with_["alike"], with_["extreme"], 0.1, _FIGURES)
