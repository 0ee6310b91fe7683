"""Krum: the row whose neighbours are nearest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import squared_distances

if TYPE_CHECKING:
    import torch


class Krum(Rule):
    """Follows the one update most like the others: lowest sum of squared distances to its ``n - f - 2`` nearest.

    Source: Blanchard et al., NeurIPS 2017, Section 4 (score ``s(i) = Σ_{i→j} |x_i - x_j|²``, lowest wins).
    Assumes: at most ``f`` Byzantine rows, ``2f + 2 < n`` for the paper's guarantee; honest rows are alike (i.i.d. data).
    Deviations: ``max(1, n - f - 2)`` neighbours, so that ``2f < n`` rows are enough to run, though not to be safe: with
        ``n = 2f + 1`` there are ``f - 1`` neighbours and ``f`` equal rows of the attackers win. Ties go to the lowest index.
        byzfl sums over ``n - f - 1`` others: its ``Krum(f + 1)`` is this ``Krum(f)``.
    Breaks down: with ``n - f - 1`` equal rows, whose score is 0, or with half of all. Fewer can still be off by the order of
        ``√d`` in one coordinate without standing out (El Mhamdi et al., ICML 2018).
    Costs: the Gram matrix, ``O(n²d)``, which one aggregation makes once for all its steps; ``O(n² log n)`` to sort distances.

    ``explain(...).scores`` are the scores above, in squared units of the rows, float64.

    Example:
        >>> import torch
        >>> Krum(f=1)(torch.tensor([[0.0], [0.1], [0.3], [9.0], [0.2]])).tolist()
        [0.10000000149011612]
    """

    distances: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n = len(rows)
        scores = krum_scores(squared_distances(rows, context), self.minority_f(n, context))
        # min() may return any of several equal minima; nonzero() is in order of index.
        chosen = int((scores == scores.min()).nonzero()[0])
        kept = torch.zeros(n, dtype=torch.bool, device=rows.device)
        kept[chosen] = True
        return Aggregation(rows[chosen].clone(), kept.to(rows.dtype), kept, scores)

    def least_rows(self, f: int) -> int:
        return 2 * f + 1

    def work(self, n: int, d: int, f: int) -> float:
        return n * n * math.log2(n + 1)


def krum_scores(squared: torch.Tensor, f: int) -> torch.Tensor:
    """Each row's sum of squared distances to its ``max(1, n - f - 2)`` nearest others, from all ``squared (n, n)``."""
    n = len(squared)
    neighbours = min(max(1, n - f - 2), n - 1)
    # Masking the diagonal, instead of skipping the smallest entry, keeps duplicates of a row among its neighbours.
    return squared.clone().fill_diagonal_(float("inf")).sort(dim=1).values[:, :neighbours].sum(dim=1)
