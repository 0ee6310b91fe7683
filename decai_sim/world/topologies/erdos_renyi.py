"""Erdős–Rényi graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class ErdosRenyi(Topology):
    """Every pair of nodes is wired with the same probability, whatever else is: the random graph without any structure.

    Source: Gilbert, "Random graphs", Annals of Mathematical Statistics 30 (1959): the model G(n, p); Erdős & Rényi 1959.
    Assumes: nothing; connected only from a mean degree of about ln n on.
    Deviations: none: the number of links is drawn from its binomial distribution, then which ones.

    Attributes:
        mean_degree: links per node on average; p = mean_degree / (n − 1).
        p: the probability itself; ``mean_degree`` then says nothing.

    Raises:
        ScenarioError: ``mean_degree`` is more than n − 1.

    Example:
        >>> ErdosRenyi(p=1).build(5, seed=0).number_of_edges()
        10
    """

    examples = ({}, {"p": 0.3})

    mean_degree: float = Field(default=8, ge=0)
    p: float | None = Field(default=None, ge=0, le=1)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """A random graph."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        if self.p is None and self.mean_degree > n - 1:
            raise ScenarioError(
                f"topology.mean_degree: {self.mean_degree:g} is not allowed: nodes = {n} have at most {n - 1} links each"
            )
        p = self.mean_degree / max(n - 1, 1) if self.p is None else self.p
        generator = np.random.default_rng(seed)
        pairs = n * (n - 1) // 2
        chosen = (
            generator.choice(pairs, generator.binomial(pairs, p), replace=False, shuffle=False) if pairs else np.empty(0, int)
        )
        # Pair number k counts down the lower triangle: row b has b pairs. The root is exact to a unit, which is mended.
        b = ((1 + np.sqrt(1 + 8 * chosen.astype(float))) / 2).astype(np.int64)
        b -= b * (b - 1) // 2 > chosen
        b += b * (b + 1) // 2 <= chosen
        return wiring.from_links(n, chosen - b * (b - 1) // 2, b)
