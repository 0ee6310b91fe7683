"""The coordinate-wise median."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.columns import by_columns, sorting_work, trimmed

if TYPE_CHECKING:
    import torch


class Median(Rule):
    """In each coordinate of the updates, the middle value.

    Source: Yin et al., ICML 2018, Definition 1 (coordinate-wise median).
    Assumes: fewer than half of the rows are Byzantine; honest values of a coordinate are alike. ``f`` is not used.
    Deviations: none. With an even number of rows, the mean of the two middle values (as NumPy; torch takes the lower).
    Breaks down: with half of the rows.
    Costs: ``O(nd log n)``, to sort each coordinate; no distances.

    Example:
        >>> import torch
        >>> Median()(torch.tensor([[1.0, 2, 3], [-1, 4, -1], [2, 2, 3], [3, 1, 3]])).tolist()
        [1.5, 2.0, 3.0]
    """

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        f = (len(rows) - 1) // 2
        kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        return Aggregation(by_columns(rows, lambda ordered: trimmed(ordered, f)), None, kept)

    def work(self, n: int, d: int, f: int) -> float:
        return sorting_work(n, d)
