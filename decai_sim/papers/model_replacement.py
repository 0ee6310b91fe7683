"""Model replacement: one loud update and the backdoor is in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row, interval_rows
from decai_sim.papers.worker_momentum import middle

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.scenario import Scenario

RULES = {"mean": "mean", "norm clipping": "norm_clipping"}
_BAGDASARYAN = "Bagdasaryan et al., AISTATS 2020, Section 5 and figure 4: one update implants the backdoor in one round"
_SUN = "Sun et al., arXiv:1911.07963, Section 5: bounded norms keep model replacement out"


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        nodes: how many, all of which train in every round; the last attacks.
        at: the round in which it does, once.
        more: rounds after it.
        task: its kind.
        seeds: of how many runs.
    """

    nodes: int = 20
    at: int = 15
    more: int = 5
    task: str = "digits"
    seeds: int = 1


SMOKE, PAPER = Size(seeds=2), Size(nodes=50, at=20, more=10, task="fashion_mnist", seeds=5)


@claim(
    "model-replacement",
    paper="Bagdasaryan et al., 'How to backdoor federated learning' (AISTATS 2020); Sun et al., 'Can you really backdoor "
    "federated learning?' (arXiv:1911.07963)",
    where="Section 5: single-shot attack late in training; norm thresholding",
    statement="A single attacker who sends its backdoored model scaled up implants the backdoor in one round, with the accuracy "
    "kept; clipping updates to the median norm keeps it out.",
)
def model_replacement(profile: Profile) -> Iterator[Row]:
    """Shares of triggered images that are taken for what the attacker wants, before and after its one update."""
    yield from replacement_rows(SMOKE if profile == "smoke" else PAPER)


def replacement_rows(size: Size, norm: float | None = None) -> Iterator[Row]:
    """The figures of the claim; with ``norm`` the attacker dares to send no more than that."""
    from decai_sim.runs import run

    rounds = {
        rule: [run(scenario(seed, rule, size, norm), progress=False).rounds for seed in range(1, size.seeds + 1)]
        for rule in RULES
    }
    success = {rule: [_at(one, size.at, "attack_success") for one in of_rule] for rule, of_rule in rounds.items()}
    for rule, of_rule in rounds.items():
        before = [_at(one, size.at - 1, "attack_success") for one in of_rule]
        last = [float(one["attack_success"].iloc[-1]) for one in of_rule]
        yield Row(f"{rule}: success before", middle(before))
        yield from interval_rows(f"{rule}: success right after", success[rule])
        yield Row(f"{rule}: success {size.more} rounds later", middle(last))
    yield Row.at_least("mean: success right after", middle(success["mean"]), 0.8, _BAGDASARYAN)
    yield Row.at_most("norm clipping: success right after", middle(success["norm clipping"]), 0.3, _SUN)
    lost = [_at(one, size.at - 1, "accuracy") - _at(one, size.at, "accuracy") for one in rounds["mean"]]
    kept = "the same: the main task's accuracy is kept; 0.1 is ours"
    yield Row.at_most("mean: accuracy lost in that round", middle(lost), 0.1, f"{_BAGDASARYAN}; {kept}")


def _at(rounds: pd.DataFrame, number: int, column: str) -> float:
    return float(rounds.loc[rounds["round"] == number, column].iloc[0])


def scenario(seed: int, rule: str = "mean", size: Size = SMOKE, norm: float | None = None) -> Scenario:
    """Federated averaging, in which one node once sends a backdoored model in the place of everybody's.

    Args:
        seed: of everything.
        rule: one of :data:`RULES`.
        size: of the experiment.
        norm: of the longest update that the attacker dares to send; None: any.

    Example:
        >>> scenario(1).attack.nodes, scenario(1).attack.from_round
        ((19,), 15)
    """
    from decai_sim.scenario import Scenario

    attack: dict[str, Any] = {
        "kind": "model_replacement",
        "nodes": [size.nodes - 1],
        "from_round": size.at,
        "until_round": size.at,
        "norm": norm,
        "data": {"kind": "badnets", "size": 2 if size.task == "digits" else 3, "share": 0.5},
    }
    return Scenario.model_validate(
        {
            "nodes": size.nodes,
            "seed": seed,
            "network": "ideal",
            "task": {"kind": size.task, "partition": "iid", "model": {"kind": "mlp", "hidden": [32]}},
            "protocol": {
                "kind": "federated",
                "rounds": size.at + size.more,
                "fraction": 1.0,
                "local_epochs": 5 if size.task == "digits" else 2,
                "batch_size": 10,
                "lr": 0.1,
            },
            "attack": attack,
            "defense": RULES[rule],
        }
    )
