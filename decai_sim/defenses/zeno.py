"""Zeno."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule, TooFewRowsError
from decai_sim.defenses.distances import distances_to

if TYPE_CHECKING:
    import torch


class Zeno(Rule):
    """Averages the ``n - f`` updates that lower the loss on the aggregator's own data most: ``loss(0) - loss(x) - ρ|x|²``.

    Source: Xie, Koyejo and Gupta, "Zeno: Distributed Stochastic Gradient Descent with Suspicion-based Fault-tolerance",
        ICML 2019, Definitions 2 and 3 (stochastic descendant score; suspicion-based aggregation, ``b`` our ``f``).
    Assumes: an aggregator with some clean data (``context.loss``), and at least one honest row.
    Deviations: rows are updates, learning rate included, so ``ρ`` is the paper's over the learning rate squared. A loss that is
        not a number is the worst. Ties go to the lowest index.
    Breaks down: with ``f + 1`` rows, as one of them is then always averaged, however bad its score.
    Costs: ``O(nd)``, and ``n + 1`` losses on the aggregator's own samples; no distances.

    ``explain(...).scores`` are the scores above, negated: higher is worse.

    Attributes:
        rho: ``ρ``, how much long updates are held against their senders.

    Example:
        >>> import torch
        >>> def loss(rows):
        ...     return (rows - 1).square().sum(dim=1)
        >>> Zeno(f=1)(torch.tensor([[1.0], [0.5], [-3]]), Context(loss=loss)).tolist()
        [0.75]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"loss"})
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0, "rho": 0.1}, {})

    rho: float = Field(default=0.0005, ge=0)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        loss = self.given(context).loss
        assert loss is not None
        n = len(rows)
        f = self.assumed_f(context)
        if f >= n:
            raise TooFewRowsError(f"zeno.f: {f} is not allowed with {n} rows: choose at most {n - 1}, so that f < n")
        now = loss(torch.zeros_like(rows[:1])).double().to(rows.device)
        scores = loss(rows).double().to(rows.device) - now + self.rho * distances_to(rows).square()
        scores = scores.nan_to_num(nan=float("inf"), posinf=float("inf"), neginf=-float("inf"))
        kept = torch.zeros(n, dtype=torch.bool, device=rows.device)
        kept[scores.argsort(stable=True)[: n - f]] = True
        shares = kept.to(rows.dtype) / (n - f)
        return Aggregation(shares @ rows, shares, kept, scores)

    def least_rows(self, f: int) -> int:
        return f + 1

    def work(self, n: int, d: int, f: int) -> float:
        return 4.0 * n * d
