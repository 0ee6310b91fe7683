"""Lognormal access rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.access_rates.base import AccessRates

if TYPE_CHECKING:
    import numpy as np


class Lognormal(AccessRates):
    """A node sends, or receives, ``median·exp(σ·z)`` bits per second, with a standard normal ``z`` of its own.

    Source: the lognormal law, Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions", vol. 1, ch. 14.
    Assumes: nodes are independent of each other, and so are a node's two directions, its region and its device.
    Deviations: drawn once per node and kept. The defaults are ours, for lack of a measurement that would suit every network.

    Attributes:
        median_bps: half of the nodes have more, bits per second.
        sigma: spread ``σ`` of the logarithm; 0: all nodes are alike.

    Example:
        >>> import numpy as np
        >>> Lognormal(median_bps=10e6, sigma=1).node_bps(np.array([0.025, 0.5, 0.975])).round(-5).tolist()
        [1400000.0, 10000000.0, 71000000.0]
    """

    examples = ({}, {"median_bps": 2e6, "sigma": 0.0})

    median_bps: float = Field(default=10e6, gt=0)
    sigma: float = Field(default=0.5, ge=0, le=3)

    def node_bps(self, u: np.ndarray) -> np.ndarray:
        """``(k,)`` bits per second: quantiles of the law."""
        import numpy as np
        from scipy.special import ndtri

        rates: np.ndarray = self.median_bps * np.exp(self.sigma * ndtri(u))
        return rates
