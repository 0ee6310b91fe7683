"""The topology family: who is wired to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.component import Component

if TYPE_CHECKING:
    import networkx as nx
    import scipy.sparse as sp


class Topology(Component, family="topologies"):
    """Base of topologies: undirected graphs on nodes 0 … n−1."""

    def build(self, n: int, seed: int) -> nx.Graph:
        """The graph on ``n`` nodes; the same for the same seed.

        Raises:
            ScenarioError: this topology has no graph on ``n`` nodes.
        """
        raise NotImplementedError

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The ``(n, n)`` adjacency matrix, sparse."""
        import networkx as nx

        matrix: sp.csr_array = nx.to_scipy_sparse_array(self.build(n, seed), nodelist=range(n), format="csr")
        return matrix
