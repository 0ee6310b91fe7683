"""The hypercube."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class Hypercube(Topology):
    """Nodes whose numbers differ in one binary digit are wired: log₂n neighbours each, and no two further apart than log₂n.

    Source: graph theory; spectral gap of its Metropolis weights 2/(1 + log₂n).
    Assumes: the number of nodes is a power of two.
    Deviations: none.

    Raises:
        ScenarioError: it is not.

    Example:
        >>> sorted(Hypercube().build(8, seed=0).neighbors(5))
        [1, 4, 7]
    """

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The hypercube; ``seed`` changes nothing."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        if n < 1 or n & (n - 1):
            near = 1 << max(n, 1).bit_length() - 1
            raise ScenarioError(
                f"topology.kind: 'hypercube' is not allowed: nodes = {n} is no power of two such as {near} and {2 * near}"
            )
        dimensions = n.bit_length() - 1
        nodes = np.repeat(np.arange(n), dimensions)
        return wiring.from_links(n, nodes, nodes ^ np.tile(1 << np.arange(dimensions), n))
