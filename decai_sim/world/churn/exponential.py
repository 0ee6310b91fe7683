"""Exponential churn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.churn.base import Churn

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams


class Exponential(Churn):
    """Nodes come and go; how long they stay and are away varies at random, exponentially. It has gone on forever at time 0.

    Source: Cox, "Renewal Theory" (1962), ch. 7 (alternating renewal processes); as the memoryless baseline in
    Stutzbach & Rejaie, "Understanding churn in peer-to-peer networks" (IMC 2006), section 4.
    Assumes: nodes are independent and alike; being memoryless, the period under way at time 0 has the same law as any other.
    Deviations: measured peer-to-peer sessions are heavier-tailed (Weibull, shape < 1) than this baseline.

    Attributes:
        mean_online_s: mean length of an online period, seconds.
        mean_offline_s: mean length of an offline period, seconds.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> float(Exponential(mean_online_s=7200, mean_offline_s=1800).start(10_000, Streams(1)).mean().round(1))
        0.8
    """

    mean_online_s: float = Field(default=7200.0, gt=0)
    mean_offline_s: float = Field(default=1800.0, gt=0)

    def start(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` bool, each online with probability mean_online / (mean_online + mean_offline)."""
        share = self.mean_online_s / (self.mean_online_s + self.mean_offline_s)
        return streams.of("churn", "start").random(n) < share

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        """``(n,)`` seconds, exponential with the mean of the state each node is in."""
        import numpy as np

        draw = streams.of("churn", "period", k).exponential(size=len(online))
        return draw * np.where(online, self.mean_online_s, self.mean_offline_s)
