"""Clipping before a rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Context, Scaling
from decai_sim.defenses.distances import distances_to
from decai_sim.defenses.norm_clipping import clip_factors

if TYPE_CHECKING:
    import torch


class Clipping(Scaling):
    """Shortens each update longer than ``τ`` to it: ``x·min(1, τ/|x|)``.

    Source: byzfl's pre-aggregation ``Clipping``; Farhadkhani et al., "Byzantine Machine Learning Made Easy", ICML 2022, for
        clipping before robust rules.
    Assumes: honest updates are not much longer than ``τ``.
    Deviations: none.
    Breaks down: not by number: each of ``b`` attackers moves a mean of ``n`` rows that follows by up to ``τ/n``. Where their rows
        point is theirs to choose.
    Costs: ``O(nd)`` for the norms and the rows made shorter; no distances.

    Attributes:
        tau: ``τ``, in units of the rows.

    Example:
        >>> import torch
        >>> Clipping(tau=5)(torch.tensor([[3.0, 4], [6, 8]])).tolist()
        [[3.0, 4.0], [3.0, 4.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"tau": 2.0}, {"tau": 0.1})

    tau: float = Field(default=2.0, gt=0)

    def factors(self, rows: torch.Tensor, context: Context | None) -> torch.Tensor:
        return clip_factors(distances_to(rows), self.tau)
