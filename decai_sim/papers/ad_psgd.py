"""One slow node, and those who wait for it or do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.curves import reaching
from decai_sim.papers.each_node import each_node
from decai_sim.papers.rows import Row, interval_rows, median_interval

if TYPE_CHECKING:
    from decai_sim.scenario import Scenario

PROTOCOLS = ("dpsgd", "ad_psgd")
FACTOR, TARGET = 10, 0.65
"""By how much the slow node's links, or its device, are slower, and the mean accuracy of nodes' own models to be reached."""
UNEVEN = {"kind": "dirichlet", "alpha": 0.3, "min_samples": 50}
"""So uneven that nobody gets there by itself."""
_ALONE = "a check on the check: nodes that hear of nobody do not get there"
_LIAN = "Lian et al., ICML 2018: AD-PSGD keeps its pace beside slow workers, synchronous training takes that of the slowest"


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        nodes: how many.
        rounds: how often each trains under D-PSGD; four times as often under AD-PSGD, which averages less each time.
        seeds: of how many runs.
    """

    nodes: int = 16
    rounds: int = 8
    seeds: int = 2


SMOKE, PAPER = Size(), Size(nodes=32, rounds=12, seeds=7)


@claim(
    "ad-psgd-stragglers",
    paper="Lian, Zhang, Zhang & Liu, 'Asynchronous decentralized parallel stochastic gradient descent' (ICML 2018)",
    where="abstract, and the experiments in heterogeneous environments",
    statement="With one node behind links of a tenth of the rate, or that computes ten times as slowly, AD-PSGD reaches an "
    "accuracy little later than without; D-PSGD slows down with that node.",
)
def ad_psgd_stragglers(profile: Profile) -> Iterator[Row]:
    """Virtual time until the nodes' models reach an accuracy, and what one slow node makes of it; medians over the seeds."""
    size = SMOKE if profile == "smoke" else PAPER
    took = {
        (kind, slow): [seconds(scenario(kind, seed, size, slow)) for seed in range(1, size.seeds + 1)]
        for kind in PROTOCOLS
        for slow in (False, True)
    }
    seeds = range(1, size.seeds + 1)
    computing = {kind: [seconds(scenario(kind, seed, size, fault="slow_devices")) for seed in seeds] for kind in PROTOCOLS}
    what = f"time to a mean accuracy of {TARGET:g}"
    for (kind, slow), times in took.items():
        yield Row(f"{what}, {kind}{', one slow' if slow else ''}", median_interval(times)[0], "s")
        yield from interval_rows(f"{what}, {kind}{', one slow' if slow else ''}", times, "s")
    slower = {kind: [a / b for a, b in zip(took[kind, True], took[kind, False], strict=True)] for kind in PROTOCOLS}
    name = "times as long because of one slow node"
    yield Row.at_least(f"{name}, dpsgd", median_interval(slower["dpsgd"])[0], 2.0, _LIAN)
    yield Row.at_most(f"{name}, ad_psgd", median_interval(slower["ad_psgd"])[0], 1.6, _LIAN)
    name = "times as long because one node computes slowly"
    slower = {kind: [a / b for a, b in zip(computing[kind], took[kind, False], strict=True)] for kind in PROTOCOLS}
    yield Row.at_least(f"{name}, dpsgd", median_interval(slower["dpsgd"])[0], 1.2, _LIAN)
    yield Row.at_most(f"{name}, ad_psgd", median_interval(slower["ad_psgd"])[0], 1.1, _LIAN)
    quicker = [a / b for a, b in zip(took["dpsgd", True], took["ad_psgd", True], strict=True)]
    yield Row.at_least("beside a slow node, time of dpsgd over that of ad_psgd", median_interval(quicker)[0], 1.5, _LIAN)
    alone = best(scenario("ad_psgd", 1, size).but(network={"kind": "internet", "loss": 0.999}))
    yield Row.at_most("best mean accuracy if hardly anything arrives, ad_psgd", alone, TARGET - 0.02, _ALONE)


def seconds(scenario: Scenario) -> float:
    """Virtual seconds until :data:`TARGET`; ``inf``: never."""
    from decai_sim.runs import run

    return reaching(each_node(run(scenario, progress=False)), TARGET)["t_s"]


def best(scenario: Scenario) -> float:
    """The highest mean accuracy of the nodes' own models."""
    from decai_sim.runs import run

    return float(each_node(run(scenario, progress=False))["accuracy"].max())


def scenario(kind: str, seed: int, size: Size = SMOKE, slow: bool = True, fault: str = "slow_links") -> Scenario:
    """Nodes on a random graph, all alike but for node 0 if it is ``slow``; ``kind`` is one of :data:`PROTOCOLS`.

    What is slow are its links, or with ``fault`` ``slow_devices`` what it computes.

    Every node is so near to node 0 that it waits for it, or for who has waited for it, long before the target is reached.

    Example:
        >>> scenario("ad_psgd", 1).faults[0].factor
        10.0
    """
    from decai_sim.scenario import Scenario

    rounds = size.rounds * (4 if kind == "ad_psgd" else 1)
    return Scenario.model_validate(
        {
            "nodes": size.nodes,
            "seed": seed,
            "topology": {"kind": "random_regular", "degree": 4},
            "network": "internet",
            "devices": {"kind": "mix", "raspberry_pi": 1},  # whose training takes about as long as an exchange
            "faults": [{"kind": fault, "nodes": [0], "factor": FACTOR}] if slow else [],
            "task": {"kind": "fashion_mnist", "partition": UNEVEN, "model": {"kind": "mlp", "hidden": [64]}},
            "protocol": {"kind": kind, "rounds": rounds, "local_steps": 200, "lr": 0.05, "node_tests": 300},
        }
    )
