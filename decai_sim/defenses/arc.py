"""Adaptive robust clipping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Context, Scaling, TooFewRowsError
from decai_sim.defenses.distances import distances_to

if TYPE_CHECKING:
    import torch


class ARC(Scaling, kind="arc"):
    """Shortens the ``⌊2f(n - f)/n⌋`` longest updates to the length of the next: a threshold that follows the rows.

    Source: Allouah, Guerraoui, Gupta, Jellouli, Rizk and Stephan, "Adaptive Gradient Clipping for Robust Federated Learning",
        ICLR 2025, Algorithm 2.
    Assumes: at most ``f`` Byzantine rows, ``2f < n``.
    Deviations: none. Of rows equally long, the lowest indices are taken for the shorter ones.
    Breaks down: with ``⌊2f(n - f)/n⌋ + 1`` long rows, the shortest of which sets the length.
    Costs: ``O(nd)`` for the norms, and ``n log n`` to sort them; no distances.

    Example:
        >>> import torch
        >>> [round(x, 4) for x in ARC(f=1)(torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]))[2].tolist()]
        [4.41, 5.04, 5.6701]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def factors(self, rows: torch.Tensor, context: Context | None) -> torch.Tensor:
        import torch

        n = len(rows)
        f = self.assumed_f(context)
        if f >= n:
            raise TooFewRowsError(f"arc.f: {f} is not allowed with {n} rows: choose at most {n - 1}, so that f < n")
        clipped = 2 * f * (n - f) // n
        norms = distances_to(rows)
        order = norms.argsort(stable=True)
        longest = order[n - clipped :]
        factors = torch.ones_like(norms)
        if clipped:
            # Where f is beyond the half, all rows may be among them: then none is shortened below the shortest.
            limit = norms[order[max(0, n - clipped - 1)]]
            factors[longest] = (limit / norms[longest]).nan_to_num(nan=1.0).clamp(max=1)
        return factors

    def least_rows(self, f: int) -> int:
        return f + 1
