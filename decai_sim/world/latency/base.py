"""The latency family: how long the way is between two nodes."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from decai_sim.component import Component
from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Counter, Streams


class Delays:
    """One-way latencies of the links of one world, each kept for good. Node −1 is the server."""

    def base_s(self, src: int, dst: int) -> float:
        """Latency between ``src`` and ``dst``, seconds: the same in both directions, whatever was asked before."""
        raise NotImplementedError

    def bases_s(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        """``(k,)`` seconds for ``(k,)`` ends: :meth:`base_s` of many links at once."""
        raise NotImplementedError

    def least_s(self) -> float:
        """What no link's latency is below, seconds; 0: not known."""
        return 0.0


class Latency(Component, family="latency"):
    """Base of latency models. One of your own overrides :meth:`one_way_s`; :meth:`one_s` and :meth:`links` are there for speed.

    Latency belongs to the link: drawn once and kept, since redrawing it for every message distorts protocols (go-f3 issue 212).
    What varies from message to message is the network's jitter.
    """

    def misfit(self, regions: Collection[str]) -> str | None:
        """Why the model does not suit nodes that live in ``regions``; None: it does."""
        return None

    def check(self, n: int, regions: Collection[str]) -> None:
        """Find what does not suit ``n`` nodes in ``regions``, such as a file that cannot be used, before there is a world.

        Raises:
            ScenarioError: one line that begins with ``network.latency``.
        """

    def one_way_s(self, src_region: np.ndarray, dst_region: np.ndarray, u: np.ndarray) -> np.ndarray:
        """One-way latencies of ``k`` links.

        Args:
            src_region: ``(k,)`` names of the regions at one end.
            dst_region: ``(k,)`` names of the regions at the other; exchanging ends must change nothing.
            u: ``(k,)`` numbers in (0, 1), uniform and independent: each link's own, the same whenever it is asked for. The answer
                must grow with ``u``, or shrink with it.

        Returns:
            ``(k,)`` seconds, above 0.
        """
        raise NotImplementedError

    def one_s(self, src_region: str, dst_region: str, u: float) -> float:
        """:meth:`one_way_s` of a single link; worth overriding where a formula needs no arrays."""
        import numpy as np

        return float(self.one_way_s(np.array([src_region]), np.array([dst_region]), np.array([u]))[0])

    def links(self, regions: np.ndarray, streams: Streams) -> Delays:
        """Lay the latencies of a world.

        Args:
            regions: ``(n + 1,)`` names of the nodes' regions, the server's last.
            streams: the run's streams; a link's ``u`` is ``streams.counter("latency")`` at its two ends, the lower first.

        Raises:
            ScenarioError: the model does not fit the nodes, or a file of it cannot be used.
        """
        self._refuse_misfit(regions)
        return _Drawn(self, regions, streams.counter("latency"))

    def _refuse_misfit(self, regions: np.ndarray) -> None:
        reason = self.misfit(sorted(set(regions.tolist())))
        if reason:
            raise ScenarioError(f"network.latency: {self.kind!r} is not allowed: {reason}")


class _Drawn(Delays):
    """Latencies computed from the links' own uniform numbers, whenever they are asked for: nothing is stored per link."""

    def __init__(self, latency: Latency, regions: np.ndarray, link: Counter) -> None:
        self._latency, self._regions, self._link = latency, regions, link
        self._names: list[str] = regions.tolist()

    def base_s(self, src: int, dst: int) -> float:
        if src > dst:
            src, dst = dst, src
        return self._latency.one_s(self._names[src], self._names[dst], self._link(src, dst))

    def bases_s(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        import numpy as np

        low, high = np.minimum(src, dst), np.maximum(src, dst)
        return self._latency.one_way_s(self._regions[low], self._regions[high], self._link.array(low, high))

    def least_s(self) -> float:
        import numpy as np

        names = np.unique(self._regions)
        low, high = (ends.ravel() for ends in np.meshgrid(names, names))
        extremes = (np.full(len(low), u) for u in (2.0**-53, 1 - 2.0**-53))
        return min(float(self._latency.one_way_s(low, high, u).min()) for u in extremes)
