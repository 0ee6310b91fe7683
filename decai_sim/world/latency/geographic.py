"""Latencies from distances."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.latency.base import Delays, Latency
from decai_sim.world.regions import city

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams

EARTH_KM = 6371.0088
"""Mean radius of the Earth (IUGG)."""

FIBRE_KM_PER_S = 299_792.458 * 2 / 3
"""Speed of light in glass: its refractive index is about 1.5."""


class Geographic(Latency):
    """Light takes its time: the great-circle distance at the speed of light in fibre, times a detour, plus the access links.

    ``distance · detour / (2/3 c) + 2 · access_s``. Nodes are scattered evenly around the city that stands for their region; the
    server is in the city itself.

    Source: spherical distance by the haversine formula (Sinnott, "Virtues of the haversine", Sky and Telescope 68, 1984); the
    default of ``detour`` is the median over the table ``aws`` of measured round trip to round trip in fibre, which is 1.67.
    Assumes: distance explains latency. On the ``aws`` table the ratio has its middle 80 % between 1.3 and 2.3; from São Paulo to
    Cape Town it is 5.4.
    Deviations: which city stands for a region, how far nodes are from it and the delay of access links are our assumptions.

    Attributes:
        detour: length of the cable over the great circle's.
        radius_km: nodes are at most so far from their region's city, kilometres.
        access_s: what the access link of each end adds, seconds.

    Example:
        >>> import numpy as np
        >>> from decai_sim.seeding import Streams
        >>> delays = Geographic(radius_km=0, access_s=0.001).links(np.array(["Virginia", "Tokyo", "Frankfurt"]), Streams(1))
        >>> round(delays.base_s(0, 1), 3), round(delays.base_s(0, -1), 3)  # half of the measured round trips: 0.073 and 0.046
        (0.094, 0.058)
    """

    detour: float = Field(default=1.7, ge=1)
    radius_km: float = Field(default=500.0, ge=0, le=10_000)
    access_s: float = Field(default=0.005, gt=0)

    def misfit(self, regions: Collection[str]) -> str | None:
        unknown = [name for name in regions if city(name) is None]
        return f"no city is known for region {unknown[0]!r}" if unknown else None

    def links(self, regions: np.ndarray, streams: Streams) -> Delays:
        import numpy as np

        self._refuse_misfit(regions)
        lat, lon = np.radians(np.array([city(name) for name in regions.tolist()], float)).T
        # Evenly over a spherical cap: height is uniform (Archimedes), and so is the bearing.
        u, v = streams.of("places").random((len(regions), 2)).T
        away = np.arccos(1 - u * (1 - np.cos(self.radius_km / EARTH_KM)))
        away[-1] = 0.0
        bearing = 2 * np.pi * v
        sin_lat = np.sin(lat) * np.cos(away) + np.cos(lat) * np.sin(away) * np.cos(bearing)
        there = np.arcsin(sin_lat.clip(-1, 1))
        east = np.arctan2(np.sin(bearing) * np.sin(away) * np.cos(lat), np.cos(away) - np.sin(lat) * sin_lat)
        return _Distances(self, there, lon + east)


class _Distances(Delays):
    def __init__(self, latency: Geographic, lat: np.ndarray, lon: np.ndarray) -> None:
        self._lat, self._lon = lat, lon
        self._places: list[tuple[float, float]] = list(zip(lat.tolist(), lon.tolist(), strict=True))
        self._per_radian_s = EARTH_KM * latency.detour / FIBRE_KM_PER_S
        self._access_s = 2 * latency.access_s

    def base_s(self, src: int, dst: int) -> float:
        if src > dst:
            src, dst = dst, src  # so that rounding is the same in both directions
        (lat_a, lon_a), (lat_b, lon_b) = self._places[src], self._places[dst]
        haversine = math.sin((lat_a - lat_b) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_a - lon_b) / 2) ** 2
        return 2 * math.asin(min(1.0, math.sqrt(haversine))) * self._per_radian_s + self._access_s

    def bases_s(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        import numpy as np

        low, high = np.minimum(src, dst), np.maximum(src, dst)
        lat_a, lon_a, lat_b, lon_b = self._lat[low], self._lon[low], self._lat[high], self._lon[high]
        haversine = np.sin((lat_a - lat_b) / 2) ** 2 + np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_a - lon_b) / 2) ** 2
        latency: np.ndarray = 2 * np.arcsin(np.sqrt(haversine).clip(max=1.0)) * self._per_radian_s + self._access_s
        return latency
