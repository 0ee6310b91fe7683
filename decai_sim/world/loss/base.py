"""The loss family: which messages never arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.component import Component

if TYPE_CHECKING:
    import numpy as np


class Loss(Component, family="loss"):
    """Base of loss models: what becomes of one message after the other on a link."""

    memory: ClassVar[bool] = True
    """Whether what becomes of a message has to do with what became of the one before on its link."""

    def table(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """``(size,)`` bool: a stretch of one link's history; entry ``i`` says whether the ``i``-th message in a row is lost.

        All links of a world share one long table: each starts at a place of its own and walks along it, so that losses which come
        in bursts stay together. Where there is no :attr:`memory`, messages may look up places of their own instead.

        Args:
            size: how many messages, 1 or more.
            generator: where to draw from.
        """
        raise NotImplementedError
