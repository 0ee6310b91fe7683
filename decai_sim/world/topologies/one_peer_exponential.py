"""The one-peer exponential graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.topologies.base import PERIOD_S, Topology
from decai_sim.world.topologies.exponential import ExponentialGraph

if TYPE_CHECKING:
    import scipy.sparse as sp


class OnePeerExponential(Topology):
    """In round r node i contacts one other, 2^(r mod ⌈log₂n⌉) places further on: one message a round, yet soon everybody heard.

    With n a power of two and x_i ← (x_i + x_peer)/2 everybody holds the exact mean after log₂n rounds, whichever comes first.

    Source: Assran, Loizou, Ballas and Rabbat, "Stochastic Gradient Push for Distributed Deep Learning", ICML 2019; exact
    averaging: Ying et al., "Exponential Graph is Provably Efficient for Decentralized Deep Training", NeurIPS 2021, Lemma 1.
    Assumes: nodes agree on an order and on what round it is.
    Deviations: none.

    Attributes:
        period_s: how long a round lasts in a run, virtual seconds; the default is ours.

    Example:
        >>> OnePeerExponential().at(8, 0, server_round=1).toarray()[0].tolist()
        [0, 0, 1, 0, 0, 0, 0, 0]
    """

    time_varying = True

    period_s: float = Field(default=PERIOD_S, gt=0)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """All links of all rounds, both ways; ``seed`` changes nothing."""
        return ExponentialGraph().csr(n, seed)

    def at(self, n: int, seed: int, server_round: int) -> sp.csr_array:
        """Everybody's one peer of a round; directed."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        nodes = np.arange(n)
        return wiring.from_arrows(n, nodes, (nodes + (1 << server_round % self.period(n))) % max(n, 1))

    def period(self, n: int) -> int:
        """⌈log₂n⌉ rounds, at least one."""
        return max((n - 1).bit_length(), 1)
