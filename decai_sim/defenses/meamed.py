"""The mean around the median."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.columns import by_columns, near_median, sorting_work

if TYPE_CHECKING:
    import torch


class Meamed(Rule):
    """In each coordinate of the updates, the mean of the ``n - f`` values nearest to the median.

    Source: Xie, Koyejo and Gupta, "Generalized Byzantine-tolerant SGD", arXiv:1802.10116, Section 3.3 (mean around median).
    Assumes: at most ``f`` Byzantine rows, ``2f < n``; honest values of a coordinate are alike.
    Deviations: none. The median of an even number is the mean of the middle two; of two values equally near, the lower one is
        taken, where byzfl takes either.
    Breaks down: with ``f + 1`` rows: one of their values is then among the ``n - f``.
    Costs: ``O(nd log n)``, to sort each coordinate; no distances.

    Example:
        >>> import torch
        >>> Meamed(f=1)(torch.tensor([[1.0], [2.0], [3.0], [9.0]])).tolist()
        [2.0]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        count = len(rows) - self.minority_f(len(rows), context)
        kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        return Aggregation(by_columns(rows, lambda ordered: near_median(ordered, count)), None, kept)

    def least_rows(self, f: int) -> int:
        return 2 * f + 1

    def work(self, n: int, d: int, f: int) -> float:
        return sorting_work(n, d) + 4.0 * n * d
