"""Sign flipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class SignFlip(UpdateAttack):
    """Attackers send the opposite of what they learned, ``scale`` times as loud: ``-scale·x``.

    Source: Li et al., AAAI 2019 (RSA), Section 5 (sign-flipping attacks); Allen-Zhu et al., ICLR 2021.
    Assumes: each attacker trains honestly and knows its own update only.
    Deviations: the scale is 1 unless said (Li et al.: 4). Without ``view.own``, every row is ``-scale·mean(honest)``, as in
        byzfl's ``SignFlipping``.

    Attributes:
        scale: how many times the update's length.

    Example:
        >>> import torch
        >>> own = torch.tensor([[1.0, -2.0]])
        >>> SignFlip(scale=4)(torch.zeros(3, 2), 1, torch.Generator(), View(own=own)).tolist()
        [[-4.0, 8.0]]
    """

    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        own = self._own(n_byzantine, view)
        if own is not None:
            return -self.scale * own.to(honest)
        if n_byzantine and len(honest) == 0:
            raise ValueError("sign_flip: neither honest rows nor view.own: there is nothing to flip")
        mean = honest.mean(dim=0) if n_byzantine else honest.new_zeros(honest.shape[1])
        return (-self.scale * mean).repeat(n_byzantine, 1)
