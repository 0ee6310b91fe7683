"""Arrivals and departures for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.world.churn.base import Churn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from decai_sim.seeding import Streams


class Permanent(Churn):
    """The network's size changes: newcomers arrive one by one at random, and who leaves never returns.

    The scenario's ``nodes`` are all that there will ever be. At time 0 each is there with probability ``present``; the others
    arrive in the order of their numbers as a Poisson process until none is left. While there are some, the expected size is
    N(0)·exp(−t / mean_stay) + arrivals·mean_stay·(1 − exp(−t / mean_stay)).

    Source: the M/M/∞ queue, e.g. Kleinrock, "Queueing Systems" vol. 1 (1975), ch. 3; as a model of peers: Pandurangan, Raghavan &
    Upfal, "Building low-diameter P2P networks" (FOCS 2001).
    Assumes: newcomers come independently of each other, and stay for exponential times.
    Deviations: the number of newcomers is bounded by ``nodes``.

    Attributes:
        present: probability to be there at time 0.
        arrivals_per_hour: mean number of newcomers per hour; 0: nobody comes.
        mean_stay_s: mean time until a node leaves for good, seconds; None: nobody leaves.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> int(Permanent(present=0).start(10, Streams(1)).sum())
        0
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"present": 0.0, "mean_stay_s": 1e3}, {"arrivals_per_hour": 0.0})

    present: float = Field(default=0.5, ge=0, le=1)
    arrivals_per_hour: float = Field(default=60.0, ge=0)
    mean_stay_s: float | None = Field(default=None, gt=0)

    def start(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` bool, each online with probability ``present``."""
        return streams.of("churn", "start").random(n) < self.present

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        """``(n,)`` seconds: until a newcomer arrives, until who is there leaves, and then forever."""
        import numpy as np

        n = len(online)
        here = self.start(n, streams)
        lengths = np.full(n, np.inf)
        if k == 0 and self.arrivals_per_hour > 0:
            gap = streams.of("churn", "arrivals").exponential(3600 / self.arrivals_per_hour, size=n)
            arrives = np.cumsum(np.where(here, 0.0, gap))
            lengths[~here] = arrives[~here]
        if self.mean_stay_s is not None and k < 2:
            staying = here if k == 0 else ~here
            stay = streams.of("churn", "stay").exponential(self.mean_stay_s, size=n)
            lengths[staying] = stay[staying]
        lasting: np.ndarray = np.maximum(lengths, np.finfo(float).tiny)
        return lasting
