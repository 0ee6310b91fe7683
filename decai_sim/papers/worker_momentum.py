"""The setting that most poisoning papers share: a round is one step, nodes keep a momentum, and all of them are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decai_sim.papers.curves import settled
from decai_sim.papers.rows import Row, interval_rows, median_interval

if TYPE_CHECKING:
    from decai_sim.scenario import Scenario

ONE_CLASS = {"kind": "pathological", "classes_per_node": 1}
"""Node i has class i modulo 10, and no other."""
SORTED = {"kind": "shards", "per_node": 1}
"""Labels are sorted over the nodes: each has a stretch of the sorted samples, of one class or two."""


@dataclass(frozen=True)
class Size:
    """How large an experiment is.

    Attributes:
        nodes: how many.
        attackers: how many of them attack, those with the highest numbers.
        rounds: steps.
        task: its kind.
        model: what is trained.
        batch: samples a step.
        lr: learning rate.
        momentum: what nodes keep of their steps before.
        seeds: of how many runs.
    """

    nodes: int = 25
    attackers: int = 5
    rounds: int = 150
    task: str = "digits"
    model: Any = None
    batch: int = 16
    lr: float = 0.05
    momentum: float = 0.9
    seeds: int = 1


def scenario(
    seed: int, attack: dict[str, Any] | None = None, defense: Any = None, partition: Any = "iid", size: Size | None = None
) -> Scenario:
    """Nodes of which the last attack, knowing all that honest nodes are about to send.

    Args:
        seed: of everything.
        attack: what they do; None: nobody attacks.
        defense: as in a scenario.
        partition: who holds what.
        size: of the experiment.

    Example:
        >>> one = scenario(1, {"kind": "alie"}, "krum", ONE_CLASS)
        >>> one.attack.nodes, one.attack.omniscient, one.protocol.optimiser.momentum
        ((20, 21, 22, 23, 24), True, 0.9)
    """
    from decai_sim.scenario import Scenario

    size = size or Size()
    last = list(range(size.nodes - size.attackers, size.nodes))
    return Scenario.model_validate(
        {
            "nodes": size.nodes,
            "seed": seed,
            "network": "ideal",
            "task": {"kind": size.task, "partition": partition, "model": size.model or {"kind": "mlp", "hidden": [32]}},
            "protocol": {
                "kind": "federated",
                "rounds": size.rounds,
                "fraction": 1.0,
                "local_steps": 1,
                "batch_size": size.batch,
                "lr": size.lr,
                "optimiser": {"kind": "sgd", "momentum": size.momentum},
                "keep_state": True,
            },
            "attack": None if attack is None else {"nodes": last, "omniscient": True, **attack},
            "defense": defense,
        }
    )


def ends(scenarios: Iterable[Scenario]) -> list[float]:
    """The accuracies, 0…1, that runs settle at: means of the last tenth of the rounds."""
    from decai_sim.runs import run

    return [settled(run(one, progress=False).rounds, max(1, one.protocol.total_rounds // 10)) for one in scenarios]


def middle(values: list[float]) -> float:
    """The median over seeds."""
    return median_interval(values)[0]


def measured(name: str, values: list[float]) -> Iterator[Row]:
    """A row with the median of accuracies, to be seen, and the ends of its interval where there are seeds enough."""
    yield Row(f"{name}: accuracy", middle(values))
    yield from interval_rows(f"{name}: accuracy", values)


def gained(more: list[float], less: list[float]) -> float:
    """How far, seed by seed, ``more`` is above ``less`` in the median."""
    return middle([a - b for a, b in zip(more, less, strict=True)])


def ahead(name: str, more: list[float], less: list[float], margin: float, source: str) -> Row:
    """Met if, seed by seed, ``more`` is above ``less`` by over ``margin`` in the median."""
    gain = gained(more, less)
    return Row(name, gain, "", f"> {margin:g}", gain > margin, source)


def no_better(name: str, more: list[float], less: list[float], margin: float, source: str) -> Row:
    """Met if, seed by seed, ``more`` is above ``less`` by less than ``margin`` in the median: it does not help."""
    gain = gained(more, less)
    return Row(name, gain, "", f"< {margin:g}", gain < margin, source)
