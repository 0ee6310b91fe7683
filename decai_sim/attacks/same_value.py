"""The same number everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class SameValue(UpdateAttack):
    """Attackers send one number in all coordinates, ``value·(1, …, 1)``.

    Source: Li et al., AAAI 2019 (RSA), Section 5 (same-value attacks).
    Assumes: nothing; attackers need not train.
    Deviations: in the source they send models, here updates; the number is 1 unless said.

    Attributes:
        value: the number.

    Example:
        >>> import torch
        >>> SameValue(value=-2)(torch.zeros(3, 2), 1, torch.Generator()).tolist()
        [[-2.0, -2.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"value": -100})

    value: float = 1.0

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        return honest.new_full((n_byzantine, honest.shape[1]), self.value)
