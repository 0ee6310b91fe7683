"""The complete graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class Complete(Topology):
    """Everybody is wired to everybody.

    Source: graph theory; the network that a central server emulates.
    Assumes: n(n−1)/2 links can be kept, which holds for small n only.
    Deviations: refused for more than 20,000 nodes.

    Raises:
        ScenarioError: there are more nodes than that.

    Example:
        >>> Complete().build(4, seed=0).number_of_edges()
        6
    """

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The complete graph; ``seed`` changes nothing."""
        from decai_sim.world.topologies import wiring

        return wiring.complete(n)
