"""Pareto churn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.churn.laws import ParetoLaw
from decai_sim.world.churn.renewal import Renewal

if TYPE_CHECKING:
    from decai_sim.world.churn.laws import Law


class Pareto(Renewal):
    """The longer a node has been there, the longer it will stay: P(period > x) = (1 + x / scale)^−shape.

    It has gone on forever at time 0: who is found online then is more likely in a long session than in a short one, and what
    remains of it follows a Pareto law whose shape is smaller by 1.

    Source: Yao, Leonard, Wang & Loguinov, "Modeling heterogeneous user churn and local resilience of unstructured P2P networks"
    (ICNP 2006): shifted Pareto lifetimes and absences; residual lives by Cox, "Renewal Theory" (1962), ch. 5.
    Assumes: nodes are independent and alike.
    Deviations: the paper gives every user means of its own; here all share them.

    Attributes:
        mean_online_s: mean length of an online period, seconds.
        mean_offline_s: mean length of an offline period, seconds.
        shape: tail index of both, above 1; at 2 and below their variance is infinite, and so is the mean of what remains of a
            period found under way.

    Example:
        >>> Pareto(mean_online_s=600, shape=3).laws()[0]
        ParetoLaw(shape=3.0, scale_s=1200.0)
    """

    mean_online_s: float = Field(default=7200.0, gt=0)
    mean_offline_s: float = Field(default=1800.0, gt=0)
    shape: float = Field(default=3.0, ge=1.05, le=100)

    def laws(self) -> tuple[Law, Law]:
        """Pareto laws of online and of offline periods."""
        return ParetoLaw.with_mean(self.shape, self.mean_online_s), ParetoLaw.with_mean(self.shape, self.mean_offline_s)
