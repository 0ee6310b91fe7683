"""Smallest maximum eigenvalue averaging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import geometry
from decai_sim.defenses.subsets import check_subsets, subsets

if TYPE_CHECKING:
    import torch


class SMEA(Rule, kind="smea"):
    """The mean of the ``n - f`` updates that spread least in the direction in which they spread most.

    Of all subsets, the one whose covariance has the smallest largest eigenvalue.

    Source: Allouah, Guerraoui, Gupta, Pinot and Stephan, "On the Privacy-Robustness-Utility Trilemma in Distributed Learning",
        ICML 2023, Section 4 (SMEA).
    Assumes: at most ``f`` Byzantine rows, ``2f < n``, and few rows: it tries all ``C(n, f)`` subsets.
    Deviations: none; eigenvalues are exact, from the Gram matrix, where byzfl takes one step of power iteration from a random
        vector. Ties go to the subset with the lowest indices.
    Breaks down: with ``f + 1`` rows: no subset of ``n - f`` is without them.
    Costs: the Gram matrix, ``O(n²d)``, which one aggregation makes once for all its steps; ``O(C(n, f)·(n - f)³)`` for the
        subsets, for which more than a few rows are refused.

    Example:
        >>> import torch
        >>> SMEA(f=1)(torch.tensor([[1.0], [2.0], [9.0]])).tolist()
        [1.5]
    """

    distances: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n = len(rows)
        f = self.minority_f(n, context)
        check_subsets(self.kind, n, f)
        gram = geometry(rows, context).gram
        least, best = math.inf, torch.arange(n - f, device=rows.device)
        for chunk in subsets(n, f, max(1, 2**21 // (n - f) ** 2), rows.device):
            inside = gram[chunk[:, :, None], chunk[:, None, :]]
            inside = inside - inside.mean(dim=1, keepdim=True) - inside.mean(dim=2, keepdim=True) + inside.mean((1, 2), True)
            spread = torch.linalg.eigvalsh(inside)[:, -1].clamp(min=0)
            # Values that differ by rounding alone are ties.
            if spread.min() < least * (1 - 1e-12):
                least = float(spread.min())
                best = chunk[(spread <= least * (1 + 1e-12)).nonzero()[0, 0]]
        kept = torch.zeros(n, dtype=torch.bool, device=rows.device)
        kept[best] = True
        shares = kept.to(rows.dtype) / (n - f)
        return Aggregation(shares @ rows, shares, kept)

    def least_rows(self, f: int) -> int:
        return 2 * f + 1

    def work(self, n: int, d: int, f: int) -> float:
        return 2.0 * n * d + 4.0 * math.comb(n, f) * (n - f) ** 3
