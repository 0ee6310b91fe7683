"""Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from decai_sim.learning.optimisers.base import Optimiser, per_model

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.optimisers.base import Named

_Beta = Annotated[float, Field(ge=0, lt=1)]


class Adam(Optimiser):
    """Steps of nearly equal length in every direction: the mean gradient over the root of its mean square.

    Source: Kingma & Ba, "Adam: a method for stochastic optimization" (ICLR 2015), Algorithm 1; decoupled weight decay after
    Loshchilov & Hutter, "Decoupled weight decay regularization" (ICLR 2019), Algorithm 2.
    Assumes: nothing.
    Deviations: none.

    Attributes:
        beta1: how much of the mean gradient is kept in a step,
        beta2: and of its mean square.
        eps: added to the root.
        weight_decay: λ: added to the gradient as λ w,
        decoupled: or, with this, taken off the weights as η λ w (AdamW).

    Example:
        >>> Adam().slots
        ('exp_avg', 'exp_avg_sq')
    """

    examples = ({}, {"beta1": 0.5, "weight_decay": 0.01}, {"weight_decay": 0.1, "decoupled": True})

    beta1: _Beta = 0.9
    beta2: _Beta = 0.999
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    decoupled: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        """The mean gradient and the mean of its square."""
        return "exp_avg", "exp_avg_sq"

    def step(self, params: Named, slopes: Named, kept: dict[str, Named], steps: torch.Tensor, lr: float) -> None:
        """Algorithm 1."""
        first, second = 1 - self.beta1**steps, 1 - self.beta2**steps
        for name, p in params.items():
            g = slopes[name]
            if self.decoupled:
                p.mul_(1 - lr * self.weight_decay)
            elif self.weight_decay:
                g = g.add(p, alpha=self.weight_decay)
            m = kept["exp_avg"][name].lerp_(g, 1 - self.beta1)
            v = kept["exp_avg_sq"][name].mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
            root = (v.sqrt() / per_model(second, p).sqrt()).add_(self.eps)
            p.sub_(m / root * per_model(lr / first, p))

    def torch(self, params: list[torch.Tensor], lr: float) -> torch.optim.Optimizer:
        """``torch.optim.Adam`` or ``AdamW``."""
        import torch

        kind = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        return kind(params, lr, (self.beta1, self.beta2), self.eps, self.weight_decay)
