"""The churn family: when nodes are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.component import Component

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams


class Churn(Component, family="churn"):
    """Base of churn models: alternating online and offline periods of every node."""

    def check(self, n: int) -> None:
        """Find what does not suit ``n`` nodes, such as a file that cannot be used, before there is a world.

        Raises:
            ScenarioError: one line that begins with the field.
        """

    def start(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` bool: who is online at time 0."""
        raise NotImplementedError

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        """``(n,)`` seconds: how long each node's ``k``-th period lasts.

        Period 0 is the one under way at time 0: what it still lasts from there counts. A period of ``inf`` never ends. A node's
        ``k``-th period depends on nothing but the seed, ``k``, the node and its own entries of the arguments, so no order of
        events can shift it; it may be asked for more than once.

        Args:
            k: number of the period, from 0.
            online: ``(n,)`` bool: whose ``k``-th period is an online one.
            began_s: ``(n,)`` when each node's ``k``-th period begins, virtual seconds.
            streams: the run's streams.
        """
        raise NotImplementedError
