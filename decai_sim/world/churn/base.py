"""The churn family: when nodes are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.component import Component

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams


class Churn(Component, family="churn"):
    """Base of churn models: alternating online and offline periods of every node."""

    def start(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` bool: who is online at time 0."""
        raise NotImplementedError

    def periods(self, k: int, online: np.ndarray, streams: Streams) -> np.ndarray:
        """``(n,)`` seconds: how long each node's ``k``-th period lasts, given which of them are ``online`` ones.

        Period 0 is the one under way at time 0. A period of ``inf`` never ends. The ``k``-th draw of a node depends on
        nothing but the seed, ``k`` and the node, so no event order can shift it.
        """
        raise NotImplementedError
