"""Bulyan: Krum again and again, then the middle of each coordinate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule, TooFewRowsError
from decai_sim.defenses.columns import by_columns, near_median, sorting_work
from decai_sim.defenses.distances import squared_distances
from decai_sim.defenses.krum import krum_scores

if TYPE_CHECKING:
    import torch


class Bulyan(Rule):
    """Picks ``θ = n - 2f`` updates with Krum, one by one, then averages in each coordinate the ``θ - 2f`` nearest the median.

    Source: El Mhamdi, Guerraoui and Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML 2018,
        Section 4 (both steps) and Theorem 2 (``n ≥ 4f + 3``).
    Assumes: at most ``f`` Byzantine rows, ``n ≥ 4f + 3``; honest rows are alike.
    Deviations: none: each pick is Krum's among the rows that are left, over ``max(1, n' - f - 2)`` neighbours of those ``n'``.
        Where few neighbours count, two rows that are each other's nearest tie: then the one with the lower sum over all rows that
        are left is picked, then the lower index. Flower picks all ``θ`` by their first scores.
    Breaks down: with more than ``f`` rows how far it goes is not known; ``f`` can be no more than ``⌊(n - 3)/4⌋`` (Theorem 2).
    Costs: the Gram matrix, ``O(n²d)``, which one aggregation makes once for all its steps; ``O(n²(n - 2f))`` to pick;
        ``O(nd log n)`` to sort each coordinate of those picked.

    ``explain(...).kept`` are the ``θ``; scores are those of the first pick.

    Example:
        >>> import torch
        >>> Bulyan(f=1)(torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [90.0]])).tolist()
        [3.0]
    """

    distances: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n = len(rows)
        f = self.assumed_f(context)
        if n < 4 * f + 3 and f > 0:
            raise TooFewRowsError(
                f"bulyan.f: {f} is not allowed with {n} rows: choose at most {max(0, (n - 3) // 4)}, so that 4f + 3 <= n"
            )
        squared = squared_distances(rows, context)
        kept = torch.zeros(n, dtype=torch.bool, device=rows.device)
        kept[_pick(squared, f, n - 2 * f)] = True
        chosen = rows[kept]
        count = len(chosen) - 2 * f
        value = by_columns(chosen, lambda ordered: near_median(ordered, count))
        return Aggregation(value, None, kept, krum_scores(squared, f))

    def least_rows(self, f: int) -> int:
        return 4 * f + 3 if f else 1

    def work(self, n: int, d: int, f: int) -> float:
        theta = max(1, n - 2 * f)
        return sorting_work(theta, d) + 4.0 * theta * d + 3.0 * theta * n * n


def _pick(squared: torch.Tensor, f: int, count: int) -> list[int]:
    """The rows that Krum picks one after the other, each taken away before the next."""
    import torch

    n = len(squared)
    # Sorted once; what is taken away later is masked. A row's own entry comes last, and never counts.
    ordered, places = squared.clone().fill_diagonal_(float("inf")).sort(dim=1)
    there = torch.ones(n, n, dtype=torch.bool, device=squared.device)
    left = torch.arange(n, device=squared.device)
    chosen: list[int] = []
    for remaining in range(n, n - count, -1):
        neighbours = min(max(1, remaining - f - 2), remaining - 1)
        nearest = there & (there.cumsum(dim=1, dtype=torch.int32) <= neighbours)
        scores = ordered.where(nearest, 0).sum(dim=1)
        everywhere = ordered.where(there & ordered.isfinite(), 0).sum(dim=1).where(scores == scores.min(), float("inf"))
        best = int((everywhere == everywhere.min()).nonzero()[0])
        row = int(left[best])
        chosen.append(row)
        rest = torch.arange(len(left), device=squared.device) != best
        ordered, places, left = ordered[rest], places[rest], left[rest]
        there = there[rest] & (places != row)
    return chosen
