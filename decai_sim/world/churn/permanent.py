"""Arrivals and departures for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from decai_sim.world.churn.base import Churn
from decai_sim.world.churn.laws import WeibullLaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from decai_sim.seeding import Streams


ARRIVALS = {"redhat": 0.53, "debian": 0.79, "flatout": 0.62}
"""Shapes of Weibull gaps between newcomers to BitTorrent swarms, by Stutzbach & Rejaie (2006)."""


class Permanent(Churn):
    """The network's size changes: newcomers arrive one by one at random, and who leaves never returns.

    The scenario's ``nodes`` are all that there will ever be. At time 0 each is there with probability ``present``; the others
    arrive in the order of their numbers until none is left: as a Poisson process or, since newcomers come in bursts where it was
    measured, with Weibull gaps of the same mean, a process that has gone on forever at time 0. While there are some, the expected
    size is N(0)·exp(−t / mean_stay) + arrivals·mean_stay·(1 − exp(−t / mean_stay)), whatever the shape of the gaps.

    Source: the M/M/∞ queue, e.g. Kleinrock, "Queueing Systems" vol. 1 (1975), ch. 3; as a model of peers: Pandurangan, Raghavan &
    Upfal, "Building low-diameter P2P networks" (FOCS 2001). Shapes of gaps: fits of inter-arrival times in BitTorrent swarms (Red
    Hat, Debian, FlatOut) by Stutzbach & Rejaie, "Understanding churn in peer-to-peer networks" (IMC 2006).
    Assumes: a newcomer's gap to the one before is independent of all others; stays are exponential.
    Deviations: the number of newcomers is bounded by ``nodes``. Of the fits only the shape is used; how many come is for
        ``arrivals_per_hour`` to say.

    Attributes:
        present: probability to be there at time 0.
        arrivals_per_hour: mean number of newcomers per hour; 0: nobody comes.
        mean_stay_s: mean time until a node leaves for good, seconds; None: nobody leaves.
        measured: whose gaps between newcomers, where ``arrival_shape`` does not say otherwise; None: a Poisson process.
        arrival_shape: shape of the Weibull gaps; below 1 newcomers come in bursts, 1 is a Poisson process. None: that of
            ``measured``.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> int(Permanent(present=0).start(10, Streams(1)).sum())
        0
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"present": 0.0, "mean_stay_s": 1e3},
        {"arrivals_per_hour": 0.0},
        {"measured": "redhat"},
    )

    present: float = Field(default=0.5, ge=0, le=1)
    arrivals_per_hour: float = Field(default=60.0, ge=0)
    mean_stay_s: float | None = Field(default=None, gt=0)
    measured: Literal["redhat", "debian", "flatout"] | None = None
    arrival_shape: float | None = Field(default=None, ge=0.1, le=20)

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
            arrives = np.cumsum(np.where(here, 0.0, self._gaps_s(here, streams)))
            lengths[~here] = arrives[~here]
        if self.mean_stay_s is not None and k < 2:
            staying = here if k == 0 else ~here
            stay = streams.of("churn", "stay").exponential(self.mean_stay_s, size=n)
            lengths[staying] = stay[staying]
        lasting: np.ndarray = np.maximum(lengths, np.finfo(float).tiny)
        return lasting

    def _gaps_s(self, here: np.ndarray, streams: Streams) -> np.ndarray:
        """``(n,)`` seconds from the newcomer before to each; what is said of those who are ``here`` means nothing."""
        import numpy as np

        mean_s, draw = 3600 / self.arrivals_per_hour, streams.of("churn", "arrivals")
        shape = self.arrival_shape or (1.0 if self.measured is None else ARRIVALS[self.measured])
        if shape == 1:
            return draw.exponential(mean_s, size=len(here))
        law, u = WeibullLaw.with_mean(shape, mean_s), np.maximum(draw.random(len(here)), 2.0**-54)
        gaps = law.length_s(u)
        first = int(np.argmin(here))  # whoever looks at time 0 finds a gap under way
        gaps[first] = law.rest_s(u[first : first + 1])[0]
        return gaps
