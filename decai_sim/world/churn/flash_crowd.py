"""A flash crowd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.component import field_of
from decai_sim.errors import ScenarioError
from decai_sim.world.churn.base import Churn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from decai_sim.seeding import Streams


class FlashCrowd(Churn):
    """All at once many come, and go again: a share of the nodes joins within a short ramp, once, and then leaves for good.

    The expected number of them that is there x seconds after ``at_s`` is that of a queue with a server for everybody: arrivals
    uniform over the ramp, stays exponential.

    Source: the term and the pattern: Jung, Krishnamurthy & Rabinovich, "Flash crowds and denial of service attacks" (WWW 2002).
    Assumes: the crowd was never there before and never returns; its members are independent.
    Deviations: a ramp of constant arrivals in place of a measured profile. A flash crowd as ``rest`` makes a second one, who is
        drawn independently among all nodes; whoever is in both is in the outer one.

    Attributes:
        share: probability of a node to belong to the crowd.
        at_s: when the first of them come, seconds.
        ramp_s: within how long all of them have come, seconds.
        mean_stay_s: how long they stay on average, seconds.
        rest: churn of all other nodes; None: they are always there.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> float(FlashCrowd(share=0.5).start(10_000, Streams(1)).mean().round(1))
        0.5
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"share": 0.9, "rest": "exponential"},
        {"share": 0.5, "rest": {"kind": "flash_crowd", "share": 0.5, "at_s": 1200}},
    )

    share: float = Field(default=0.5, ge=0, le=1)
    at_s: float = Field(default=600.0, ge=0)
    ramp_s: float = Field(default=60.0, ge=0)
    mean_stay_s: float = Field(default=600.0, gt=0)
    rest: field_of(Churn) | None = None  # type: ignore[valid-type]

    def check(self, n: int) -> None:
        if self.rest is not None:
            try:
                self.rest.check(n)
            except ScenarioError as error:
                raise ScenarioError(str(error).replace("churn.", "churn.rest.", 1)) from None

    def start(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` bool: nobody of the crowd, and of the rest whom its churn says."""
        here: np.ndarray = ~self._crowd(n, streams)
        if self.rest is not None:
            here &= self.rest.start(n, streams)
        return here

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        """``(n,)`` seconds: for the crowd until it comes, its stay, and then forever."""
        import numpy as np

        n = len(online)
        lengths = np.full(n, np.inf) if self.rest is None else self.rest.periods(k, online, began_s, streams)
        crowd = self._crowd(n, streams)
        if k == 0:
            own = self.at_s + self.ramp_s * streams.of(*self._name(), "comes").random(n)
        elif k == 1:
            own = streams.of(*self._name(), "stays").exponential(self.mean_stay_s, size=n)
        else:
            own = np.full(n, np.inf)
        return np.where(crowd, np.maximum(own, np.finfo(float).tiny), lengths)

    def _crowd(self, n: int, streams: Streams) -> np.ndarray:
        return streams.of(*self._name()).random(n) < self.share

    def _name(self) -> tuple[str | int, ...]:
        """Of its streams. Crowds are told apart from within, so that one more around them does not shift their draws."""
        within, inner = 0, self.rest
        while isinstance(inner, FlashCrowd):
            within, inner = within + 1, inner.rest
        return ("churn", "crowd", within) if within else ("churn", "crowd")
