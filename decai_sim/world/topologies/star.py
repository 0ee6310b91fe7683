"""The star."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class Star(Topology):
    """Node 0 is wired to everybody, and nobody else to anybody.

    Source: graph theory; spectral gap of its Metropolis weights 1/n.
    Assumes: nothing; it is a network that dies with its centre.
    Deviations: none.

    Example:
        >>> sorted(Star().build(4, seed=0).edges())
        [(0, 1), (0, 2), (0, 3)]
    """

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The star; ``seed`` changes nothing."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        leaves = np.arange(1, n)
        return wiring.from_links(n, np.zeros_like(leaves), leaves)
