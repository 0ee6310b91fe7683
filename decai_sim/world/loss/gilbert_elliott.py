"""Losses in bursts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.loss.base import Loss

if TYPE_CHECKING:
    import numpy as np


class GilbertElliott(Loss):
    """A link is in a good or a bad state, and loses messages at the state's rate: losses come in bursts.

    The state changes at random from message to message. The bad one lasts 1/p_leave messages on average and has the share
    π = p_enter / (p_enter + p_leave) of them; the loss rate is (1 − π)·loss_good + π·loss_bad.

    Source: Gilbert, "Capacity of a burst-noise channel", Bell System Technical Journal 39 (1960): the good state loses nothing;
    Elliott, "Estimates of error rates for codes on burst-noise channels", Bell System Technical Journal 42 (1963): it may.
    Assumes: the state moves on with the messages of a link, not with time: a link that is silent stays in its state.
    Deviations: the papers are about bits of a channel, here about messages. The defaults are ours: 2 % loss in bursts of 5.

    Attributes:
        p_enter: probability of going from the good state to the bad one, for each message.
        p_leave: probability of going from the bad state to the good one, for each message.
        loss_good: probability that a message is lost in the good state.
        loss_bad: probability that a message is lost in the bad state.

    Example:
        >>> import numpy as np
        >>> bursts = GilbertElliott(p_enter=0.01, p_leave=0.25, loss_bad=0.5)
        >>> round(bursts.rate, 4), float(bursts.table(1_000_000, np.random.default_rng(0)).mean().round(3))
        (0.0192, 0.019)
    """

    p_enter: float = Field(default=0.00408, gt=0, le=1)
    p_leave: float = Field(default=0.2, gt=0, le=1)
    loss_good: float = Field(default=0.0, ge=0, lt=1)
    loss_bad: float = Field(default=1.0, ge=0, le=1)

    @property
    def rate(self) -> float:
        """Share of messages lost in the long run: ``(1 − π)·loss_good + π·loss_bad``."""
        bad = self.p_enter / (self.p_enter + self.p_leave)
        return (1 - bad) * self.loss_good + bad * self.loss_bad

    def table(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """``(size,)`` bool: a history that begins in the stationary state."""
        import numpy as np

        first_bad = generator.random() < self.p_enter / (self.p_enter + self.p_leave)
        bad = np.empty(0, bool)
        # Visits to a state have geometric lengths, so the chain is drawn by visits; a few more are drawn if they do not suffice.
        while len(bad) < size:
            cycle = 1 / self.p_enter + 1 / self.p_leave
            visits = 2 * int((size - len(bad)) / cycle * 1.1 + 8)  # whole cycles: what comes next begins in the first state again
            is_bad = (np.arange(visits) % 2 == 1) ^ first_bad
            lengths = np.empty(visits, np.int64)
            lengths[is_bad] = generator.geometric(self.p_leave, is_bad.sum())
            lengths[~is_bad] = generator.geometric(self.p_enter, (~is_bad).sum())
            ends = np.minimum(lengths.cumsum(), size - len(bad))  # a single visit may be far longer than the table
            bad = np.append(bad, np.repeat(is_bad, np.diff(ends, prepend=0)))
        return generator.random(size) < np.where(bad, self.loss_bad, self.loss_good)
