"""One message a round, and an exact mean after log₂n rounds."""

from __future__ import annotations

from collections.abc import Iterator

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row

_YING = "Ying et al., NeurIPS 2021: periodic exact averaging"


@claim(
    "one-peer-exponential",
    paper="Ying et al., 'Exponential Graph is Provably Efficient for Decentralized Deep Training' (NeurIPS 2021)",
    where="periodic exact averaging of one-peer exponential graphs",
    statement="Over one-peer exponential graphs n nodes hold the exact mean after log₂n rounds, whichever round comes first, if "
    "n is a power of two.",
)
def exact_averaging(profile: Profile) -> Iterator[Row]:
    """Errors after log₂n rounds, one round earlier, and where n is no power of two."""
    for n in (8, 64, 1024) if profile == "smoke" else (2, 8, 64, 1024, 16384, 131072):
        rounds = n.bit_length() - 1
        errors = [error_after(n, rounds, first) for first in range(rounds)]
        yield Row.at_most(f"error after {rounds} rounds, whichever is first, n = {n}", max(errors), 1e-12, _YING)
        too_early = min(error_after(n, rounds - 1, first) for first in range(rounds))
        yield Row.at_least(
            f"error one round earlier, n = {n}", too_early, 1e-3, f"nobody has heard from all {n} after {rounds - 1} doublings"
        )
    for n in (9, 100):
        rounds = (n - 1).bit_length()
        error = error_after(n, rounds, 0)
        yield Row.at_least(
            f"error after {rounds} rounds, n = {n}, no power of two",
            error,
            1e-3,
            "Ying et al., NeurIPS 2021: only for powers of two",
        )


def error_after(n: int, rounds: int, first: int, seed: int = 0) -> float:
    """How far from the mean the furthest node is after some rounds, in standard deviations of what they began with.

    Args:
        n: number of nodes.
        rounds: how many rounds.
        first: number of the first.
        seed: of the values.
    """
    import numpy as np

    from decai_sim.world.graphs import mixing
    from decai_sim.world.topologies import OnePeerExponential

    graph = OnePeerExponential()
    x = np.random.default_rng(seed).standard_normal(n)
    x = (x - x.mean()) / x.std()
    for k in range(first, first + rounds):
        x = mixing(graph.at(n, 0, k), directed=True) @ x
    return float(np.abs(x).max())
