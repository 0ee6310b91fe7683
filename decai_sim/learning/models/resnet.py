"""Residual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt, model_validator

from decai_sim.learning.models.base import Model
from decai_sim.learning.models.images import channels_first, image_shape

if TYPE_CHECKING:
    from torch import nn


class ResNet(Model, kind="resnet"):
    """A small residual network for small images, normalised over groups of channels instead of over the batch.

    Batch normalisation keeps statistics of the batches it has seen; those of nodes with different data do not average well, and
    a model would be more than its parameters. Group normalisation computes its statistics within each sample.

    Source: He, Zhang, Ren & Sun, "Deep residual learning for image recognition" (CVPR 2016), section 4.2: 6n + 2 layers in three
    stages of ``width``, 2·``width`` and 4·``width`` channels, shortcuts without parameters (option A); Wu & He, "Group
    normalization" (ECCV 2018); Hsieh et al., "The non-IID data quagmire of decentralized machine learning" (ICML 2020), which
    finds that group normalisation recovers much of the accuracy that batch normalisation loses on skewed labels.
    Assumes: inputs are images ``(height, width)`` or ``(height, width, colours)`` of at least 4 x 4 pixels.
    Deviations: group normalisation; parameters start as PyTorch draws them; no augmentation.

    Attributes:
        depth: number of layers with weights: 8, 14 or 20.
        width: channels of the first stage; 16 in the source.
        groups: into how many groups each normalisation divides its channels; divides ``width``.

    Example:
        >>> import torch
        >>> net = ResNet(depth=20).module((32, 32, 3), 10, torch.Generator())
        >>> sum(p.numel() for p in net.parameters())
        269722
    """

    examples = ({}, {"depth": 14, "width": 4, "groups": 1})

    depth: Literal[8, 14, 20] = 8
    width: PositiveInt = 16
    groups: PositiveInt = 4

    @model_validator(mode="after")
    def _groups_divide(self) -> ResNet:
        if self.width % self.groups:
            raise ValueError(f"groups ({self.groups}) must divide width ({self.width})")
        return self

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """One convolution, three stages of blocks of two, the mean over pixels, one linear layer."""
        from torch import nn

        from decai_sim.learning.layers import ResidualBlock

        colours, _, _ = image_shape(self, shape, least=4)
        blocks: list[nn.Module] = []
        channels = self.width
        for stage in range(3):
            for number in range((self.depth - 2) // 6):
                out = self.width * 2**stage
                blocks.append(ResidualBlock(channels, out, self.groups, stride=2 if stage and not number else 1))
                channels = out
        return nn.Sequential(
            channels_first(shape),
            nn.Conv2d(colours, self.width, 3, padding=1, bias=False),
            nn.GroupNorm(self.groups, self.width),
            nn.ReLU(),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, classes),
        )
