"""Scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class Scaling(UpdateAttack):
    """Attackers send what they learned ``factor`` times as loud: ``factor·x``, so that a mean hears little else.

    Source: Bhagoji et al., "Analyzing Federated Learning through an Adversarial Lens", ICML 2019 (explicit boosting).
    Assumes: each attacker trains honestly, or on what ``data`` makes of its samples, and knows its own update only.
    Deviations: the source's factor is that of ``model_replacement``, here it is free. Without ``view.own``, every row is
        ``factor·mean(honest)``.

    Attributes:
        factor: how many times the update.

    Example:
        >>> import torch
        >>> own = torch.tensor([[1.0, -2.0]])
        >>> Scaling(factor=10)(torch.zeros(3, 2), 1, torch.Generator(), View(own=own)).tolist()
        [[10.0, -20.0]]
    """

    factor: float = Field(default=10.0, gt=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        return self.factor * self._if_honest(honest, n_byzantine, view)
