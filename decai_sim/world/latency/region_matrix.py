"""Latencies measured between regions."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from decai_sim.world.latency.base import Delays, Latency
from decai_sim.world.regions import REGIONS, Table

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Counter, Streams


class RegionMatrix(Latency):
    """A link's latency is a Pareto draw whose mean is what was measured between the regions of its ends.

    With ``m`` from the table, in milliseconds, the round trip is ``(m − 5) / u^(1/(0.2 m))``: Pareto of shape 0.2 m and mean m.

    Source: SimBlock (Aoki et al., arXiv:1901.09777), NetworkConfiguration.java: the Bitcoin tables and the Pareto rule;
    cloudping.co: round trips between Amazon Web Services regions.
    Assumes: one table of means says what there is to know of two regions; latencies of two links are independent, given regions.
    Deviations: SimBlock uses its matrix one way and draws for every message; its entries agree with measured round trips, so
        they are halved after the draw here, and a draw is kept. Datacentres have no such tails, and entries below 5 ms: links of
        ``aws`` are Pareto of shape 20 with the table's mean (never more than 5 % below it), which is our assumption.

    Attributes:
        table: ``bitcoin-2019``, ``bitcoin-2015`` or ``aws``.
        one_way: take the table for one-way latencies, as SimBlock does.

    Example:
        >>> import numpy as np
        >>> from decai_sim.seeding import Streams
        >>> delays = RegionMatrix(table="aws").links(np.array(["Virginia", "Tokyo", "Frankfurt"]), Streams(1))
        >>> round(delays.base_s(0, 1), 2)  # the table has a round trip of 146 ms
        0.07
    """

    examples = ({}, {"table": "bitcoin-2015", "one_way": True})

    table: Table = "bitcoin-2019"
    one_way: bool = False

    def misfit(self, regions: Collection[str]) -> str | None:
        known = REGIONS[self.table].names
        unknown = [name for name in regions if name not in known]
        return f"its table {self.table!r} has no region {unknown[0]!r}, where nodes may be" if unknown else None

    def links(self, regions: np.ndarray, streams: Streams) -> Delays:
        self._refuse_misfit(regions)
        return _Matrix(self, regions, streams.counter("latency"))


class _Matrix(Delays):
    def __init__(self, latency: RegionMatrix, regions: np.ndarray, link: Counter) -> None:
        import numpy as np

        table = REGIONS[latency.table]
        self._region = np.array([table.names.index(name) for name in regions.tolist()])
        means = table.latency_ms
        if latency.table == "aws":
            self._least_ms = [[0.95 * m for m in row] for row in means]
            self._power = [[1 / 20 for _ in row] for row in means]
        else:
            self._least_ms = [[m - 5.0 for m in row] for row in means]
            self._power = [[1 / (0.2 * m) for m in row] for row in means]
        self._link, self._per_s = link, 1000 if latency.one_way else 2000
        self._regions: list[int] = self._region.tolist()

    def base_s(self, src: int, dst: int) -> float:
        if src > dst:
            src, dst = dst, src
        a, b = self._regions[src], self._regions[dst]
        return float(self._least_ms[a][b] / self._link(src, dst) ** self._power[a][b] / self._per_s)

    def bases_s(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        import numpy as np

        u = self._link.array(np.minimum(src, dst), np.maximum(src, dst))
        pair = self._region.take(src) * len(self._power) + self._region.take(dst)
        u **= np.array(self._power).take(pair)
        latency: np.ndarray = np.array(self._least_ms).take(pair)
        latency /= u
        latency /= self._per_s
        return latency

    def least_s(self) -> float:
        import numpy as np

        here = np.unique(self._region)
        return float(np.array(self._least_ms)[np.ix_(here, here)].min() / self._per_s)
