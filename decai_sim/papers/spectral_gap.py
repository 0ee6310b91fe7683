"""How quickly neighbours agree: spectral gaps that have a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row

if TYPE_CHECKING:
    import scipy.sparse as sp

    from decai_sim.world import Topology

_WALK = "eigenvalues of a circulant matrix, a product of circulants, or a star, worked out by hand"
_YING = "Ying et al., NeurIPS 2021: the static exponential graph, directed, equal weights"


class _Case(NamedTuple):
    label: str
    topology: Topology
    directed: bool
    gap: Callable[[int], float]
    source: str


def _cases() -> list[_Case]:
    from decai_sim.world import Complete, Ring
    from decai_sim.world.topologies import ExponentialGraph, Hypercube, Star, Torus

    def exponential(n: int) -> float:
        return 2 / (1 + math.log2(n))

    return [
        _Case("ring", Ring(), False, lambda n: 2 / 3 * (1 - math.cos(2 * math.pi / n)), _WALK),
        _Case("square torus", Torus(), False, lambda n: 2 / 5 * (1 - math.cos(2 * math.pi / math.isqrt(n))), _WALK),
        _Case("hypercube", Hypercube(), False, exponential, _WALK),
        _Case("exponential, directed", ExponentialGraph(directed=True), True, exponential, _YING),
        _Case("exponential, undirected", ExponentialGraph(), False, _undirected_exponential, _WALK),
        _Case("star", Star(), False, lambda n: 1 / n, _WALK),
        _Case("complete", Complete(), False, lambda n: 1.0, _WALK),
    ]


def _undirected_exponential(n: int) -> float:
    """The circulant's eigenvalues, by their definition: links ±1, ±2, ±4 … ±n/2, where +n/2 and −n/2 are one."""
    hops = [1 << j for j in range(n.bit_length() - 1)]
    degree = 2 * len(hops) - 1

    def eigenvalue(k: int) -> float:
        waves = [math.cos(2 * math.pi * k * hop / n) * (1 if 2 * hop == n else 2) for hop in hops]
        return (1 + sum(waves)) / (1 + degree)

    return 1 - max(abs(eigenvalue(k)) for k in range(1, n))


@claim(
    "spectral-gap",
    paper="Xiao, Boyd & Lall, 'A scheme for robust distributed sensor fusion based on average consensus' (IPSN 2005); Ying et "
    "al., 'Exponential Graph is Provably Efficient for Decentralized Deep Training' (NeurIPS 2021)",
    where="Metropolis weights; spectral gap of the static exponential graph",
    statement="Averaging with Metropolis weights nears the mean by at least a factor 1 − gap each round, and the gap of simple "
    "graphs has a closed form; directed and undirected exponential graphs differ.",
)
def spectral_gaps(profile: Profile) -> Iterator[Row]:
    """Gaps against closed forms; then consensus by really iterating x ← Wx."""
    from decai_sim.world.graphs import mixing, spectral_gap

    for n in (64,) if profile == "smoke" else (64, 256, 1024, 4096):
        for case in _cases():
            weights = mixing(case.topology.at(n, 0, 0), directed=case.directed)
            gap = case.gap(n)
            label = f"{case.label}, n = {n}"
            yield Row.within(f"gap of {label}", spectral_gap(weights), "", gap, 1e-6, case.source)
            if gap < 1e-4:
                continue  # agreement would take 100,000 rounds
            excess, rate = consensus(weights, gap)
            yield Row.at_most(f"error / (1 − gap)^t at most, {label}", excess, 1 + 1e-9, "Xiao, Boyd & Lall 2005")
            if gap < 1:
                yield Row.within(f"1 − error(t + 1) / error(t) in the end, {label}", rate, "", gap, 0.01, case.source)


def consensus(weights: sp.csr_array, gap: float, seed: int = 0) -> tuple[float, float]:
    """Iterate x ← Wx from random values until the error has fallen to e⁻¹⁶.

    Args:
        weights: ``(n, n)``, doubly stochastic.
        gap: the spectral gap to hold the error against.
        seed: of the values.

    Returns:
        The largest of error(t) / (1 − gap)^t, where error(t) = ‖x − mean‖ / ‖x₀ − mean‖, and how much of the error the last round
        removed.
    """
    import numpy as np

    x = np.random.default_rng(seed).standard_normal(weights.shape[0])
    x -= x.mean()
    begin = error = float(np.linalg.norm(x))
    excess, rate = 0.0, 1.0
    for t in range(1, math.ceil(16 / gap) + 1):
        x = weights @ x
        now = float(np.linalg.norm(x))
        rate, error = 1 - now / error if error else 1.0, now
        bound = (1 - gap) ** t
        # Beyond rounding nothing is left of the error where all agree at once.
        excess = max(excess, now / begin / bound if bound > 1e-12 else float(now / begin > 1e-12) * np.inf)
        if now / begin < 1e-12:
            break
    return excess, rate
