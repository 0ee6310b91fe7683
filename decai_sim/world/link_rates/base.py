"""The link-rates family: what each single link carries, whatever its ends could do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.component import Component

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Counter, Streams


class Rates:
    """Capacities of the links of one world, each kept for good. Node −1 is the server."""

    def bps(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        """Capacities of the links from ``src`` to ``dst``, whatever was asked before.

        Args:
            src: ``(k,)`` who sends.
            dst: ``(k,)`` who receives.

        Returns:
            ``(k,)`` bits per second, above 0; ``inf``: the ends decide.
        """
        raise NotImplementedError


class Alike(Rates):
    """Every link carries the same."""

    def __init__(self, link_bps: float) -> None:
        self._link_bps = link_bps

    def bps(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.full(len(src), self._link_bps)


class LinkRates(Component, family="link_rates"):
    """Base of models of links' capacities. One of your own overrides :meth:`link_bps`, or :meth:`links` if it knows who is who.

    A capacity belongs to the link: drawn once and kept, as its latency is, and the same in both directions.
    """

    def check(self, n: int) -> None:
        """Find what does not suit ``n`` nodes, such as a file that cannot be used, before there is a world.

        Raises:
            ScenarioError: one line that begins with ``network.link_bps``.
        """

    def link_bps(self, u: np.ndarray) -> np.ndarray:
        """Capacities of ``k`` links.

        Args:
            u: ``(k,)`` numbers in (0, 1), uniform and independent: each link's own, the same whenever it is asked for.

        Returns:
            ``(k,)`` bits per second, above 0; ``inf``: the ends decide.
        """
        raise NotImplementedError

    def links(self, n: int, streams: Streams) -> Rates:
        """Give the links of a world their capacities.

        Args:
            n: number of nodes, the server not counted.
            streams: the run's streams; a link's ``u`` is ``streams.counter("link_rates")`` at its two ends, the lower first.

        Raises:
            ScenarioError: the model does not fit the nodes, or a file of it cannot be used.
        """
        return _Drawn(self, streams.counter("link_rates"))


class _Drawn(Rates):
    """Capacities computed from the links' own uniform numbers, whenever they are asked for."""

    def __init__(self, model: LinkRates, link: Counter) -> None:
        self._model, self._link = model, link

    def bps(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        import numpy as np

        return self._model.link_bps(self._link.array(np.minimum(src, dst), np.maximum(src, dst)))
