"""The ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import networkx as nx


class Ring(Topology):
    """Every node is wired to the one before and the one after it.

    Source: graph theory; spectral gap of its Metropolis weights 2/3 (1 − cos 2π/n).
    Assumes: nothing; it is the slowest connected regular graph to spread anything on.
    Deviations: none.

    Example:
        >>> sorted(Ring().build(5, seed=0).neighbors(0))
        [1, 4]
    """

    def build(self, n: int, seed: int) -> nx.Graph:
        """The cycle graph; ``seed`` changes nothing."""
        import networkx as nx

        return nx.cycle_graph(n) if n > 2 else nx.path_graph(n)  # one node is no neighbour of itself
