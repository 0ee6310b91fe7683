"""Layers that PyTorch has not, of which models are built. They may be vectorised over models, and have no buffers."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


class ChannelsFirst(nn.Module):
    """``(…, height, width, colours)`` as ``(…, colours, height, width)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same numbers in another order."""
        return x.movedim(-1, -3)


class ResidualBlock(nn.Module):
    """``relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))``, with group normalisation (He et al. 2016, figure 2; Wu & He 2018).

    Args:
        channels: of what comes in.
        out: channels of what goes out.
        groups: of the normalisations.
        stride: of the first convolution.
    """

    def __init__(self, channels: int, out: int, groups: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, out)
        self.stride, self.more = stride, out - channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, height, width)`` to ``(batch, out, height / stride, width / stride)``."""
        h = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        short = x[..., :: self.stride, :: self.stride]
        if self.more:  # zeros for the channels that came in addition
            short = F.pad(short, (0, 0, 0, 0, 0, self.more))
        out: torch.Tensor = (h + short).relu()
        return out


class Embedding(nn.Module):
    """``(batch, length)`` tokens as ``(batch, length, width)``: what each is, plus where it is.

    Args:
        length: of a sequence.
        vocabulary: number of tokens.
        width: of the representation.
    """

    def __init__(self, length: int, vocabulary: int, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.empty(length, width))
        # As GPT-2 begins; beside PyTorch's N(0, 1), what attention adds would count for little.
        nn.init.normal_(self.token.weight, std=0.02)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The sum of both embeddings."""
        embedded: torch.Tensor = self.token(tokens) + self.position
        return embedded


class AttentionBlock(nn.Module):
    """Attention to what came before, then a dense layer of four times the width; both are added to what comes in.

    Products of matrices are written out, since fused attention kernels cannot be vectorised over models.

    Args:
        width: of the representation.
        heads: of the attention.
        last: whether only the last position is wanted; the others are then not computed.
    """

    def __init__(self, width: int, heads: int, *, last: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.heads, self.last = heads, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, length, width)`` to the same, or to ``(batch, width)`` of the last position."""
        h = self.norm1(x)
        key, value = (self._split(part) for part in (self.key(h), self.value(h)))
        if self.last:  # which may look at all others
            x, h = x[..., -1:, :], h[..., -1:, :]
        query = self._split(self.query(h))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if not self.last:
            length = h.shape[-2]
            later = torch.ones(length, length, dtype=torch.bool, device=h.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        heard = (scores.softmax(-1) @ value).transpose(-2, -3).flatten(-2)
        x = x + self.out(heard)
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return x[..., 0, :] if self.last else x

    def _split(self, h: torch.Tensor) -> torch.Tensor:
        """``(…, length, width)`` as ``(…, heads, length, width / heads)``."""
        return h.view(*h.shape[:-1], self.heads, -1).transpose(-2, -3)
