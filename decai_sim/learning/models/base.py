"""Models: real ``nn.Module``s, with a stacked forward pass that runs many of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.component import Component

if TYPE_CHECKING:
    import torch
    from torch import nn


class Model(Component, family="models"):
    """Base of models: classifiers of ``(batch, *shape)`` inputs."""

    tokens: ClassVar[bool | None] = False
    """Whether inputs are numbers of tokens, ``int64`` from 0 to ``classes`` - 1, instead of ``float32``; None: either."""

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The module for inputs of ``shape``.

        Raises:
            ScenarioError: the model takes no such inputs.
        """
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

    def gradients(
        self,
        module: nn.Module,
        params: dict[str, torch.Tensor],
        x: torch.Tensor,
        y: torch.Tensor,
        mask: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Gradients of the mean cross-entropy of many models, each on its own batch.

        Args:
            module: the module whose parameters are replaced.
            params: ``(k, *shape)`` each; left as they are.
            x: ``(k, batch, *shape)`` inputs.
            y: ``(k, batch)`` labels.
            mask: ``(k, batch)``, 1 for samples, 0 for padding; no row is all padding.

        Returns:
            ``(k,)`` the sum of the samples' losses, and the gradients by the parameters' names, ``(k, *shape)`` each.
        """
        import torch
        from torch.nn import functional as F

        own = {name: p.detach().requires_grad_() for name, p in params.items()}
        logits = self.stacked(module, own, x).float()
        each = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(mask.shape) * mask
        # The models share no parameter, so the gradient of the sum is every model's own gradient.
        slopes = torch.autograd.grad((each.sum(1) / mask.sum(1)).sum(), list(own.values()))
        return each.detach().sum(1), dict(zip(own, slopes, strict=True))

    def sgd_step(
        self,
        module: nn.Module,
        params: dict[str, torch.Tensor],
        x: torch.Tensor,
        y: torch.Tensor,
        mask: torch.Tensor,
        lr: float,
    ) -> torch.Tensor:
        """One step of plain SGD on the mean cross-entropy, with :meth:`gradients`.

        Args:
            module: see there.
            params: see there; changed in place.
            x: see there.
            y: see there.
            mask: see there.
            lr: learning rate.

        Returns:
            ``(k,)`` the sum of the samples' losses before the step.
        """
        losses, slopes = self.gradients(module, params, x, y, mask)
        for name, slope in slopes.items():
            params[name].sub_(slope, alpha=lr)
        return losses
