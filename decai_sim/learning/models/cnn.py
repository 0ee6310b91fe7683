"""Convolutional networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from decai_sim.learning.models.base import Model
from decai_sim.learning.models.images import channels_first, image_shape

if TYPE_CHECKING:
    import torch
    from torch import nn


_MOST_BYTES = 256 * 2**20
"""More is not laid out for what each kernel sees."""


class CNN(Model, kind="cnn"):
    """Two 5 x 5 convolutions with max pooling, then one hidden layer.

    Source: McMahan et al. (AISTATS 2017), section 3, "CNN" with fewer channels.
    Assumes: inputs are images ``(height, width)`` or ``(height, width, colours)`` of at least 4 x 4 pixels.
    Deviations: channels and hidden width are settable and smaller by default; stacked models convolve in one group each, equal to
    running each alone.

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

    def stacked(self, module: nn.Module, params: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Every model a group of one convolution, then one batched matrix product a dense layer."""
        import torch
        from torch.nn import functional as F

        k, batch = x.shape[:2]
        weights, biases = list(params.values())[::2], list(params.values())[1::2]
        # (k, batch, colours, height, width)
        x = x.unsqueeze(2) if x.dim() == 4 else x.movedim(-1, 2)
        height, width = x.shape[3:]
        if x.device.type == "cpu" and 25 * x.nbytes <= _MOST_BYTES:
            h = _few_channels(weights[0], biases[0], x)
        else:
            h = _groups(weights[0], biases[0], x.transpose(0, 1).reshape(batch, -1, height, width))
        # Pooling is several times as fast along channels that lie side by side, and needs less of ReLU if it comes first; the
        # largest is the same.
        h = F.max_pool2d(h.contiguous(memory_format=torch.channels_last), 2).relu()
        h = _groups(weights[1], biases[1], h)
        h = F.max_pool2d(h.contiguous(memory_format=torch.channels_last), 2).relu()
        h = h.reshape(batch, k, -1).transpose(0, 1)
        h = torch.baddbmm(biases[2].unsqueeze(1), h, weights[2].transpose(1, 2)).relu()
        return torch.baddbmm(biases[3].unsqueeze(1), h, weights[3].transpose(1, 2))


def _groups(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Convolve ``(batch, k * channels, height, width)``, each of ``k`` models a group."""
    from torch.nn import functional as F

    return F.conv2d(x, weight.flatten(0, 1), bias.flatten(), padding=2, groups=len(weight))


def _few_channels(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The same of ``(k, batch, channels, height, width)``, as one matrix product a model with what its kernels see.

    oneDNN has no fast kernels for groups of few channels: the weights' gradient took two to seven times as long.
    """
    import torch
    from torch.nn import functional as F

    k, batch, channels, height, width = x.shape
    seen = F.pad(x, (2, 2, 2, 2)).unfold(3, 5, 1).unfold(4, 5, 1)  # (k, batch, channels, height, width, 5, 5)
    seen = seen.permute(0, 2, 5, 6, 1, 3, 4).reshape(k, channels * 25, batch * height * width)
    h = torch.baddbmm(bias.unsqueeze(2), weight.flatten(2), seen)
    return h.view(k, -1, batch, height, width).permute(2, 0, 1, 3, 4).reshape(batch, -1, height, width)
