"""The quickstart: what an attack costs a federation of 1,000 nodes, and what a defense buys back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from decai_sim.attacks import SignFlip
from decai_sim.runs import Run, short
from decai_sim.scenario import Scenario
from decai_sim.sweeps import Comparison

SEEDS = (7, 8, 9)
CALM, ATTACKED, DEFENDED = "no attack", "sign flip x4, plain mean", "sign flip x4, NNM + trimmed mean"
LEAST_POINTS_LOST, LEAST_SHARE_REGAINED = 10.0, 0.5
"""What is expected of the medians of three seeds. Every figure is printed whether or not it is met."""

ATTACKS: dict[str, dict[str, Any]] = {
    "label flip": {"kind": "label_flip", "fraction": 0.2},
    "sign flip x1": {"kind": "sign_flip", "fraction": 0.2, "scale": 1},
    "ALIE": {"kind": "alie", "fraction": 0.2},
}
DEFENSES: dict[str, Any] = {
    "mean": "mean",
    "median": "median",
    "trimmed mean": "trimmed_mean",
    "Krum": "krum",
    "NNM + trimmed mean": ["nnm", "trimmed_mean"],
}


def scenario(seed: int = SEEDS[0]) -> Scenario:
    """The attacked and defended federation; the same as ``notebooks/scenarios/quickstart.yaml``.

    Example:
        >>> scenario().nodes, scenario().attack.scale
        (1000, 4.0)
    """
    return Scenario.model_validate(
        {
            "nodes": 1000,
            "seed": seed,
            "topology": {"kind": "small_world", "degree": 8, "rewire": 0.1},
            "network": {"kind": "internet", "regions": "bitcoin-2019"},
            "churn": {"kind": "exponential", "mean_online_s": 7200, "mean_offline_s": 1800},
            "devices": {"kind": "mix", "phone": 0.5, "laptop": 0.4, "gpu": 0.1},
            "task": {
                "kind": "fashion_mnist",
                "partition": {"kind": "dirichlet", "alpha": 0.3},
                "model": {"kind": "mlp", "hidden": [64]},
            },
            "protocol": {
                "kind": "federated",
                "rounds": 30,
                "fraction": 0.1,
                "deadline_s": 120,
                "local_epochs": 1,
                "batch_size": 10,
                "lr": 0.1,
            },
            "attack": {"kind": "sign_flip", "fraction": 0.2, "scale": 4},
            "defense": [{"kind": "nnm"}, {"kind": "trimmed_mean"}],
        }
    )


def headline(base: Scenario | None = None) -> dict[str, Scenario]:
    """The three runs side by side: no attack, attacked, attacked and defended.

    Args:
        base: the attacked and defended scenario; None: :func:`scenario`.
    """
    base = base or scenario()
    return {CALM: base.but(attack=None, defense="mean"), ATTACKED: base.but(defense="mean"), DEFENDED: base}


def pairings(base: Scenario | None = None) -> dict[str, Scenario]:
    """Every subtler attack against every rule, labelled ``attack | rule``."""
    base = base or scenario()
    return {
        f"{attack} | {rule}": base.but(attack=attack_config, defense=rule_config)
        for attack, attack_config in ATTACKS.items()
        for rule, rule_config in DEFENSES.items()
    }


def pairings_table(result: Comparison) -> pd.DataFrame:
    """Median final accuracy in percent: a row an attack, a column a rule.

    Args:
        result: of :func:`pairings`.
    """
    final = {label: 100 * median(values) for label, values in result.final.items()}
    return pd.DataFrame(
        {rule: [final.get(f"{attack} | {rule}", float("nan")) for attack in ATTACKS] for rule in DEFENSES},
        index=pd.Index(list(ATTACKS), name="attack"),
    )


@dataclass(frozen=True)
class Price:
    """What an attack cost and what a defense bought back; medians over seeds.

    Attributes:
        calm, attacked, defended: final accuracies, percent.
        points_lost: accuracy points lost to the attack under the plain mean.
        share_regained: share of the lost points that the defense regained.
        seeds: how many seeds.
    """

    calm: float
    attacked: float
    defended: float
    points_lost: float
    share_regained: float
    seeds: int

    @property
    def meets(self) -> bool:
        """Whether at least 10 points were lost and at least half of them regained."""
        return self.points_lost >= LEAST_POINTS_LOST and self.share_regained >= LEAST_SHARE_REGAINED


def price(final: Mapping[str, Sequence[float]]) -> Price:
    """The price of the attack and the worth of the defense.

    Args:
        final: per label of :func:`headline` the final accuracies, 0…1, in the order of the seeds.

    Example:
        >>> p = price({CALM: [0.8], ATTACKED: [0.1], DEFENDED: [0.73]})
        >>> round(p.points_lost), round(p.share_regained, 2), p.meets
        (70, 0.9, True)
    """
    columns = [[100 * value for value in final[label]] for label in (CALM, ATTACKED, DEFENDED)]
    rows = list(zip(*columns, strict=True))
    lost = [calm - attacked for calm, attacked, _ in rows]
    regained = [(d - a) / (c - a) if c > a else 0.0 for c, a, d in rows]
    calm, attacked, defended = (median(column) for column in columns)
    return Price(calm, attacked, defended, median(lost), median(regained), len(rows))


EXERCISE_SHARE, EXERCISE_ACCURACY = 0.4, 0.7


def check_exercise(runs: Sequence[Run]) -> str:
    """Say whether one of ``runs`` solves the notebook's exercise: hold above 70 % against 40 % of the nodes flipping signs.

    Example:
        >>> check_exercise([])
        'Not yet: there is no finished run in which 40% of the nodes flip signs (sign flip, scale 4).'
    """
    attacked = [one for one in runs if one.complete and _is_put_to_the_test(one.scenario)]
    if not attacked:
        return f"Not yet: there is no finished run in which {EXERCISE_SHARE:.0%} of the nodes flip signs (sign flip, scale 4)."
    best = max(attacked, key=lambda one: one.accuracy)
    rule = "no defense" if best.scenario.defense is None else short(best.scenario.defense)
    if best.accuracy > EXERCISE_ACCURACY:
        return f"Solved: {rule} holds at {best.accuracy:.0%}."
    return f"Not yet: the best rule so far, {rule}, ends at {best.accuracy:.0%}; more than {EXERCISE_ACCURACY:.0%} is possible."


def _is_put_to_the_test(scenario: Scenario) -> bool:
    attack = scenario.attack
    return isinstance(attack, SignFlip) and attack.fraction >= EXERCISE_SHARE and attack.scale >= 4
