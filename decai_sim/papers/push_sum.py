"""Averages over links that lead one way only, and over links that lose what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row, interval_rows, median_interval
from decai_sim.papers.scattered import averaged, first_models

if TYPE_CHECKING:
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

_SUMS = "push-sum of running sums"
WAYS: dict[str, dict[str, Any]] = {
    "push-sum": {"kind": "sgp"},
    _SUMS: {"kind": "sgp", "running_sums": True},
    "plain averages": {"kind": "dpsgd", "weights": "uniform"},
}
LOSS = 0.05
_KEMPE = (
    "Kempe, Dobra & Gehrke, FOCS 2003, section 2: all sums and weights stay what they are, so ratios tend to the mean; float32"
)
_ASSRAN = (
    "Assran et al., ICML 2019, section 2: averages of weights that are not doubly stochastic favour some nodes; the ordering"
)
_HADJICOSTIS = (
    "Hadjicostis, Vaidya & Domínguez-García, IEEE TAC 2016: over links that lose messages ratios of running sums tend to the mean"
)


@claim(
    "push-sum",
    paper="Kempe, Dobra & Gehrke, 'Gossip-based computation of aggregate information' (FOCS 2003); Assran, Loizou, Ballas & "
    "Rabbat, 'Stochastic gradient push for distributed deep learning' (ICML 2019); Hadjicostis, Vaidya & Domínguez-García, "
    "'Robust distributed average consensus via exchange of running sums' (IEEE TAC 61(6), 2016)",
    where="push-sum's conservation of mass; column-stochastic mixing in SGP; almost sure convergence under losses",
    statement="Over links that lead one way only, push-sum agrees on the mean of all models, and plain averages on something "
    "else; where messages are lost it does so if running sums are sent.",
)
def push_sum(profile: Profile) -> Iterator[Row]:
    """How far from the mean of all first models nodes agree, beside how far from it one model is; medians over the seeds.

    Where messages are lost push-sum alone does not keep the mean either: a lost share takes its weight with it.
    """
    nodes, seeds = (24, range(1, 4)) if profile == "smoke" else (256, range(1, 12))
    off = {
        (way, loss): [off_mean(averaged(scenario(way, seed, nodes, rounds, loss))) for seed in seeds]
        for loss, rounds in ((0.0, 24), (LOSS, 40))
        for way in WAYS
        if loss or way != _SUMS
    }
    middle = {key: median_interval(values)[0] for key, values in off.items()}
    for (way, loss), values in off.items():
        name = f"off the mean, {way}" + (f", {loss:.0%} lost" if loss else "")
        if (way, loss) == ("push-sum", 0):
            yield Row.at_most(name, middle[way, loss], 1e-5, _KEMPE)
        elif way == _SUMS:
            yield Row.at_most(name, middle[way, loss], 1e-5, _HADJICOSTIS)
        else:
            yield Row(name, middle[way, loss])
        yield from interval_rows(name, values)
    yield Row.at_least(
        "off the mean, plain averages over push-sum", middle["plain averages", 0] / middle["push-sum", 0], 1e3, _ASSRAN
    )
    least = middle["plain averages", LOSS] / middle[_SUMS, LOSS]
    yield Row.at_least(f"off the mean, plain averages over {_SUMS}, {LOSS:.0%} lost", least, 1e3, _HADJICOSTIS)


def off_mean(run: Run) -> float:
    """How far from the mean of what nodes began with the mean of their models is, where 1 is how far one of these is."""
    import numpy as np

    assert run.model is not None
    first = first_models(run.scenario.nodes)
    return float(np.linalg.norm(run.model - first.mean(0)) / np.sqrt(((first - first.mean(0)) ** 2).sum(1).mean()))


def scenario(way: str, seed: int, nodes: int = 24, rounds: int = 24, loss: float = 0.0) -> Scenario:
    """Nodes that send to others over links that lead one way; ``way`` is one of :data:`WAYS`.

    Where nothing is lost everybody sends to three others, which change, and hears from as many as happen to know it. Where there
    is loss links are those of the directed exponential graph, over which plain averages would keep the mean if nothing were lost;
    they stay, as what was lost comes with the next message over the same link.

    Example:
        >>> scenario("push-sum", 1).topology.view
        3
    """
    from decai_sim.scenario import Scenario

    network: dict[str, Any] = {"kind": "internet", "loss": loss}
    changing = {"kind": "peer_sampling", "view": 3, "shuffle": 2}
    return Scenario.model_validate(
        {
            "nodes": nodes,
            "seed": seed,
            "topology": {"kind": "exponential", "directed": True} if loss else changing,
            "network": network,
            "task": {"kind": "digits", "model": "softmax", "partition": "iid"},
            "protocol": {"rounds": rounds, "evaluate_every": rounds, "node_tests": 0, **WAYS[way]},
        }
    )
