"""Tables of world regions: where nodes are, how far apart, and how fast their access links are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Table = Literal["bitcoin-2019", "bitcoin-2015", "aws"]


@dataclass(frozen=True)
class Regions:
    """What is known of a set of regions; all tuples are in the order of ``names``.

    Attributes:
        names: the regions.
        share: share of the nodes in each; need not sum to exactly 1.
        latency_ms: symmetric table between regions, milliseconds; reads like round trips.
        upload_mbps, download_mbps: access rates, megabits per second; None: not in the table.
        cities: (latitude, longitude) in degrees of the city that stands for each region.
        server: the region a server is in unless something else is said.
        source: where the figures come from.
    """

    names: tuple[str, ...]
    share: tuple[float, ...]
    latency_ms: tuple[tuple[float, ...], ...]
    upload_mbps: tuple[float, ...] | None
    download_mbps: tuple[float, ...] | None
    cities: tuple[tuple[float, float], ...]
    server: str
    source: str


_FRANKFURT, _SAO_PAULO, _SINGAPORE = (50.11, 8.68), (-23.55, -46.63), (1.35, 103.82)
_TOKYO, _SYDNEY = (35.68, 139.69), (-33.87, 151.21)

_SIX = ("NA", "EU", "SA", "AP", "JP", "AU")
# The largest exchange point, or the largest city, of each is our choice; SimBlock names none.
_SIX_CITIES = ((41.88, -87.63), _FRANKFURT, _SAO_PAULO, _SINGAPORE, _TOKYO, _SYDNEY)
_SIMBLOCK = "SimBlock (Aoki et al. 2019, arXiv:1901.09777; Apache-2.0), NetworkConfiguration.java: measured between Bitcoin nodes"


def _symmetric(diagonal: float, *upper: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """The whole of a table given by its upper triangle."""
    n = len(upper) + 1
    return tuple(tuple(diagonal if a == b else upper[min(a, b)][abs(a - b) - 1] for b in range(n)) for a in range(n))


REGIONS: dict[str, Regions] = {
    "bitcoin-2019": Regions(
        names=_SIX,
        share=(0.3316, 0.4998, 0.0090, 0.1177, 0.0224, 0.0195),
        latency_ms=(
            (32, 124, 184, 198, 151, 189),
            (124, 11, 227, 237, 252, 294),
            (184, 227, 88, 325, 301, 322),
            (198, 237, 325, 85, 58, 198),
            (151, 252, 301, 58, 12, 126),
            (189, 294, 322, 198, 126, 16),
        ),
        upload_mbps=(19.2, 20.7, 5.8, 15.7, 10.2, 11.3),
        download_mbps=(52, 40, 18, 22.8, 22.8, 29.9),
        cities=_SIX_CITIES,
        server="EU",
        source=_SIMBLOCK,
    ),
    "bitcoin-2015": Regions(
        names=_SIX,
        share=(0.3869, 0.5159, 0.0113, 0.0574, 0.0119, 0.0166),
        latency_ms=(
            (36, 119, 255, 310, 154, 208),
            (119, 12, 221, 242, 266, 350),
            (255, 221, 137, 347, 256, 269),
            (310, 242, 347, 99, 172, 278),
            (154, 266, 256, 172, 9, 163),
            (208, 350, 269, 278, 163, 22),
        ),
        upload_mbps=(4.7, 8.1, 1.8, 5.3, 3.4, 5.2),
        download_mbps=(25, 24, 6.5, 10, 17.5, 14),
        cities=_SIX_CITIES,
        server="EU",
        source=_SIMBLOCK,
    ),
    "aws": Regions(
        names=(
            *("Virginia", "Oregon", "São Paulo", "Frankfurt", "Bahrain"),
            *("Cape Town", "Mumbai", "Singapore", "Tokyo", "Sydney"),
        ),
        share=(0.1,) * 10,
        latency_ms=_symmetric(
            2,  # 1–4 ms were measured inside regions
            (64, 114, 92, 160, 232, 186, 211, 146, 199),
            (174, 140, 211, 274, 217, 161, 97, 140),
            (204, 273, 343, 297, 322, 256, 311),
            (87, 162, 110, 158, 223, 249),
            (147, 35, 87, 162, 179),
            (155, 201, 353, 411),
            (54, 126, 145),
            (69, 93),
            (104,),
        ),
        upload_mbps=None,
        download_mbps=None,
        cities=(
            *((39.04, -77.49), (45.84, -119.70), _SAO_PAULO, _FRANKFURT, (26.23, 50.59)),
            *((-33.92, 18.42), (19.08, 72.88), _SINGAPORE, _TOKYO, _SYDNEY),
        ),
        server="Frankfurt",
        source="round trips between Amazon Web Services regions, a sample of cloudping.co; equal shares are our assumption",
    ),
}
"""The tables by name."""


def city(region: str) -> tuple[float, float] | None:
    """(latitude, longitude) in degrees of the city that stands for ``region``; None: no table has it.

    Example:
        >>> city("JP"), city("Atlantis")
        ((35.68, 139.69), None)
    """
    return next((table.cities[table.names.index(region)] for table in REGIONS.values() if region in table.names), None)
