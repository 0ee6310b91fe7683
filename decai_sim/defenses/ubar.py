"""UBAR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, TooFewRowsError
from decai_sim.defenses.distances import distances_to
from decai_sim.defenses.peer import PeerRule

if TYPE_CHECKING:
    import torch


class UBAR(PeerRule, kind="ubar"):
    """Of the ``n - f`` nearest neighbours, averages those whose models do no worse on the own data, and goes part of the way.

    ``α x + (1 - α) mean(chosen)``; if none does as well as the own model, the best of them alone is chosen.

    Source: Guo, Zhang, Yu, Xie, Ma, Xiang and Liu, "Byzantine-Resilient Decentralized Stochastic Gradient Descent", IEEE TCSVT
        2021, Algorithm 1 (distance-based, then performance-based selection; ``ρ_i`` our ``1 - f/n``).
    Assumes: at least one honest neighbour; own data good enough to tell bad models (``context.loss``, of the rows as they are).
        Any number of attackers that ``f`` allows for.
    Deviations: the loss is on what the context has, where the paper draws one sample. A loss that is not a number is the worst.
    Breaks down: with no honest neighbour among the ``n - f`` nearest: if none does as well as the own model, the best of them is
        followed all the same.
    Costs: ``O(nd)``, and ``n - f + 1`` losses on the own samples; nothing shared.

    ``explain(...).scores`` are how much worse than the own a neighbour's loss is; infinite for those too far away.

    Attributes:
        alpha: ``α``, how much stays of the own model.

    Example:
        >>> import torch
        >>> def loss(rows):
        ...     return (rows - 1).square().sum(dim=1)
        >>> about = Context(own=torch.tensor([0.0]), loss=loss)
        >>> UBAR(f=1)(torch.tensor([[1.0], [-1.0], [50.0]]), about).tolist()
        [0.5]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"own", "loss"})
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0, "alpha": 0}, {})

    alpha: float = Field(default=0.5, ge=0, le=1)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        context = self.given(context)
        assert context.loss is not None
        own = self.own(rows, context)
        n = len(rows)
        f = self.assumed_f(context)
        if f >= n:
            raise TooFewRowsError(f"ubar.f: {f} is not allowed with {n} rows: choose at most {n - 1}, so that f < n")
        near = distances_to(rows, own).argsort(stable=True)[: n - f].sort().values
        losses = context.loss(rows[near]).double().to(rows.device).nan_to_num(nan=float("inf"), posinf=float("inf"))
        mine = context.loss(own[None]).double().to(rows.device)
        good = losses <= mine
        if not bool(good.any()):
            good[int((losses == losses.min()).nonzero()[0])] = True
        weights = rows.new_zeros(n, dtype=torch.float64)
        weights[near[good]] = (1 - self.alpha) / int(good.sum())
        scores = torch.full_like(weights, float("inf"))
        scores[near] = (losses - mine).nan_to_num(nan=float("inf"), posinf=float("inf"))
        return self.leaning(rows, own, weights, scores)

    def work(self, n: int, d: int, f: int) -> float:
        return 5.0 * n * d

    def tests(self, n: int, f: int | None = None) -> int:
        """Of the nearest neighbours, and of the own."""
        return max(0, n - ((f if self.f is None else self.f) or 0)) + 1
