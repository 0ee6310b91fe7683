"""The notebook on poisoning under churn: its scenarios, and what its tables are made of."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from decai_sim.papers.curves import settled
from decai_sim.runs import run
from decai_sim.scenario import Scenario

if TYPE_CHECKING:
    from decai_sim.runs import Run

NODES, ATTACKERS = 20, 4
"""The last of the nodes attack, a fifth."""
GONE = (0, 3, 7, 10, 12)
"""How many nodes, all honest, go offline: up to more than half of all."""
_GONE_S, _DEADLINE_S = 1e-3, 5.0
_LAST = 5


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        task: its kind.
        hidden: units of the perceptron.
        rounds: of training.
        seeds: of how many runs.
    """

    task: str
    hidden: int
    rounds: int
    seeds: int


SMOKE, PAPER = Size("digits", 32, 30, 1), Size("fashion_mnist", 64, 60, 5)


def offline(seed: int, defense: Any, gone: int, size: Size = SMOKE, **attack: Any) -> Scenario:
    """A server that waits for all who are there; the first ``gone`` nodes crash for good, soon after the beginning.

    Example:
        >>> offline(1, "krum", 7).faults[0].nodes
        (0, 1, 2, 3, 4, 5, 6)
    """
    faults = [{"kind": "crash", "nodes": list(range(gone)), "at_s": _GONE_S}] if gone else []
    return _scenario(seed, defense, {"kind": "federated", "deadline_s": _DEADLINE_S}, size, attack, faults=faults)


def coming_and_going(seed: int, defense: Any, size: Size = SMOKE, **attack: Any) -> Scenario:
    """Everybody, attackers too, is there for about four seconds and away for two, again and again.

    Example:
        >>> coming_and_going(1, "krum").churn.mean_offline_s
        2.0
    """
    churn = {"kind": "exponential", "mean_online_s": 4.0, "mean_offline_s": 2.0}
    return _scenario(seed, defense, {"kind": "federated", "deadline_s": 2.0}, size, attack, churn=churn)


def late(seed: int, defense: Any, exponent: float, size: Size = SMOKE, slow: float = 10.0, **attack: Any) -> Scenario:
    """A server that makes a model of every ten replies and waits for nobody; half of the honest nodes are far away.

    Args:
        seed: of the run.
        defense: the rule.
        exponent: how quickly late updates count less.
        size: of the experiment.
        slow: how many times as long messages of the far half take.
        attack: fields of the attack.

    Example:
        >>> late(1, "krum", 0.5).protocol.kind
        'fedbuff'
    """
    protocol = {"kind": "fedbuff", "buffer": NODES // 2, "staleness_exponent": exponent, "rounds": 2 * size.rounds}
    far = [{"kind": "slow_links", "nodes": list(range((NODES - ATTACKERS) // 2)), "lag": slow}]
    return _scenario(seed, defense, protocol, size, attack, faults=far)


def _scenario(seed: int, defense: Any, protocol: dict[str, Any], size: Size, attack: Mapping[str, Any], **more: Any) -> Scenario:
    how = {"rounds": size.rounds, "fraction": 1.0, "local_steps": 5, "batch_size": 16, "lr": 0.1}
    attacking = {"kind": "sign_flip", "scale": 4, "nodes": list(range(NODES - ATTACKERS, NODES)), **attack}
    return Scenario.model_validate(
        {
            "nodes": NODES,
            "seed": seed,
            "network": "internet",
            "task": {
                "kind": size.task,
                "partition": {"kind": "dirichlet", "alpha": 1.0},
                "model": {"kind": "mlp", "hidden": [size.hidden]},
            },
            "protocol": {**how, **protocol},
            "attack": attacking,
            "defense": defense,
            **more,
        }
    )


def done(scenario: Scenario) -> Run:
    """The run of a scenario in which rounds may be passed over, because too few updates came for the rule."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "round .* is passed over", RuntimeWarning)
        return run(scenario, progress=False)


def final(runs: Sequence[Run]) -> float:
    """Accuracy in the last five rounds, median over runs."""
    return float(np.median([settled(one.rounds, _LAST) for one in runs]))


def crowded(one: Run, f: int | None = None) -> float:
    """The share of rounds in which more attackers replied than a rule reckons with.

    Args:
        one: a run under attack.
        f: how many it reckons with; None: the attackers' share of all nodes, of those that replied.
    """
    share = int(one.nodes["byzantine"].sum()) / len(one.nodes)
    came = one.rounds["n_replied"]
    return float((one.rounds["n_byzantine"] > ((share * came + 1e-9) // 1 if f is None else f)).mean())


def ages(one: Run) -> pd.Series:
    """How many models had overtaken an update when the server used it: ``seen``, of all in buffers, and ``kept``, by the rule.

    Args:
        one: a run whose nodes stay and whose links lose nothing.
    """
    seen = aged(one)
    age, kept, honest = seen["age"], seen["kept"].astype(bool), ~seen["byzantine"].astype(bool)
    return pd.Series(
        {"seen": age[honest].mean(), "kept": age[kept & honest].mean(), "attackers kept": (kept & ~honest).sum() / kept.sum()}
    )


def aged(one: Run) -> pd.DataFrame:
    """The verdicts of a run with a column ``age``: how many models had overtaken an update when the server used it.

    A node's k-th update that the server got is its answer to the k-th model that it was sent.

    Args:
        one: a run whose nodes stay and whose links lose nothing.
    """
    made = one.rounds["t_s"].to_numpy()
    asked = one.messages[one.messages["kind"] == "train"].sort_values("t_sent_s", kind="stable")
    sent = {node: part["t_sent_s"].to_numpy() for node, part in asked.groupby("dst")}
    seen = one.verdicts.sort_values("round", kind="stable")
    number = seen.groupby("node").cumcount()
    begun = np.array([sent[node][k] for node, k in zip(seen["node"], number, strict=True)])
    return seen.assign(age=seen["round"].to_numpy() - 1 - np.searchsorted(made, begun, side="right"))
