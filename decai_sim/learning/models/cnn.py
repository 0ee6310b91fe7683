"""Convolutional networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from decai_sim.learning.models.base import Model
from decai_sim.learning.models.images import channels_first, image_shape

if TYPE_CHECKING:
    from torch import nn


class CNN(Model, kind="cnn"):
    """Two 5 x 5 convolutions with max pooling, then one hidden layer.

    Source: McMahan et al. (AISTATS 2017), section 3, "CNN" with fewer channels.
    Assumes: inputs are images ``(height, width)`` or ``(height, width, colours)`` of at least 4 x 4 pixels.
    Deviations: channels and hidden width are settable and smaller by default.

    Attributes:
        channels: of the two convolutions.
        hidden: width of the dense layer.

    Example:
        >>> import torch
        >>> net = CNN(channels=(8, 16), hidden=32).module((28, 28), 10, torch.Generator())
        >>> net(torch.zeros(2, 28, 28)).shape
        torch.Size([2, 10])
    """

    channels: tuple[PositiveInt, PositiveInt] = (8, 16)
    hidden: PositiveInt = 64

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Convolutions, pooling, dense layers."""
        from torch import nn

        colours, height, width = image_shape(self, shape, least=4)
        first, second = self.channels
        return nn.Sequential(
            channels_first(shape),
            nn.Conv2d(colours, first, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (width // 4), self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, classes),
        )
