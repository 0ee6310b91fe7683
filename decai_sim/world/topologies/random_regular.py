"""Random regular graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp


class RandomRegular(Topology):
    """Every node has the same number of links, to random others: short paths, no hubs, connected almost surely from degree 3 on.

    Source: Steger & Wormald, "Generating random regular graphs quickly", Combinatorics, Probability and Computing 8 (1999),
    also the algorithm of ``networkx.random_regular_graph``.
    Assumes: n · degree is even.
    Deviations: all stubs are paired at once, and those that do not fit again among themselves; the last few that cannot be paired
    exchange ends with a random link instead of starting over. Uniform in the limit, as the source is.

    Attributes:
        degree: links per node.

    Raises:
        ScenarioError: ``degree`` is not below the number of nodes, or n · degree is odd.

    Example:
        >>> set(dict(RandomRegular(degree=3).build(10, seed=0).degree()).values())
        {3}
    """

    degree: int = Field(default=8, ge=1)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """A random regular graph."""
        import numpy as np

        return regular(n, self.degree, np.random.default_rng(seed))


def regular(n: int, degree: int, generator: np.random.Generator) -> sp.csr_array:
    """A random regular graph, or the reason why there is none.

    Raises:
        ScenarioError: ``degree`` is not below ``n``, or n · degree is odd.
    """
    from decai_sim.world.topologies import wiring

    if degree >= n:
        raise ScenarioError(f"topology.degree: {degree} is not allowed: must be below nodes = {n}")
    if n * degree % 2:
        raise ScenarioError(f"topology.degree: {degree} is not allowed: must be even for nodes = {n}, an odd number")
    return wiring.regular(n, degree, generator)
