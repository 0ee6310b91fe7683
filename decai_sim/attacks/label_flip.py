"""Label flipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.attacks.base import DataAttack
from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import torch


class LabelFlip(DataAttack):
    """Attackers learn every label ``y`` as ``classes - 1 - y``, and are otherwise honest.

    Source: Fang et al., USENIX Security 2020, Section 4.1 (label flipping attack, ``l → L - l - 1``).
    Assumes: control over the attackers' own labels only; no knowledge of anybody else.
    Deviations: none. With an odd number of classes the middle label stays.

    Attributes:
        classes: number of classes ``L`` of the task; one attacker's labels need not show all of them.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(3, 2), torch.tensor([0, 1, 9])
        >>> LabelFlip(classes=10).poison(x, y, torch.Generator())[1].tolist()
        [9, 8, 0]
    """

    classes: int = Field(default=10, ge=2)

    def check(self, classes: int) -> None:
        if self.classes != classes:
            raise ScenarioError(f"attack.classes: {self.classes} is not allowed: the task has {classes} classes")

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        if y.numel() and int(y.max()) >= self.classes:
            raise ValueError(
                f"label_flip.classes: {self.classes} is not allowed with label {int(y.max())}: "
                f"say at least {int(y.max()) + 1}, the number of classes of the task"
            )
        return x, self.classes - 1 - y
