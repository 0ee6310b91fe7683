"""The plain mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule

if TYPE_CHECKING:
    import torch


class Mean(Rule):
    """The plain mean of the updates, ``Σ p_i x_i``: no defense, and what every defense is compared with.

    Source: McMahan et al., AISTATS 2017, Algorithm 1 (FedAvg), server update; ``p_i = n_i/Σn_j`` if ``weighted``.
    Assumes: no Byzantine rows; one suffices to move the result anywhere. ``f`` is not used.
    Deviations: unweighted (``p_i = 1/n``) unless asked, since a sample count is the sender's own claim. If all counts are 0,
        nobody trained and the unweighted mean is taken. NaN and infinity pass through.
    Breaks down: with one.
    Costs: ``O(nd)``; what the work of others is compared with.

    Attributes:
        weighted: weigh rows by ``context.num_examples`` (samples).

    Example:
        >>> import torch
        >>> Mean()(torch.tensor([[1.0, 2.0], [3.0, 6.0]])).tolist()
        [2.0, 4.0]
        >>> Mean(weighted=True)(torch.tensor([[1.0], [3.0]]), Context(num_examples=torch.tensor([3, 1]))).tolist()
        [1.5]
    """

    robust: ClassVar[bool] = False
    weighted: bool = False

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        n = len(rows)
        kept = torch.ones(n, dtype=torch.bool, device=rows.device)
        shares = rows.new_full((n,), 1 / n)
        if not self.weighted:
            return Aggregation(rows.mean(dim=0), shares, kept)
        counts = context.num_examples if context is not None else None
        if counts is None:
            raise ValueError("context.num_examples: None is not allowed with mean.weighted: give one count per row")
        counts = counts.to(device=rows.device, dtype=torch.float64)
        if counts.shape != (n,) or not bool((counts.isfinite() & (counts >= 0)).all()):
            raise ValueError(
                f"context.num_examples: {counts.tolist()} is not allowed: give {n} counts, one per row, each 0 or more"
            )
        if bool(counts.any()):
            shares = (counts / counts.sum()).to(rows.dtype)
        return Aggregation(shares @ rows, shares, kept)
