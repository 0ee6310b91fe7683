"""One latency for all links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.latency.base import Latency

if TYPE_CHECKING:
    import numpy as np


class Constant(Latency):
    """Every link has the same latency.

    Source: the synchronous model with a known delay, as in Lynch, "Distributed Algorithms" (1996).
    Assumes: nothing about where nodes are.
    Deviations: messages still jitter, as the network says.

    Attributes:
        delay_s: one-way latency, seconds.

    Example:
        >>> import numpy as np
        >>> from decai_sim.seeding import Streams
        >>> Constant(delay_s=0.02).links(np.array(["EU", "NA", "EU"]), Streams(1)).base_s(0, 1)
        0.02
    """

    delay_s: float = Field(default=0.05, gt=0)

    def one_way_s(self, src_region: np.ndarray, dst_region: np.ndarray, u: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.full(len(u), self.delay_s)

    def one_s(self, src_region: str, dst_region: str, u: float) -> float:
        return self.delay_s
