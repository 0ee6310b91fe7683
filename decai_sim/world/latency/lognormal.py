"""Lognormal latencies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.latency.base import Latency

if TYPE_CHECKING:
    import numpy as np


class Lognormal(Latency):
    """A link's latency is ``median·exp(σ·z)`` with a standard normal ``z`` of its own.

    Source: the lognormal law, Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions", vol. 1, ch. 14.
    Assumes: regions do not matter; latencies are independent, so they need not keep the triangle inequality.
    Deviations: drawn once per link and kept. Simulations that draw for every message make consensus look far slower (go-f3 issue
        212). The defaults are ours: a median round trip of 100 ms.

    Attributes:
        median_s: half of the links are faster, one way, seconds.
        sigma: spread ``σ`` of the logarithm; 0: all links are alike.

    Example:
        >>> import numpy as np
        >>> u = np.array([0.025, 0.5, 0.975])
        >>> Lognormal(median_s=0.05, sigma=0.5).one_way_s(u, u, u).round(3).tolist()
        [0.019, 0.05, 0.133]
    """

    median_s: float = Field(default=0.05, gt=0)
    sigma: float = Field(default=0.5, ge=0, le=3)

    def one_way_s(self, src_region: np.ndarray, dst_region: np.ndarray, u: np.ndarray) -> np.ndarray:
        import numpy as np
        from scipy.special import ndtri

        latency: np.ndarray = self.median_s * np.exp(self.sigma * ndtri(u))
        return latency

    def one_s(self, src_region: str, dst_region: str, u: float) -> float:
        from scipy.special import ndtri

        return self.median_s * math.exp(self.sigma * ndtri(u))
