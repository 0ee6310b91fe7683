"""Weibull churn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from decai_sim.world.churn.laws import WeibullLaw
from decai_sim.world.churn.renewal import Renewal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decai_sim.world.churn.laws import Law

MEASURED: dict[str, tuple[float, float]] = {
    "redhat": (0.34, 21.3 * 60),
    "debian": (0.38, 42.4 * 60),
    "flatout": (0.59, 41.9 * 60),
    "kad": (0.5, 5000.0),
}
"""Shape and scale (seconds) of session lengths: BitTorrent swarms by Stutzbach & Rejaie (2006), and OverSim's KAD setting."""


class Weibull(Renewal):
    """Most visits are short and a few very long, as measured in peer-to-peer networks: P(session > x) = exp(−(x / scale)^shape).

    It has gone on forever at time 0: who is found online then is more likely in a long session than in a short one.

    Source: Stutzbach & Rejaie, "Understanding churn in peer-to-peer networks" (IMC 2006): fits of session lengths in BitTorrent
    swarms (Red Hat, Debian, FlatOut), whose fits of gaps between newcomers are those of ``Permanent``; the KAD setting (shape
    0.5, scale 5000 s) is that of OverSim's examples.
    Assumes: nodes are independent and alike; a session does not tell how long the next absence is.
    Deviations: the fits are of session lengths; how long nodes stay away was not fitted and is set here. Below the resolution of
    the measurements (minutes) the fits are extrapolated: with ``redhat`` every tenth session or so is shorter than 1.5 s.

    Attributes:
        measured: the parameter set, where ``shape`` and ``scale_s`` do not say otherwise.
        shape: shape of session lengths; below 1 heavy-tailed, 1 exponential. None: that of ``measured``.
        scale_s: scale of session lengths, seconds: 63 % are shorter. None: that of ``measured``.
        mean_offline_s: mean length of an offline period, seconds. None: offline periods have the law of online ones, and half of
            the nodes are there.
        offline_shape: shape of the Weibull law of offline periods if their mean is given; 1 is exponential.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> round(Weibull(measured="debian").laws()[0].mean_s / 3600, 1)
        2.7
        >>> float(Weibull(shape=0.5, scale_s=600, mean_offline_s=1200).start(10_000, Streams(1)).mean().round(1))
        0.5
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        *({"measured": name} for name in MEASURED),
        {"shape": 0.7, "scale_s": 600, "mean_offline_s": 300, "offline_shape": 0.6},
    )

    measured: Literal["redhat", "debian", "flatout", "kad"] = "kad"
    shape: float | None = Field(default=None, ge=0.1, le=20)
    scale_s: float | None = Field(default=None, gt=0)
    mean_offline_s: float | None = Field(default=None, gt=0)
    offline_shape: float = Field(default=1.0, ge=0.1, le=20)

    def laws(self) -> tuple[Law, Law]:
        """Weibull laws of online and of offline periods."""
        shape, scale_s = MEASURED[self.measured]
        online = WeibullLaw(self.shape or shape, self.scale_s or scale_s)
        if self.mean_offline_s is None:
            return online, online
        return online, WeibullLaw.with_mean(self.offline_shape, self.mean_offline_s)
