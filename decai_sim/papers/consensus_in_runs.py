"""How quickly models agree when nodes really send them, and how far apart training keeps them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row
from decai_sim.papers.scattered import apart, averaged, first_models

if TYPE_CHECKING:
    from decai_sim.scenario import Scenario

SPARSE_TO_DENSE = ("ring", "torus", "exponential", "complete")
_XIAO = "Xiao, Boyd & Lall 2005: error(t) ≤ (1 − gap)^t error(0), gap of the graph's weights by ARPACK or LAPACK"
_KOLOSKOVA = "Koloskova et al., ICML 2020, recursion of the consensus distance: it grows as the gap shrinks; the ordering"


NO_ONE_GRAPH = frozenset(
    {
        *("given", "edge_list", "graphml"),  # whatever graph they are given
        *("one_peer_exponential", "peer_sampling", "random_each_round"),  # another one each round: no single gap
    }
)
"""Topologies that there is no rate to hold a run against for."""


def _graphs() -> dict[str, dict[str, Any]]:
    """Topologies and how models are averaged on them."""
    metropolis, push = {"kind": "dpsgd"}, {"kind": "sgp"}
    return {
        "ring": {"topology": "ring", "protocol": metropolis},
        "torus": {"topology": "torus", "protocol": metropolis},
        "hypercube": {"topology": "hypercube", "protocol": metropolis},
        "exponential": {"topology": "exponential", "protocol": metropolis},
        "exponential, directed": {"topology": {"kind": "exponential", "directed": True}, "protocol": push},
        "star": {"topology": "star", "protocol": metropolis},
        "random regular": {"topology": {"kind": "random_regular", "degree": 4}, "protocol": metropolis},
        "Erdős–Rényi": {"topology": {"kind": "erdos_renyi", "p": 0.4}, "protocol": metropolis},
        "small world": {"topology": "small_world", "protocol": metropolis},
        "Barabási–Albert": {"topology": "barabasi_albert", "protocol": metropolis},
        "two cliques": {"topology": "two_cliques", "protocol": metropolis},
        "tree of clients, edge servers and a cloud": {"topology": "hierarchical", "protocol": metropolis},
        "Kademlia": {"topology": "kademlia", "protocol": metropolis},
        "Bitcoin": {"topology": "bitcoin", "protocol": metropolis},
        "complete": {"topology": "complete", "protocol": metropolis},
    }


@claim(
    "consensus-in-runs",
    paper="Xiao, Boyd & Lall, 'A scheme for robust distributed sensor fusion based on average consensus' (IPSN 2005); "
    "Koloskova, Loizou, Boreiri, Jaggi & Stich, 'A unified theory of decentralized SGD with changing topology and local "
    "updates' (ICML 2020)",
    where="convergence rate of Metropolis weights; the consensus distance of decentralized SGD",
    statement="The spectral gap of a graph says how quickly models sent over its links agree; the smaller it is, the further "
    "apart training keeps them.",
)
def consensus_in_runs(profile: Profile) -> Iterator[Row]:
    """Distances between models of real runs: under averaging alone against the gap, then while nodes train."""
    import networkx as nx

    from decai_sim.world.graphs import mixing, spectral_gap

    n = 16 if profile == "smoke" else 64
    for label, how in _graphs().items():
        about = scenario(how, n)
        directed = how["protocol"]["kind"] == "sgp"
        graph = about.topology.at(n, 0, 0) if directed else nx.to_scipy_sparse_array(about.graph(), nodelist=range(n))
        gap = spectral_gap(mixing(graph, directed=directed))
        rounds = max(2, math.ceil(5 / gap)) if gap < 1 - 1e-9 else 2
        errors = apart(averaged(scenario(how, n, rounds=rounds)))
        first = first_models(n)
        start = math.sqrt(float(((first - first.mean(0)) ** 2).sum()))
        excess = max(error / start / max((1 - gap) ** t, 1e-6) for t, error in enumerate(errors.tolist(), start=1))
        yield Row.at_most(f"error / (1 − gap)^t at most, {label}, n = {n}", excess, 1 + 1e-5, _XIAO)
        if gap < 1 - 1e-9:
            rate = 1 - float(errors[-1] / errors[-2])
            yield Row.within(f"1 − error(t + 1) / error(t) in the end, {label}, n = {n}", rate, "", gap, 0.05, _XIAO)
    yield from _while_training(profile, n)


def _while_training(profile: Profile, n: int) -> Iterator[Row]:
    from decai_sim.runs import run

    rounds, seeds = (12, range(1, 3)) if profile == "smoke" else (40, range(1, 6))
    kept = {}
    for kind in SPARSE_TO_DENSE:
        how = {"topology": kind, "protocol": {"kind": "dpsgd", "lr": 0.1, "batch_size": 10}}
        runs = (run(scenario(how, n, rounds=rounds, seed=seed), progress=False) for seed in seeds)
        lasts = [float(apart(one)[-4:].mean()) / math.sqrt(n) for one in runs]
        kept[kind] = sum(lasts) / len(lasts)
        yield Row(f"distance from the mean while training, {kind}, n = {n}", kept[kind])
    for sparse, dense in itertools.pairwise(SPARSE_TO_DENSE):
        ratio = kept[sparse] / kept[dense] if kept[dense] else math.inf
        yield Row.at_least(f"distance while training, {sparse} over {dense}, n = {n}", ratio, 1.0, _KOLOSKOVA)


def scenario(how: dict[str, Any], n: int, rounds: int = 1, seed: int = 1) -> Scenario:
    """Nodes that learn handwritten digits by softmax regression.

    Args:
        how: topology and protocol.
        n: how many nodes.
        rounds: how many.
        seed: of everything.

    Example:
        >>> scenario({"topology": "ring", "protocol": {"kind": "dpsgd"}}, 16).topology.kind
        'ring'
    """
    from decai_sim.scenario import Scenario

    return Scenario.model_validate(
        {
            "nodes": n,
            "seed": seed,
            "topology": how["topology"],
            "network": "internet",
            "task": {"kind": "digits", "model": "softmax"},
            "protocol": {"rounds": rounds, "node_tests": 0, **how["protocol"]},
        }
    )
