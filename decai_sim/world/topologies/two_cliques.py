"""Two cliques with a bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class TwoCliques(Topology):
    """Two halves, in each everybody wired to everybody, and a narrow bridge between: the worst place to agree, the best to cut.

    Source: graph theory (the barbell graph); in decentralized learning as the "dumbbell" or "barbell" of, for one, Xiao &
    Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53 (2004).
    Assumes: nothing.
    Deviations: none.

    Attributes:
        bridges: links between the halves, no two at the same node.

    Raises:
        ScenarioError: a half has fewer nodes than there are ``bridges``, or there are more than 20,000 nodes.

    Example:
        >>> sorted(TwoCliques().build(6, seed=0).edges())
        [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)]
    """

    bridges: int = Field(default=1, ge=1)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The two cliques; ``seed`` changes nothing."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        half = (n + 1) // 2
        if self.bridges > n - half:
            raise ScenarioError(
                f"topology.bridges: {self.bridges} is not allowed: the smaller half of nodes = {n} has {n - half}"
            )
        if n > wiring.DENSE_TO:
            raise ScenarioError(f"topology.kind: 'two_cliques' is not allowed: nodes = {n} have too many links")
        first, second, span = np.triu_indices(half, 1), np.triu_indices(n - half, 1), np.arange(self.bridges)
        a = np.concatenate([first[0], half + second[0], half - 1 - span])
        b = np.concatenate([first[1], half + second[1], half + span])
        return wiring.from_links(n, a, b)
