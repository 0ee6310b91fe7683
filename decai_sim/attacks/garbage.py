"""Numbers that are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class Garbage(UpdateAttack):
    """Attackers send rows of NaN or infinity: whoever adds one up has nothing left.

    Source: byzfl's ``Inf``; what a crashed or overflowing client sends without meaning harm.
    Assumes: nothing; attackers need not train.
    Deviations: none.

    Attributes:
        value: what every coordinate is.

    Example:
        >>> import torch
        >>> Garbage(value="-inf")(torch.zeros(2, 2), 1, torch.Generator()).tolist()
        [[-inf, -inf]]
    """

    finite: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"value": "inf"}, {"value": "-inf"})

    value: Literal["nan", "inf", "-inf"] = "nan"

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        return honest.new_full((n_byzantine, honest.shape[1]), float(self.value))
