"""The geometric median."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import distances_to, geometry

if TYPE_CHECKING:
    import torch


class GeometricMedian(Rule):
    """The point whose distances to the updates sum to the least, ``argmin_z Σ_i |z - x_i|``: robust federated averaging (RFA).

    Found by Weiszfeld's iteration, ``z ← Σ β_i x_i / Σ β_i`` with ``β_i = 1 / max(ν, |z - x_i|)``.

    Source: Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", IEEE TSP 2022, Algorithm 2 (smoothed
        Weiszfeld), ``nu`` and ``iterations`` its ``ν`` and ``R``.
    Assumes: fewer than half of the rows are Byzantine; ``f`` is not used.
    Deviations: rows are not weighted by sample counts. Goes on until it has settled, where the paper takes a few steps.
        ``z`` is kept as shares of the rows, and the distances to it come from the Gram matrix: ``O(n²)`` a step however long
        the rows are. byzfl's is ``start="origin", iterations=3, nu=0.1``.
    Breaks down: with half of the rows (Lopuhaä and Rousseeuw, Annals of Statistics 1991), once it has settled.
    Costs: the Gram matrix, ``O(n²d)``, which one aggregation makes once for all its steps; then ``O(n²)`` a step.

    ``explain(...).scores`` are the distances of the rows to the result.

    Attributes:
        nu: ``ν``, a distance below which a row pulls no harder; in units of the rows.
        iterations: at most so many steps.
        start: the mean of the rows; or ``origin``, zeros, with which the result depends on where the rows lie if steps are few.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
        >>> [round(x, 4) for x in GeometricMedian()(rows).tolist()]
        [4.0, 5.0, 6.0]
        >>> [round(x, 4) for x in GeometricMedian(nu=0.1, iterations=3, start="origin")(rows).tolist()]
        [3.7879, 4.7879, 5.7879]
    """

    distances: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"nu": 0.1, "iterations": 3, "start": "origin"})

    nu: float = Field(default=1e-6, gt=0)
    iterations: int = Field(default=1000, ge=1)
    start: Literal["mean", "origin"] = "mean"

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n = len(rows)
        gram = geometry(rows, context).gram
        shares = gram.new_full((n,), 1 / n)
        along = gram @ shares
        away = distances_to(rows) if self.start == "origin" else _away(gram, shares, along)
        for number in range(self.iterations):
            pulls = away.clamp(min=self.nu).reciprocal()
            before, shares = (shares, along), pulls / pulls.sum()
            along = gram @ shares
            away = _away(gram, shares, along)
            # By how far the point has moved: shares of rows far away are small long before they are small enough.
            moved = ((shares - before[0]) @ (along - before[1])).clamp(min=0).sqrt()
            if number >= 3 and moved <= 1e-10 * away.median():
                break
        shares_ = shares.to(rows.dtype)
        kept = torch.ones(n, dtype=torch.bool, device=rows.device)
        return Aggregation(shares_ @ rows, shares_, kept, away)

    def work(self, n: int, d: int, f: int) -> float:
        # Some 50 steps until it has settled, unless few are asked for.
        return 2.0 * n * d + 2.0 * n * n * min(self.iterations, 50)


def _away(gram: torch.Tensor, shares: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """How far rows are from their mean with ``shares`` that sum to 1, ``along = gram @ shares``."""
    return (gram.diagonal() - 2 * along + shares @ along).clamp(min=0).sqrt()
