"""The static exponential graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp


class ExponentialGraph(Topology, kind="exponential"):
    """Node i is wired to those 1, 2, 4, 8 … places further on: few links, and everybody near.

    Source: Ying, Yuan, Chen, Hu, Pan and Yin, "Exponential Graph is Provably Efficient for Decentralized Deep Training", NeurIPS
    2021, equation (5); spectral gap of the directed graph with equal weights 2/(1 + ⌈log₂n⌉) for even n.
    Assumes: nodes agree on an order.
    Deviations: links go both ways, unless ``directed`` asks :meth:`at` for the source's.

    Attributes:
        directed: whether :meth:`at` holds only the links from i to those further on, as in the source.

    Example:
        >>> sorted(ExponentialGraph().build(16, seed=0).neighbors(0))
        [1, 2, 4, 8, 12, 14, 15]
        >>> ExponentialGraph(directed=True).at(16, 0, 0)[[0]].indices.tolist()
        [1, 2, 4, 8]
    """

    examples = ({}, {"directed": True})

    directed: bool = False

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The exponential graph, links both ways; ``seed`` changes nothing."""
        from decai_sim.world.topologies import wiring

        return wiring.from_links(n, *self._arrows(n))

    def at(self, n: int, seed: int, server_round: int) -> sp.csr_array:
        """The same graph every round, directed if so asked."""
        from decai_sim.world.topologies import wiring

        return wiring.from_arrows(n, *self._arrows(n)) if self.directed else self.csr(n, seed)

    def _arrows(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        hops = 1 << np.arange(max(n - 1, 0).bit_length())  # ⌈log₂n⌉ of them
        nodes = np.repeat(np.arange(n), len(hops))
        return nodes, (nodes + np.tile(hops, n)) % max(n, 1)
