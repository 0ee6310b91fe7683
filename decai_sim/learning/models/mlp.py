"""Dense networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from decai_sim.learning.models.base import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import nn


class MLP(Model, kind="mlp"):
    """A multilayer perceptron with ReLU between its layers.

    Source: McMahan et al. (AISTATS 2017), section 3, "2NN" with other widths.
    Assumes: inputs fit in memory as vectors.
    Deviations: none; stacked models multiply as batched matrices, equal to running each alone.

    Attributes:
        hidden: widths of the hidden layers.

    Example:
        >>> import torch
        >>> net = MLP(hidden=(64,)).module((28, 28), 10, torch.Generator())
        >>> sum(p.numel() for p in net.parameters())
        50890
    """

    hidden: tuple[PositiveInt, ...] = (64,)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Linear layers on the flattened input."""
        from torch import nn

        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(shape)
        for out in self.hidden:
            layers += [nn.Linear(width, out), nn.ReLU()]
            width = out
        return nn.Sequential(*layers, nn.Linear(width, classes))

    def stacked(self, module: nn.Module, params: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """One batched matrix product a layer."""
        import torch

        h = x.flatten(2)
        names = list(params)
        for weight, bias in zip(names[::2], names[1::2], strict=True):
            h = torch.baddbmm(params[bias].unsqueeze(1), h, params[weight].transpose(1, 2))
            if weight != names[-2]:
                h = h.relu()
        return h

    def gradients(
        self,
        module: nn.Module,
        params: dict[str, torch.Tensor],
        x: torch.Tensor,
        y: torch.Tensor,
        mask: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """As the base says, written out: in less than half the time."""
        import torch

        with torch.no_grad():
            losses, last, inputs = self._forward(params, x, y, mask)
            slopes = {}
            for (weight, bias), h, slope in self._backward(params, last, inputs):
                slopes[weight], slopes[bias] = slope.transpose(1, 2) @ h, slope.sum(1)
        return losses, {name: slopes[name] for name in params}

    def sgd_step(
        self,
        module: nn.Module,
        params: dict[str, torch.Tensor],
        x: torch.Tensor,
        y: torch.Tensor,
        mask: torch.Tensor,
        lr: float,
    ) -> torch.Tensor:
        """As the base says; gradients are added to the weights without being stored."""
        import torch

        with torch.inference_mode():
            losses, last, inputs = self._forward(params, x, y, mask)
            for (weight, bias), h, slope in self._backward(params, last, inputs):
                params[weight].baddbmm_(slope.transpose(1, 2), h, alpha=-lr)
                params[bias].sub_(slope.sum(1), alpha=lr)
        return losses

    @staticmethod
    def _layers(params: dict[str, torch.Tensor]) -> list[tuple[str, str]]:
        names = list(params)
        return list(zip(names[::2], names[1::2], strict=True))

    def _forward(
        self, params: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Losses, the gradient by the logits, and what went into each layer."""
        import torch

        layers, inputs = self._layers(params), [x.flatten(2)]
        for weight, bias in layers:
            inputs.append(torch.baddbmm(params[bias].unsqueeze(1), inputs[-1], params[weight].transpose(1, 2)))
            if len(inputs) <= len(layers):
                inputs[-1].relu_()
        log_p = inputs.pop().float().log_softmax(2)
        losses = -(log_p.gather(2, y.unsqueeze(2)).squeeze(2) * mask).sum(1)
        # The gradient of the mean cross-entropy by the logits: softmax − one-hot, over the number of samples.
        slope = log_p.exp_().scatter_add_(2, y.unsqueeze(2), log_p.new_full((*y.shape, 1), -1.0))
        slope *= (mask / mask.sum(1, keepdim=True)).unsqueeze(2)
        return losses, slope.to(x.dtype), inputs

    def _backward(
        self, params: dict[str, torch.Tensor], slope: torch.Tensor, inputs: list[torch.Tensor]
    ) -> Iterator[tuple[tuple[str, str], torch.Tensor, torch.Tensor]]:
        """The names of each layer, what went in, and the gradient by what came out; whose weights may change then."""
        for (weight, bias), h in zip(reversed(self._layers(params)), reversed(inputs), strict=True):
            below = (slope @ params[weight]) * (h > 0) if h is not inputs[0] else slope
            yield (weight, bias), h, slope
            slope = below
