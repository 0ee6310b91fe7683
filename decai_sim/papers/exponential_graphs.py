"""Few links that make as good models as all there are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.curves import settled
from decai_sim.papers.each_node import each_node
from decai_sim.papers.rows import Row, interval_rows, median_interval
from decai_sim.papers.scattered import apart

if TYPE_CHECKING:
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

GRAPHS: dict[str, dict[str, Any]] = {
    "ring": {"topology": "ring", "protocol": "dpsgd"},
    "exponential": {"topology": {"kind": "exponential", "directed": True}, "protocol": "sgp"},
    "one-peer exponential": {"topology": "one_peer_exponential", "protocol": "sgp"},
    "complete": {"topology": "complete", "protocol": "dpsgd"},
}
_YING = "Ying et al., NeurIPS 2021, validation accuracies: exponential graphs do as well as denser ones; within a point"
_SENT = "Ying et al., NeurIPS 2021: one-peer 1, static ⌈log₂n⌉ messages a node and round; complete n − 1"
_NEARER = "Ying et al., NeurIPS 2021: exponential graphs average better than sparse static ones; the ordering"
_OWN = (
    "ours: with data this uneven nodes' own models, between two averages, lag behind those of the complete graph, most where one "
    "message is sent: 3 and 9 points here; not more by half"
)
BEHIND, NEARER = {"exponential": 0.045, "one-peer exponential": 0.135}, 0.75
"""How far nodes' own models may lag behind, and how much nearer than on a ring they must be to their mean."""
_ALONE = "a check on the check: exchange matters for the mean model"


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        nodes: how many; a power of two.
        rounds: of training and averaging.
        seeds: of how many runs.
    """

    nodes: int = 32
    rounds: int = 40
    seeds: int = 2


SMOKE, PAPER = Size(), Size(nodes=64, rounds=150, seeds=5)


@claim(
    "exponential-graphs",
    paper="Ying, Yuan, Chen, Hu, Pan & Yin, 'Exponential graph is provably efficient for decentralized deep training' "
    "(NeurIPS 2021)",
    where="experiments: accuracy over ring, grid, random, static and one-peer exponential graphs; table of degrees and gaps",
    statement="Over static and one-peer exponential graphs the mean of all models gets as accurate as over the complete graph, "
    "with log₂n messages a node and round, or one; nodes stay nearer to it than on a ring, yet their own models lag behind.",
)
def exponential_graphs(profile: Profile) -> Iterator[Row]:
    """Accuracy of the mean model and of the nodes' own at the end, and messages; medians over the seeds."""
    size = SMOKE if profile == "smoke" else PAPER
    seeds = range(1, size.seeds + 1)
    runs = {graph: [_run(scenario(graph, seed, size)) for seed in seeds] for graph in GRAPHS}
    mean = {graph: [settled(run.rounds, 2) for run in its] for graph, its in runs.items()}
    own = {graph: [settled(each_node(run), 2) for run in its] for graph, its in runs.items()}
    wanted = {"ring": 2, "exponential": math.log2(size.nodes), "one-peer exponential": 1, "complete": size.nodes - 1}
    for graph in GRAPHS:
        yield Row(f"accuracy of the mean model, {graph}", median_interval(mean[graph])[0])
        yield from interval_rows(f"accuracy of the mean model, {graph}", mean[graph])
        yield Row(f"accuracy of the nodes' own models, {graph}", median_interval(own[graph])[0])
        yield Row.near(f"messages a node and round, {graph}", sent(runs[graph][0]), "", wanted[graph], 1e-9, _SENT)
    for graph in ("exponential", "one-peer exponential"):
        less = [a - b for a, b in zip(mean["complete"], mean[graph], strict=True)]
        yield Row.at_most(f"accuracy of the mean model, complete less {graph}", median_interval(less)[0], 0.01, _YING)
        lower = [a - b for a, b in zip(own["complete"], own[graph], strict=True)]
        yield Row.at_most(
            f"accuracy of the nodes' own models, complete less {graph}", median_interval(lower)[0], BEHIND[graph], _OWN
        )
    more = [a - b for a, b in zip(own["exponential"], own["ring"], strict=True)]
    yield Row.at_least("accuracy of the nodes' own models, exponential less ring", median_interval(more)[0], 0.02, _NEARER)
    alone = scenario("ring", 1, size).but(network={"kind": "internet", "loss": 0.999})
    lost = mean["complete"][0] - settled(_run(alone).rounds, 2)
    yield Row.at_least("accuracy of the mean model, complete less one of nodes that hear of nobody", lost, 0.03, _ALONE)
    nearer = [float(apart(a)[-1] / apart(b)[-1]) for a, b in zip(runs["one-peer exponential"], runs["ring"], strict=True)]
    yield Row.at_most("distance from the mean, one-peer exponential over ring", median_interval(nearer)[0], NEARER, _NEARER)


def sent(run: Run) -> float:
    """Models that a node sends a round."""
    models = run.traffic.loc[run.traffic["kind"] == "model", "messages"].sum()
    return float(models) / run.scenario.nodes / len(run.rounds)


def scenario(graph: str, seed: int, size: Size = SMOKE) -> Scenario:
    """Nodes with uneven data, that average every five steps; ``graph`` is one of :data:`GRAPHS`.

    Example:
        >>> scenario("one-peer exponential", 1).protocol.kind
        'sgp'
    """
    from decai_sim.scenario import Scenario

    how = GRAPHS[graph]
    return Scenario.model_validate(
        {
            "nodes": size.nodes,
            "seed": seed,
            "topology": how["topology"],
            "network": "internet",
            "task": {
                "kind": "fashion_mnist",
                "partition": {"kind": "dirichlet", "alpha": 0.3, "min_samples": 10},
                "model": {"kind": "mlp", "hidden": [64]},
            },
            "protocol": {
                "kind": how["protocol"],
                "rounds": size.rounds,
                "local_steps": 5,
                "batch_size": 20,
                "lr": 0.05,
                "node_tests": 500,
                "evaluate_every": size.rounds // 10,
            },
        }
    )


def _run(scenario: Scenario) -> Run:
    from decai_sim.runs import run

    return run(scenario, progress=False)
