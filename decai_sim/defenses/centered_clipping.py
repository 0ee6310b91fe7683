"""Centered clipping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import distances_to

if TYPE_CHECKING:
    import torch


class CenteredClipping(Rule):
    """Goes from the last aggregate to each update, no further than ``τ``: ``v ← v + mean (x_i - v)·min(1, τ/|x_i - v|)``.

    Source: Karimireddy, He and Jaggi, "Learning from History for Byzantine Robust Optimization", ICML 2021, Section 4.1,
        Algorithm 2.
    Assumes: the last aggregate is near the honest rows, as with worker momentum; ``f`` is not used. One attacker moves the
        result by at most ``τ/n`` an iteration, so any number moves it at most ``τ``.
    Deviations: starts from ``context.previous``, or from zeros in the first round. The default of ``tau`` is byzfl's.
    Breaks down: not by number in one round: ``b`` attackers move the result by at most ``τ·b/n`` an iteration. As each starts
        from the last, that adds up from round to round.
    Costs: ``O(nd)`` an iteration; no distances between rows.

    Attributes:
        tau: ``τ``, in units of the rows.
        iterations: how many times ``v`` moves.

    ``explain(...).scores`` are the distances from where it started; what weights lack to 1 is the previous aggregate's.

    Example:
        >>> import torch
        >>> CenteredClipping(tau=1)(torch.tensor([[1.0, 0], [0, 0.5], [0, 100]])).tolist()
        [0.3333333432674408, 0.5]
    """

    rest: ClassVar[str | None] = "previous"
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"tau": 1, "iterations": 3})

    tau: float = Field(default=100.0, gt=0)
    iterations: int = Field(default=1, ge=1)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n = len(rows)
        previous = context.previous if context is not None else None
        start = torch.zeros_like(rows[0]) if previous is None else previous.to(rows)
        value, weights, scores = start, rows.new_zeros(n, dtype=torch.float64), None
        for _ in range(self.iterations):
            away = distances_to(rows, value)
            scores = away if scores is None else scores
            shares = (self.tau / away.clamp(min=self.tau)) / n
            value = value + shares.to(rows.dtype) @ rows - shares.sum().to(rows.dtype) * value
            weights = (1 - shares.sum()) * weights + shares
        return Aggregation(value, weights.to(rows.dtype), torch.ones(n, dtype=torch.bool, device=rows.device), scores)

    def work(self, n: int, d: int, f: int) -> float:
        return 5.0 * n * d * self.iterations
