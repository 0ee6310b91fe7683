"""Churn with the hour of the day."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from decai_sim.world.churn.base import Churn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from decai_sim.seeding import Streams

DAY_S = 86_400.0
_TURN = 2 * math.pi / DAY_S


class Diurnal(Churn):
    """People come in the evening and go at night: the rates of coming and going follow the hour of the day.

    At hour h a node that is away comes with rate (1 + a·cos 2π(h − peak)/24) / mean_offline, and one that is there goes with rate
    (1 − a·cos 2π(h − peak)/24) / mean_online. It has gone on for many days at time 0.

    Source: the daily pattern of availability: Bhagwan, Savage & Voelker, "Understanding availability" (IPTPS 2003); lengths by
    inversion of the integrated rate: Devroye, "Non-Uniform Random Variate Generation" (1986), ch. VI.
    Assumes: nodes of one time zone are alike and independent; at every instant the process is memoryless.
    Deviations: a cosine in place of a measured profile; time zones are drawn independently of the network's regions.

    Attributes:
        mean_online_s: mean length of an online period if the rate were that of the daily average, seconds.
        mean_offline_s: likewise of an offline period.
        amplitude: ``a``, how strongly the rates swing about their average; 0 gives exponential churn.
        peak_h: local hour at which most come and fewest go.
        start_h: the hour in time zone 0 at which virtual time begins.
        zones_h: time zones of the nodes, hours ahead of zone 0; each node is in one of them, all equally likely.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> night, evening = (Diurnal(amplitude=0.9, start_h=h).start(10_000, Streams(1)).mean() for h in (10, 22))
        >>> bool(evening > 1.5 * night)
        True
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"amplitude": 0.95, "zones_h": (-5, 1, 9)}, {"amplitude": 0.0})

    mean_online_s: float = Field(default=7200.0, gt=0)
    mean_offline_s: float = Field(default=7200.0, gt=0)
    amplitude: float = Field(default=0.5, ge=0, le=0.95)
    peak_h: float = Field(default=20.0, ge=0, lt=24)
    start_h: float = Field(default=0.0, ge=0, lt=24)
    zones_h: tuple[Annotated[float, Field(ge=-24, le=24)], ...] = Field(default=(0.0,), min_length=1)

    def share_online(self, t_s: np.ndarray, zone_h: float = 0.0) -> np.ndarray:
        """Expected share of a time zone's nodes that are online at virtual times ``t_s``, seconds.

        The one periodic solution of dp/dt = coming(t)·(1 − p) − going(t)·p, by the minute, with constant rates within.
        """
        import numpy as np

        steps = 24 * 60
        h = DAY_S / steps
        swing = self.amplitude * np.cos(self._angle(np.arange(steps + 1) * h, zone_h))
        coming = (1 + swing) / self.mean_offline_s
        both = coming + (1 - swing) / self.mean_online_s
        # p[i+1] = kept[i]·p[i] + gained[i], solved exactly within a step so that fast churn needs no shorter ones.
        rate = (both[1:] + both[:-1]) / 2
        kept = np.exp(-rate * h)
        gained = (1 - kept) * (coming[1:] + coming[:-1]) / 2 / rate
        share, carried, brought = np.empty(steps + 1), 1.0, 0.0
        for i in range(steps):
            carried, brought = carried * kept[i], brought * kept[i] + gained[i]
        share[0] = brought / (1 - carried)
        for i in range(steps):
            share[i + 1] = kept[i] * share[i] + gained[i]
        found: np.ndarray = np.interp(np.mod(t_s, DAY_S), np.arange(steps + 1) * h, share)
        return found

    def start(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` bool, each online with the probability that this hour has in its time zone."""
        import numpy as np

        at_0 = np.array([float(self.share_online(np.zeros(1), zone)[0]) for zone in self.zones_h])
        here: np.ndarray = streams.of("churn", "start").random(n) < at_0[self._zone(n, streams)]
        return here

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        """``(n,)`` seconds, until the integrated rate since ``began_s`` reaches an exponential draw."""
        import numpy as np

        draw = np.maximum(streams.of("churn", "period", k).standard_exponential(len(online)), 2.0**-54)
        zone_h = np.array(self.zones_h)[self._zone(len(online), streams)]
        # Seen from its own peak (of coming, or half a day later of going) every rate is (1 + a·cos x)/mean, with integral
        # (x + a·sin x)/(mean·ω): with y = x − π, Kepler's equation y − a·sin y = M.
        begins = self._angle(began_s, zone_h) + np.where(online, math.pi, 0.0) - math.pi
        begins = np.mod(begins, 2 * math.pi)
        mean_s = np.where(online, self.mean_online_s, self.mean_offline_s)
        ends = _kepler(begins - self.amplitude * np.sin(begins) + draw * mean_s * _TURN, self.amplitude)
        lengths: np.ndarray = np.maximum((ends - begins) / _TURN, np.finfo(float).tiny)
        return lengths

    def _zone(self, n: int, streams: Streams) -> np.ndarray:
        return streams.of("churn", "zone").integers(len(self.zones_h), size=n)

    def _angle(self, t_s: np.ndarray, zone_h: Any) -> np.ndarray:
        """How far past the peak of coming it is at ``t_s``, as an angle."""
        angle: np.ndarray = (t_s + 3600 * (self.start_h + zone_h - self.peak_h)) * _TURN
        return angle


def _kepler(mean: np.ndarray, e: float) -> np.ndarray:
    """``y`` with y − e·sin y = ``mean``, for 0 ≤ e < 1 (Newton's method, kept within bounds that hold the root)."""
    import numpy as np

    low, high = mean - e, mean + e
    y: np.ndarray = mean + e * np.sin(mean)
    going = np.ones(y.shape, dtype=bool)
    for _ in range(60):
        error = y - e * np.sin(y) - mean
        low, high = np.where(error <= 0, y, low), np.where(error >= 0, y, high)
        step = y - error / (1 - e * np.cos(y))
        step = np.where((step < low) | (step > high), (low + high) / 2, step)
        # Each stops by itself, so that no node's last digit depends on another's. Steps double the number of right digits.
        moved = np.abs(step - y)
        y = np.where(going, step, y)
        going &= moved >= 1e-9
        if not going.any():
            break
    return y
