"""Softmax regression."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from decai_sim.learning.models.mlp import MLP


class Softmax(MLP):
    """Softmax (multinomial logistic) regression: one linear layer.

    Source: McMahan et al. (AISTATS 2017) call it a convex baseline; any statistics textbook.
    Assumes: classes are linearly separable to a useful degree.
    Deviations: none.

    Example:
        >>> import torch
        >>> sum(p.numel() for p in Softmax().module((28, 28), 10, torch.Generator()).parameters())
        7850
    """

    hidden: tuple[PositiveInt, ...] = Field(default=(), max_length=0)
