"""The access-rates family: what each node's access link carries in one direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from decai_sim.component import Component

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams

Direction = Literal["upload_bps", "download_bps"]


class AccessRates(Component, family="access_rates"):
    """Base of models of access rates. One of your own overrides :meth:`node_bps`, or :meth:`of` if it knows who is who."""

    def check(self, n: int, direction: Direction) -> None:
        """Find what does not suit ``n`` nodes, such as a file that cannot be used, before there is a world.

        Raises:
            ScenarioError: one line that begins with ``network.`` and the direction.
        """

    def node_bps(self, u: np.ndarray) -> np.ndarray:
        """Rates of ``k`` nodes.

        Args:
            u: ``(k,)`` numbers in (0, 1), uniform and independent: each node's own, another one for each direction.

        Returns:
            ``(k,)`` bits per second, above 0.
        """
        raise NotImplementedError

    def of(self, n: int, direction: Direction, streams: Streams) -> np.ndarray:
        """The rates of a world's nodes, each kept for good.

        Args:
            n: number of nodes, the server not counted.
            direction: which of the two it is about.
            streams: the run's streams; a node's ``u`` is ``streams.counter("access_rates", direction)`` at its number.

        Returns:
            ``(n,)`` bits per second, above 0.

        Raises:
            ScenarioError: the model does not fit the nodes, or a file of it cannot be used.
        """
        import numpy as np

        return self.node_bps(streams.counter("access_rates", direction).array(np.arange(n)))
