"""Minimum diameter averaging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import squared_distances
from decai_sim.defenses.subsets import check_subsets, subsets

if TYPE_CHECKING:
    import torch


class MDA(Rule, kind="mda"):
    """The mean of the ``n - f`` updates whose two furthest are nearest to one another: of all subsets, the narrowest.

    Source: El Mhamdi, Guerraoui and Rouault, "Distributed Momentum for Byzantine-resilient SGD", ICLR 2021, Section 2 (MDA);
        after Rousseeuw, "Multivariate estimation with high breakdown point", 1985.
    Assumes: at most ``f`` Byzantine rows, ``2f < n``, and few rows: it tries all ``C(n, f)`` subsets.
    Deviations: none. Subsets are often equally wide, as they share their two furthest rows: of these, the one whose squared
        distances sum to the least, then the one with the lowest indices.
    Breaks down: with ``f + 1`` rows: no subset of ``n - f`` is without them.
    Costs: the Gram matrix, ``O(n²d)``, which one aggregation makes once for all its steps; ``O(C(n, f)·(n - f)²)`` for the
        subsets, for which more than a few rows are refused.

    Example:
        >>> import torch
        >>> MDA(f=1)(torch.tensor([[1.0], [2.0], [9.0]])).tolist()
        [1.5]
    """

    distances: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n = len(rows)
        f = self.minority_f(n, context)
        check_subsets(self.kind, n, f)
        squared = squared_distances(rows, context)
        least, best = (math.inf, math.inf), torch.arange(n - f, device=rows.device)
        for chunk in subsets(n, f, max(1, 2**22 // (n - f) ** 2), rows.device):
            inside = squared[chunk[:, :, None], chunk[:, None, :]]
            widths = inside.amax(dim=(1, 2))
            sums = inside.sum(dim=(1, 2)).where(widths == widths.min(), math.inf)
            found = (float(widths.min()), float(sums.min()))
            if found < least:
                least = found
                best = chunk[(sums == sums.min()).nonzero()[0, 0]]
        kept = torch.zeros(n, dtype=torch.bool, device=rows.device)
        kept[best] = True
        shares = kept.to(rows.dtype) / (n - f)
        return Aggregation(shares @ rows, shares, kept)

    def least_rows(self, f: int) -> int:
        return 2 * f + 1

    def work(self, n: int, d: int, f: int) -> float:
        return 2.0 * n * d + float(math.comb(n, f)) * (n - f) ** 2
