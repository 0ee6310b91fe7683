"""Transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt, model_validator

from decai_sim.errors import ScenarioError
from decai_sim.learning.models.base import Model

if TYPE_CHECKING:
    from torch import nn


class Transformer(Model):
    """A small causal transformer: reads tokens and predicts what comes after the last of them.

    Source: Vaswani et al., "Attention is all you need" (NeurIPS 2017); learned positions and normalisation before each part of a
    block as in Radford et al., "Language models are unsupervised multitask learners" (2019), section 2.3.
    Assumes: inputs are ``(length,)`` numbers of tokens, of which there are ``vocabulary``.
    Deviations: no dropout, so that training draws nothing; the output layer has weights of its own; only the last position is
    read, so the last block computes only that one.

    Attributes:
        n_layers: number of blocks.
        width: of the representation; a multiple of ``heads``.
        heads: of each attention.
        vocabulary: number of tokens; None: as many as there are classes, for tasks that predict the next token.

    Example:
        >>> import torch
        >>> net = Transformer(n_layers=1, width=16, heads=2).module((80,), 72, torch.Generator())
        >>> net(torch.zeros(3, 80, dtype=torch.long)).shape
        torch.Size([3, 72])
    """

    examples = ({}, {"n_layers": 1, "width": 6, "heads": 3, "vocabulary": 20})
    tokens = True

    n_layers: PositiveInt = 2
    width: PositiveInt = 64
    heads: PositiveInt = 4
    vocabulary: PositiveInt | None = None

    @model_validator(mode="after")
    def _heads_divide(self) -> Transformer:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Embeddings, blocks, one normalisation and one linear layer."""
        from torch import nn

        from decai_sim.learning.layers import AttentionBlock, Embedding

        if len(shape) != 1:
            raise ScenarioError(
                f"task.model: 'transformer' is not allowed: it takes sequences, and the task's inputs have the shape "
                f"{tuple(shape)}"
            )
        blocks = [AttentionBlock(self.width, self.heads, last=number == self.n_layers - 1) for number in range(self.n_layers)]
        return nn.Sequential(
            Embedding(shape[0], self.vocabulary or classes, self.width),
            *blocks,
            nn.LayerNorm(self.width),
            nn.Linear(self.width, classes),
        )
