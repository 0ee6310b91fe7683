"""Losses independent of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from decai_sim.world.loss.base import Loss

if TYPE_CHECKING:
    import numpy as np


class Bernoulli(Loss):
    """Every message is lost with probability ``p``, whatever became of the one before.

    Source: Bernoulli trials, as in Feller, "An Introduction to Probability Theory and Its Applications", vol. 1, ch. VI.
    Assumes: losses are independent; on measured paths they come in bursts, see :class:`GilbertElliott`.
    Deviations: none.

    Attributes:
        p: probability that a message never arrives.

    Example:
        >>> import numpy as np
        >>> float(Bernoulli(p=0.1).table(100_000, np.random.default_rng(0)).mean().round(2))
        0.1
    """

    memory: ClassVar[bool] = False

    p: float = Field(default=0.01, ge=0, lt=1)

    def table(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """``(size,)`` bool, each lost with probability ``p``."""
        return generator.random(size) < self.p

    @property
    def rate(self) -> float:
        """Share of messages lost in the long run: ``p``."""
        return self.p
