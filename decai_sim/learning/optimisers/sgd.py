"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.learning.optimisers.base import Optimiser

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.optimisers.base import Named


class SGD(Optimiser, kind="sgd"):
    """Go down the gradient of a batch, with what is left of the steps before.

    The velocity is v ← m v + g, the step −η v, or −η (g + m v) after Nesterov, where g contains weight decay λ w.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (ICML 2013), section 2.
    Assumes: nothing.
    Deviations: the learning rate multiplies the whole velocity, as in ``torch.optim.SGD``, not each gradient as it enters.

    Attributes:
        momentum: m; 0: none.
        nesterov: whether the gradient is taken ahead of the step.
        weight_decay: λ, added to the gradient as λ w.

    Example:
        >>> SGD(momentum=0.9).slots
        ('momentum_buffer',)
    """

    examples = ({}, {"momentum": 0.9, "weight_decay": 1e-4}, {"momentum": 0.5, "nesterov": True})

    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)

    @property
    def plain(self) -> bool:
        """Whether a step is −η times the gradient of the loss and nothing else."""
        return self.momentum == 0 and self.weight_decay == 0

    @property
    def slots(self) -> tuple[str, ...]:
        """The velocity, if there is any."""
        return ("momentum_buffer",) if self.momentum else ()

    def step(self, params: Named, slopes: Named, kept: dict[str, Named], steps: torch.Tensor, lr: float) -> None:
        """First v ← m v + g, then w ← w − η v."""
        for name, p in params.items():
            g = slopes[name]
            if self.weight_decay:
                g = g.add(p, alpha=self.weight_decay)
            if self.momentum:
                v = kept["momentum_buffer"][name].mul_(self.momentum).add_(g)
                g = g.add(v, alpha=self.momentum) if self.nesterov else v
            p.sub_(g, alpha=lr)

    def torch(self, params: list[torch.Tensor], lr: float) -> torch.optim.Optimizer:
        """``torch.optim.SGD``."""
        import torch

        # Nesterov without momentum is plain descent, which PyTorch wants to be told so.
        nesterov = self.nesterov and self.momentum > 0
        return torch.optim.SGD(params, lr, self.momentum, weight_decay=self.weight_decay, nesterov=nesterov)
