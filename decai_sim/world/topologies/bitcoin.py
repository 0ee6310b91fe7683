"""A network wired as Bitcoin's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class Bitcoin(Topology):
    """Every node opens connections to random others, how many as measured among Bitcoin nodes: mostly 5 to 11, up to 20.

    Source: SimBlock (Aoki et al. 2019, arXiv:1901.09777), NetworkConfiguration.java: cumulative distribution of out-degrees.
    Assumes: partners are found all over the world, in proportion to how many nodes there are: with ``network.regions`` of the
    same source the shares of regions, and of links between them, are Bitcoin's too.
    Deviations: links go both ways once made, as Bitcoin's connections do. Out-degrees meet their shares up to rounding. In tiny
    networks, where a node is wired to everybody before it has opened all its connections, it stops.

    Example:
        >>> degrees = [degree for _, degree in Bitcoin().build(1000, seed=0).degree()]
        >>> sum(degrees) / len(degrees)  # each link has two ends: twice the mean out-degree
        17.29
    """

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """Everybody's connections, links both ways."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        generator = np.random.default_rng(seed)
        rank = (generator.permutation(n) + 0.5) / max(n, 1)
        sources = np.repeat(np.arange(n), 1 + np.searchsorted(OUT_DEGREE_CDF, rank))
        targets = wiring.partners(n, sources, np.empty(0, np.int64), generator)
        made = targets >= 0
        return wiring.from_links(n, sources[made], targets[made])


OUT_DEGREE_CDF = (
    *(0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    *(0.8, 0.85, 0.9, 0.95, 0.97, 0.97, 0.98, 0.99, 0.995, 1.0),
)
"""Share of nodes that open at most 1, 2, … 20 connections."""
