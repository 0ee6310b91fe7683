"""Small-world graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import networkx as nx


class SmallWorld(Topology):
    """A ring of near neighbours, some links of which lead to random nodes: short paths, high clustering, connected.

    Source: Watts & Strogatz, "Collective dynamics of 'small-world' networks", Nature 393 (1998), Fig. 1; built by
    ``networkx.connected_watts_strogatz_graph``.
    Assumes: nothing.
    Deviations: redrawn until connected (at most 100 times), as the generator's name says.

    Attributes:
        degree: links per node on the ring, even.
        rewire: probability that a link is rewired.

    Raises:
        ScenarioError: ``degree`` is not below the number of nodes.

    Example:
        >>> SmallWorld(degree=4, rewire=0.1).build(100, seed=1).number_of_edges()
        200
    """

    degree: int = Field(default=8, ge=2, multiple_of=2)
    rewire: float = Field(default=0.1, ge=0, le=1)

    def build(self, n: int, seed: int) -> nx.Graph:
        """A connected small-world graph."""
        import networkx as nx

        if self.degree >= n:
            raise ScenarioError(f"topology.degree: {self.degree} is not allowed: must be below nodes = {n}")
        return nx.connected_watts_strogatz_graph(n, self.degree, self.rewire, tries=100, seed=seed)
