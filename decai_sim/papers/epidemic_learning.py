"""Learning from others drawn anew each round, and from the same neighbours all the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.curves import reaching, settled
from decai_sim.papers.each_node import each_node
from decai_sim.papers.rows import Row, interval_rows, median_interval

if TYPE_CHECKING:
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

WAYS = ("D-PSGD on a regular graph", "EL-Oracle", "EL-Local")
_DE_VOS = "De Vos et al., NeurIPS 2023, abstract: up to 1.7 times fewer rounds, up to 2.2 points more accuracy; half of that"
FEWER, MORE = 1.35, 0.011
"""Rounds of D-PSGD over those of Epidemic Learning, and how much more accuracy: half of what is published at most."""


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        nodes: how many.
        degree: to how many others each sends a round.
        rounds: of training and averaging.
        target: mean accuracy of the nodes that is to be reached.
        seeds: of how many runs.
    """

    nodes: int = 32
    degree: int = 4
    rounds: int = 30
    target: float = 0.6
    seeds: int = 2


SMOKE, PAPER = Size(), Size(nodes=96, degree=7, rounds=80, target=0.65, seeds=5)


@claim(
    "epidemic-learning",
    paper="De Vos et al., 'Epidemic learning: boosting decentralized learning with randomized communication' (NeurIPS 2023)",
    where="abstract and Section 4: 96 nodes, s = 7, against D-PSGD on 7-regular graphs, two shards of classes a node",
    statement="With as many messages a round, nodes that draw others anew reach an accuracy in fewer rounds than nodes that keep "
    "their neighbours.",
)
def epidemic_learning(profile: Profile) -> Iterator[Row]:
    """Rounds until the nodes' mean accuracy, and that accuracy at the end; medians over the seeds."""
    size = SMOKE if profile == "smoke" else PAPER
    runs = {way: [_run(scenario(seed, way, size)) for seed in range(1, size.seeds + 1)] for way in WAYS}
    rounds = {way: [reaching(each_node(run), size.target)["round"] for run in runs[way]] for way in WAYS}
    ends = {way: [settled(each_node(run), 5) for run in runs[way]] for way in WAYS}
    for way in WAYS:
        yield Row(f"rounds to a mean accuracy of {size.target:g}, {way}", median_interval(rounds[way])[0])
        yield from interval_rows(f"rounds to a mean accuracy of {size.target:g}, {way}", rounds[way])
        yield Row(f"mean accuracy at the end, {way}", median_interval(ends[way])[0])
    for way in WAYS[1:]:
        fewer = [a / b for a, b in zip(rounds[WAYS[0]], rounds[way], strict=True)]
        more = [a - b for a, b in zip(ends[way], ends[WAYS[0]], strict=True)]
        yield Row.at_least(f"rounds of D-PSGD over those of {way}", median_interval(fewer)[0], FEWER, _DE_VOS)
        yield Row.at_least(f"accuracy at the end, {way} more than D-PSGD", median_interval(more)[0], MORE, _DE_VOS)


def scenario(seed: int, way: str = WAYS[0], size: Size = SMOKE) -> Scenario:
    """Nodes with two shards of classes each; ``way`` is one of :data:`WAYS`.

    Example:
        >>> scenario(1, "EL-Local").protocol.fanout
        4
    """
    from decai_sim.scenario import Scenario

    protocol: dict[str, Any] = {"kind": "dpsgd"}
    topology: dict[str, Any] = {"kind": "random_regular", "degree": size.degree}
    if way == "EL-Oracle":
        topology = {"kind": "random_each_round", "degree": size.degree}
    elif way == "EL-Local":
        protocol = {"kind": "epidemic", "fanout": size.degree}
    return Scenario.model_validate(
        {
            "nodes": size.nodes,
            "seed": seed,
            "topology": topology,
            "network": "internet",
            "task": {"kind": "fashion_mnist", "partition": "shards", "model": {"kind": "mlp", "hidden": [64]}},
            "protocol": {**protocol, "rounds": size.rounds, "local_steps": 5, "batch_size": 16, "lr": 0.05, "node_tests": 500},
        }
    )


def _run(scenario: Scenario) -> Run:
    from decai_sim.runs import run

    return run(scenario, progress=False)
