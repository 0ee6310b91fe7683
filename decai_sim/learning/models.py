"""Models: real ``nn.Module``s, with a stacked forward pass that runs many of them at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from decai_sim.component import Component

if TYPE_CHECKING:
    import torch
    from torch import nn


class Model(Component, family="models"):
    """Base of models: classifiers of ``(batch, *shape)`` inputs."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module for inputs of ``shape``."""
        raise NotImplementedError

    def module(self, shape: tuple[int, ...], classes: int, generator: torch.Generator) -> nn.Module:
        """The module, its initial parameters drawn as PyTorch draws them by default, but from ``generator`` alone.

        Args:
            shape: of one input, without the batch.
            classes: number of outputs.
            generator: where the draws come from, on the CPU.
        """
        from decai_sim.learning.draws import DrawnFrom

        with DrawnFrom(generator):
            return self.build(shape, classes)

    def stacked(self, module: nn.Module, params: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Outputs of many models, each on its own batch.

        Args:
            module: the module whose parameters are replaced.
            params: ``(k, *shape)`` each, the parameters of ``k`` models.
            x: ``(k, batch, *shape)`` inputs.

        Returns:
            ``(k, batch, classes)`` logits.
        """
        import torch

        def one(own: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = torch.func.functional_call(module, own, (inputs,))
            return logits

        return torch.func.vmap(one)(params, x)

    def sgd_step(
        self,
        module: nn.Module,
        params: dict[str, torch.Tensor],
        x: torch.Tensor,
        y: torch.Tensor,
        mask: torch.Tensor,
        lr: float,
    ) -> torch.Tensor:
        """One step of SGD on the mean cross-entropy, of many models, each on its own batch.

        Args:
            module: the module whose parameters are replaced.
            params: ``(k, *shape)`` each; changed in place.
            x: ``(k, batch, *shape)`` inputs.
            y: ``(k, batch)`` labels.
            mask: ``(k, batch)``, 1 for samples, 0 for padding; no row is all padding.
            lr: learning rate.

        Returns:
            ``(k,)`` the sum of the samples' losses before the step.
        """
        import torch
        from torch.nn import functional as F

        own = {name: p.detach().requires_grad_() for name, p in params.items()}
        logits = self.stacked(module, own, x)
        each = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(mask.shape) * mask
        # The models share no parameter, so the gradient of the sum is every model's own gradient.
        gradients = torch.autograd.grad((each.sum(1) / mask.sum(1)).sum(), list(own.values()))
        with torch.no_grad():
            for p, g in zip(params.values(), gradients, strict=True):
                p.sub_(g, alpha=lr)
        return each.detach().sum(1)


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

    def sgd_step(
        self,
        module: nn.Module,
        params: dict[str, torch.Tensor],
        x: torch.Tensor,
        y: torch.Tensor,
        mask: torch.Tensor,
        lr: float,
    ) -> torch.Tensor:
        """As the base says, gradients written out: added to the weights without being stored, in less than half the time."""
        import torch

        with torch.no_grad():
            values = list(params.values())
            layers = list(zip(values[::2], values[1::2], strict=True))
            inputs = [x.flatten(2)]
            for weight, bias in layers:
                inputs.append(torch.baddbmm(bias.unsqueeze(1), inputs[-1], weight.transpose(1, 2)))
                if len(inputs) <= len(layers):
                    inputs[-1].relu_()
            log_p = inputs.pop().log_softmax(2)
            losses = -(log_p.gather(2, y.unsqueeze(2)).squeeze(2) * mask).sum(1)
            # The gradient of the mean cross-entropy by the logits: softmax − one-hot, over the number of samples.
            slope = log_p.exp_().scatter_add_(2, y.unsqueeze(2), log_p.new_full((*y.shape, 1), -1.0))
            slope *= (mask / mask.sum(1, keepdim=True)).unsqueeze(2)
            for (weight, bias), h in zip(reversed(layers), reversed(inputs), strict=True):
                below = (slope @ weight) * (h > 0) if h is not inputs[0] else slope  # before the weights change
                weight.baddbmm_(slope.transpose(1, 2), h, alpha=-lr)
                bias.sub_(slope.sum(1), alpha=lr)
                slope = below
        return losses


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


class CNN(Model, kind="cnn"):
    """Two 5 x 5 convolutions with max pooling, then one hidden layer.

    Source: McMahan et al. (AISTATS 2017), section 3, "CNN" with fewer channels.
    Assumes: inputs are one-channel images of at least 4 x 4 pixels.
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

        height, width = shape
        first, second = self.channels
        return nn.Sequential(
            nn.Unflatten(1, (1, height)),
            nn.Conv2d(1, first, 5, padding=2),
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
