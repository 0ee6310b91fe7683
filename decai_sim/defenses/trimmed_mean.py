"""The coordinate-wise trimmed mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.columns import by_columns, sorting_work, trimmed

if TYPE_CHECKING:
    import torch


class TrimmedMean(Rule):
    """In each coordinate of the updates, the mean without the ``f`` lowest and the ``f`` highest values.

    Source: Yin et al., ICML 2018, Definition 2 (coordinate-wise trimmed mean).
    Assumes: at most ``f`` Byzantine rows, ``2f < n``; honest values of a coordinate are alike (i.i.d. data).
    Deviations: trims by count ``f`` rather than by a share ``β``, as byzfl and Allouah et al. (AISTATS 2023) do.
    Breaks down: with ``f + 1`` rows on one side of the honest.
    Costs: ``O(nd log n)``, to sort each coordinate; no distances.

    Example:
        >>> import torch
        >>> TrimmedMean(f=1)(torch.tensor([[1.0, 2, 3], [-1, 4, -1], [2, 2, 3], [3, 1, 3]])).tolist()
        [1.5, 2.0, 3.0]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        f = self.minority_f(len(rows), context)
        kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        return Aggregation(by_columns(rows, lambda ordered: trimmed(ordered, f)), None, kept)

    def least_rows(self, f: int) -> int:
        return 2 * f + 1

    def work(self, n: int, d: int, f: int) -> float:
        return sorting_work(n, d)
