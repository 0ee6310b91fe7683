"""Multi-Krum: the mean of the rows with the nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule, TooFewRowsError
from decai_sim.defenses.distances import squared_distances
from decai_sim.defenses.krum import krum_scores

if TYPE_CHECKING:
    import torch


class MultiKrum(Rule):
    """The mean of the ``m`` updates with the best scores of Krum: as wary, with less noise.

    Source: Blanchard et al., NeurIPS 2017, Section 4 (scores) and Section 7 (Multi-Krum).
    Assumes: as Krum.
    Deviations: scores as in :class:`~decai_sim.defenses.Krum`, over ``max(1, n - f - 2)`` neighbours, where byzfl has
        ``n - f - 1`` and takes ``n - f`` rows. ``m`` is ``n - f`` if not given, so that all honest rows may count; the paper
        leaves it open. Flower weighs what it keeps by sample counts. Ties go to the lowest index.
    Breaks down: with ``f + 1`` rows where ``m`` is ``n - f``, as one of them is then always averaged; with fewer as Krum, if
        ``n - f - 1`` are equal.
    Costs: the Gram matrix, ``O(n²d)``, which one aggregation makes once for all its steps; ``O(n² log n)`` to sort distances.

    Attributes:
        m: how many are averaged; None: ``n - f``.

    Example:
        >>> import torch
        >>> MultiKrum(f=1)(torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])).tolist()
        [2.5, 3.5, 4.5]
    """

    distances: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 1, "m": 3}, {})

    m: int | None = Field(default=None, ge=1)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n = len(rows)
        f = self.minority_f(n, context)
        count = n - f if self.m is None else self.m
        if count > n:
            raise TooFewRowsError(f"multi_krum.m: {count} is not allowed with {n} rows: choose at most {n}")
        scores = krum_scores(squared_distances(rows, context), f)
        kept = torch.zeros(n, dtype=torch.bool, device=rows.device)
        kept[scores.argsort(stable=True)[:count]] = True
        shares = kept.to(rows.dtype) / count
        return Aggregation(shares @ rows, shares, kept, scores)

    def least_rows(self, f: int) -> int:
        return max(2 * f + 1, self.m or 1)

    def work(self, n: int, d: int, f: int) -> float:
        return 2.0 * n * d + n * n * math.log2(n + 1)
