"""The ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class Ring(Topology):
    """Every node is wired to the one before and the one after it.

    Source: graph theory; spectral gap of its Metropolis weights 2/3 (1 − cos 2π/n).
    Assumes: nothing; it is the slowest connected regular graph to spread anything on.
    Deviations: none.

    Example:
        >>> sorted(Ring().build(5, seed=0).neighbors(0))
        [1, 4]
    """

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The cycle graph; ``seed`` changes nothing."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        nodes = np.arange(n)
        return wiring.from_links(n, nodes, (nodes + 1) % max(n, 1))  # two nodes share one link, one node has none
