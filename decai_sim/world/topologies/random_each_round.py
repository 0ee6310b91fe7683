"""A fresh random graph every round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.seeding import Streams
from decai_sim.world.topologies.base import PERIOD_S, Topology
from decai_sim.world.topologies.random_regular import regular

if TYPE_CHECKING:
    import scipy.sparse as sp


class RandomEachRound(Topology):
    """Every round all nodes meet new random others: a fresh random regular graph each time.

    Source: De Vos, Farhadkhani, Guerraoui, Kermarrec, Pires and Sharma, "Epidemic Learning: Boosting Decentralized Learning with
    Randomized Communication", NeurIPS 2023, where sending to fresh random nodes makes models agree sooner.
    Assumes: everybody can reach everybody, and knows whom to meet in a round.
    Deviations: links go both ways and everybody has equally many. :meth:`csr` is the graph of round 0, for there is no last one.

    Attributes:
        degree: links per node and round.
        period_s: how long a round lasts in a run, virtual seconds; the default is ours.

    Raises:
        ScenarioError: ``degree`` is not below the number of nodes, or n · degree is odd.

    Example:
        >>> topology = RandomEachRound(degree=2)
        >>> first, second = topology.at(50, 7, 1), topology.at(50, 7, 2)
        >>> bool((first != second).nnz), bool((first != topology.at(50, 7, 1)).nnz)
        (True, False)
    """

    time_varying = True

    degree: int = Field(default=4, ge=1)
    period_s: float = Field(default=PERIOD_S, gt=0)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The graph of round 0."""
        return self.at(n, seed, 0)

    def at(self, n: int, seed: int, server_round: int) -> sp.csr_array:
        """The graph of one round, drawn from a stream of its own."""
        return regular(n, self.degree, Streams(seed).of("round", server_round))
