"""Pareto latencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.latency.base import Latency

if TYPE_CHECKING:
    import numpy as np


class Pareto(Latency):
    """A link's latency is ``least / u^(1/shape)``: most links are near the least latency, a few are far slower.

    The mean is ``least·shape / (shape − 1)``.

    Source: the Pareto law, Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions", vol. 1, ch. 20; SimBlock
    (Aoki et al., arXiv:1901.09777) uses it for latencies, see :class:`RegionMatrix` for its parameters.
    Assumes: regions do not matter; latencies are independent, so they need not keep the triangle inequality.
    Deviations: drawn once per link and kept. The defaults are ours: a mean round trip of 100 ms.

    Attributes:
        least_s: no link is faster, one way, seconds.
        shape: the larger, the lighter the tail; above 1, or there is no mean.

    Example:
        >>> import numpy as np
        >>> u = np.array([0.01, 0.5, 1.0])
        >>> Pareto(least_s=0.03, shape=2.5).one_way_s(u, u, u).round(3).tolist()
        [0.189, 0.04, 0.03]
    """

    least_s: float = Field(default=0.03, gt=0)
    shape: float = Field(default=2.5, gt=1)

    def one_way_s(self, src_region: np.ndarray, dst_region: np.ndarray, u: np.ndarray) -> np.ndarray:
        return self.least_s / u ** (1 / self.shape)

    def one_s(self, src_region: str, dst_region: str, u: float) -> float:
        return self.least_s / float(u ** (1 / self.shape))
