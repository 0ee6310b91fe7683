"""Divide and conquer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule, TooFewRowsError
from decai_sim.defenses.distances import geometry, gram_flops

if TYPE_CHECKING:
    import torch


class DnC(Rule, kind="dnc"):
    """Leaves out the updates that stick out furthest in the direction in which all vary most, and averages the others.

    On some coordinates drawn at random, rows less their mean are projected on the top right singular vector; those with the
    ``c·f`` largest squares are left out. Kept is who was left in every time.

    Source: Shejwalkar and Houmansadr, "Manipulating the Byzantine", NDSS 2021, Algorithm 2 (DnC).
    Assumes: at most ``f`` Byzantine rows, ``c·f < n``, who pull in a common direction; honest rows are alike.
    Deviations: where nobody was left in every time, the ``n - c·f`` who were left out least often are kept. Singular vectors come
        from the ``n × n`` Gram matrix.
    Breaks down: with more than ``c·f`` rows; with fewer, where they stick out no more than honest rows do.
    Costs: ``O(n²·min(d, coordinates) + n³)`` a draw, for the products of what is drawn and their singular vector. If no more
        coordinates than that are there, the products are those that one aggregation makes once for all its steps.

    ``explain(...).scores`` are the squared projections, summed over the draws.

    Attributes:
        iterations: how many times coordinates are drawn.
        coordinates: how many; all, if there are no more.
        c: how many rows are left out for each of ``f``.

    Example:
        >>> import torch
        >>> DnC(f=1)(torch.tensor([[1.0, 0], [0, 1], [1, 1], [50, 50]])).tolist()
        [0.6666666865348816, 0.6666666865348816]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 1, "iterations": 3, "coordinates": 5}, {})

    iterations: int = Field(default=1, ge=1)
    coordinates: int = Field(default=10_000, ge=1)
    c: float = Field(default=1.0, gt=0)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n, d = rows.shape
        out = round(self.c * self.minority_f(n, context))
        if out >= n:
            raise TooFewRowsError(f"dnc.c: {self.c:g} is not allowed with {n} rows: c·f is {out}, choose it below {n}")
        context = context or Context()
        generator = context.draws()
        scores = rows.new_zeros(n, dtype=torch.float64)
        votes = torch.zeros(n, dtype=torch.long, device=rows.device)
        for _ in range(self.iterations):
            drawn = rows
            if self.coordinates < d:
                places = torch.randperm(d, generator=generator, device=generator.device)[: self.coordinates]
                drawn = rows[:, places.to(rows.device)]
            found = _projections(geometry(drawn, context if drawn is rows else None).gram)
            scores += found
            votes[found.argsort(stable=True)[: n - out]] += 1
        kept = votes == self.iterations
        if not kept.any():
            kept[(-votes).argsort(stable=True)[: n - out]] = True
        shares = kept.to(rows.dtype) / kept.sum()
        return Aggregation(shares @ rows, shares, kept, scores)

    def least_rows(self, f: int) -> int:
        return max(2 * f, round(self.c * f)) + 1

    def work(self, n: int, d: int, f: int) -> float:
        drawn = gram_flops(n, self.coordinates) if self.coordinates < d else 0.0
        return 2.0 * n * d + self.iterations * (drawn + 9.0 * n**3)

    def compares(self, d: int) -> bool:
        """Only where there are no more coordinates than it draws: these then are those of the rows themselves."""
        return d <= self.coordinates


def _projections(gram: torch.Tensor) -> torch.Tensor:
    """Squares of rows less their mean along their top right singular vector, from their products about any point."""
    import torch

    centred = gram - gram.mean(dim=0) - gram.mean(dim=1, keepdim=True) + gram.mean()
    values, vectors = torch.linalg.eigh((centred + centred.T) / 2)
    squares: torch.Tensor = values[-1].clamp(min=0) * vectors[:, -1].square()
    return squares
