"""The complete graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import networkx as nx


class Complete(Topology):
    """Everybody is wired to everybody.

    Source: graph theory; the network that a central server emulates.
    Assumes: n(n−1)/2 links can be kept, which holds for small n only.
    Deviations: none.

    Example:
        >>> Complete().build(4, seed=0).number_of_edges()
        6
    """

    def build(self, n: int, seed: int) -> nx.Graph:
        """The complete graph; ``seed`` changes nothing."""
        import networkx as nx

        return nx.complete_graph(n)
