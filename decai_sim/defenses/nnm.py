"""Nearest-neighbour mixing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.defenses.base import Context, Mixing, TooFewRowsError
from decai_sim.defenses.distances import squared_distances

if TYPE_CHECKING:
    import torch


class NNM(Mixing, kind="nnm"):
    """Each update becomes the mean of the ``n - f`` most like it: honest ones grow alike before a rule sees them.

    Source: Allouah et al., AISTATS 2023, Algorithm 2 (nearest-neighbor mixing).
    Assumes: at most ``f`` Byzantine rows, ``2f < n`` for the paper's guarantee (a rule that is (f, κ)-robust becomes
        (f, 8f/(n - f)·(1 + κ))-robust); helps where honest data differ, though not where they share nothing.
    Deviations: none. ``f < n`` is enough to run; ties go to the lowest index.
    Breaks down: with ``f + 1`` rows, when all mixed rows hold one of theirs; before that where the rule after it does.
    Costs: the Gram matrix, ``O(n²d)``, which one aggregation makes once for all its steps; ``O(n²d)`` to mix, after which
        distances are had for ``O(n³)``.

    Example:
        >>> import torch
        >>> NNM(f=1)(torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])).tolist()
        [[2.5, 3.5, 4.5], [2.5, 3.5, 4.5], [5.5, 6.5, 7.5]]
    """

    distances: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0}, {})

    def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The matrix with ``1/(n - f)`` at each row's nearest rows; see :meth:`Mixing.mixing`."""
        n = len(updates)
        f = self.assumed_f(context)
        if f >= n:
            raise TooFewRowsError(f"nnm.f: {f} is not allowed with {n} rows: choose at most {n - 1}, so that f < n")
        # -1 puts a row first among its own neighbours even where another row equals it.
        order = squared_distances(updates, context).clone().fill_diagonal_(-1).argsort(dim=1, stable=True)
        matrix = updates.new_zeros(n, n)
        return matrix.scatter_(1, order[:, : n - f], 1 / (n - f))

    def least_rows(self, f: int) -> int:
        return f + 1
