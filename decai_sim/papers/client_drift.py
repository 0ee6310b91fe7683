"""Client drift: what uneven data do to federated averaging, and what control variates undo."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.curves import reaching, settled, swing
from decai_sim.papers.rows import Row, interval_rows, median_interval

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.scenario import Scenario

TARGET = 0.75
FEW, MANY = 5, 50
"""Local steps a round."""
UNEVEN = {"kind": "pathological", "classes_per_node": 2}
METHODS: dict[str, dict[str, Any]] = {"FedAvg": {}, "FedProx": {"prox_mu": 1.0}, "SCAFFOLD": {"scaffold": True}}
ALPHAS = (1.0, 0.1, 0.03)

_SCAFFOLD = "Karimireddy et al., ICML 2020, section 7: logistic regression, rounds to a target accuracy"
_FINAL = "Karimireddy et al., ICML 2020, section 7: best accuracy"
_CAUSE = "Karimireddy et al., ICML 2020: drift comes of nodes whose gradients differ; 0.01 is ours"
_PROX = "Li et al., MLSys 2020, section 5: convergence is more stable with a proximal term"
_HSU = "Hsu, Qi & Brown 2019: federated averaging gets worse as data get less alike"


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        nodes: how many hold data; a fifth of them is asked each round.
        rounds: of training.
        task: its kind.
        target: the accuracy whose first round is looked for.
        many: local steps that are many.
        alphas: of the Dirichlet partitions, falling.
    """

    nodes: int = 50
    rounds: int = 25
    task: str = "fashion_mnist"
    target: float = TARGET
    many: int = MANY
    alphas: tuple[float, ...] = ALPHAS


SMOKE, PAPER = Size(), Size(nodes=100, rounds=60)


@claim(
    "client-drift",
    paper="Karimireddy et al., 'SCAFFOLD: Stochastic controlled averaging for federated learning' (ICML 2020); Li et al., "
    "'Federated optimization in heterogeneous networks' (MLSys 2020); Hsu, Qi & Brown, 'Measuring the effects of non-identical "
    "data distribution for federated visual classification' (arXiv:1909.06335)",
    where="experiments: SCAFFOLD, section 7; FedProx, section 5; accuracy against Dirichlet's alpha",
    statement="If nodes hold different data, models drift apart over many local steps: SCAFFOLD needs fewer rounds than FedAvg "
    "and ends higher, a proximal term calms the curve, and the less alike the data, the lower FedAvg ends; with equal data "
    "there is no difference.",
)
def client_drift(profile: Profile) -> Iterator[Row]:
    """FedAvg, FedProx and SCAFFOLD on nodes of two classes each and on equal ones; medians over the seeds."""
    yield from drift_rows(*((SMOKE, range(2)) if profile == "smoke" else (PAPER, range(5))))


def scenario(seed: int, partition: Any = UNEVEN, method: str = "FedAvg", steps: int = MANY, size: Size = SMOKE) -> Scenario:
    """Logistic regression, a fifth of the nodes each round, on an ideal network: nothing but learning is looked at.

    Args:
        seed: of everything.
        partition: who holds what.
        method: one of :data:`METHODS`.
        steps: local steps a round.
        size: of the experiment.

    Example:
        >>> scenario(1, "iid", "SCAFFOLD").protocol.scaffold
        True
    """
    from decai_sim.scenario import Scenario

    protocol = {
        "kind": "federated",
        "rounds": size.rounds,
        "fraction": 0.2,
        "local_steps": steps,
        "batch_size": 20,
        "lr": 0.05,
        **METHODS[method],
    }
    task = {"kind": size.task, "partition": partition, "model": "softmax"}
    return Scenario.model_validate({"nodes": size.nodes, "seed": seed, "network": "ideal", "task": task, "protocol": protocol})


def drift_rows(size: Size, seeds: range) -> Iterator[Row]:
    """The figures of the claim, for an experiment of any size."""
    from decai_sim.runs import run

    few, many, last = FEW, size.many, max(2, size.rounds // 3)

    def rounds(partition: Any, method: str = "FedAvg", steps: int = many) -> list[pd.DataFrame]:
        return [run(scenario(seed, partition, method, steps, size), progress=False).rounds for seed in seeds]

    uneven = {
        (method, steps): rounds(UNEVEN, method, steps)
        for steps in (few, many)
        for method in METHODS
        if (method, steps) != ("FedProx", few)
    }
    even = {method: rounds("iid", method) for method in ("FedAvg", "SCAFFOLD")}
    by_alpha = {alpha: rounds({"kind": "dirichlet", "alpha": alpha, "min_samples": 0}) for alpha in size.alphas}

    def final(frames: list[pd.DataFrame]) -> list[float]:
        return [settled(frame, last) for frame in frames]

    def less(frames: list[pd.DataFrame], others: list[pd.DataFrame]) -> float:
        """Median of the differences of final accuracies, seed by seed."""
        return median_interval([a - b for a, b in zip(final(frames), final(others), strict=True)])[0]

    def needed(method: str, steps: int) -> list[float]:
        return [reaching(frame, size.target)["round"] for frame in uneven[method, steps]]

    for method, steps in uneven:
        name = f"two classes a node, {method}, {steps} local steps"
        yield Row(f"{name}: rounds to {size.target:.0%}", median_interval(needed(method, steps))[0], "rounds")
        yield Row(f"{name}: final accuracy", median_interval(final(uneven[method, steps]))[0])
        yield from interval_rows(f"{name}: final accuracy", final(uneven[method, steps]))

    fedavg, fedprox, scaffold = (uneven[method, many] for method in METHODS)
    for steps in (few, many):
        pairs = zip(needed("SCAFFOLD", steps), needed("FedAvg", steps), strict=True)
        ratio = median_interval([mine / theirs if math.isfinite(mine) else math.inf for mine, theirs in pairs])[0]
        name = f"rounds to {size.target:.0%}, {steps} local steps: SCAFFOLD over FedAvg"
        yield Row(name, ratio, "", "< 1", ratio < 1, _SCAFFOLD)
        name = f"final accuracy, {steps} local steps: SCAFFOLD less FedAvg"
        ahead = less(uneven["SCAFFOLD", steps], uneven["FedAvg", steps])
        yield Row(name, ahead, "", "> 0", ahead > 0, _FINAL)
    ahead = less(scaffold, fedprox)
    yield Row(f"final accuracy, {many} local steps: SCAFFOLD less FedProx", ahead, "", "> 0", ahead > 0, _FINAL)
    apart = less(even["SCAFFOLD"], even["FedAvg"])
    yield Row.near(f"equal data, final accuracy, {many} local steps: SCAFFOLD less FedAvg", apart, "", 0.0, 0.01, _CAUSE)

    for method in ("FedAvg", "SCAFFOLD"):
        gain = less(uneven[method, many], uneven[method, few])
        yield Row(f"gain in final accuracy from {few} to {many} local steps, {method}", gain)

    calmer = median_interval([swing(a) / swing(b) for a, b in zip(fedprox, fedavg, strict=True)])[0]
    yield Row(f"change from round to round, {many} local steps: FedProx over FedAvg", calmer, "", "< 1", calmer < 1, _PROX)
    yield Row(f"final accuracy, {many} local steps: FedProx less FedAvg", less(fedprox, fedavg))

    falling = {"equal data": even["FedAvg"], **{f"alpha {alpha:g}": frames for alpha, frames in by_alpha.items()}}
    middles = {label: median_interval(final(frames))[0] for label, frames in falling.items()}
    for label, middle in middles.items():
        yield Row(f"FedAvg, {many} local steps, {label}: final accuracy", middle)
    labels = list(middles)
    for above, below in pairwise(labels):
        fall = middles[above] - middles[below]
        yield Row(f"FedAvg, final accuracy: {above} less {below}", fall, "", "> 0", fall > 0, _HSU)
