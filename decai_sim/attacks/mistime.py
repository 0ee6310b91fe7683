"""Lying with time alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.attacks.base import Timing, UpdateAttack, View

if TYPE_CHECKING:
    import torch


class Mistime(UpdateAttack):
    """Attackers send what honest nodes would, but never, or at another time: ``timing`` says when.

    Source: none in particular; withholding and delay are the weakest faults of a Byzantine node.
    Assumes: a server that waits, or one that has a deadline and goes on with fewer.
    Deviations: none. Any other attack on updates takes the same ``timing``.

    Attributes:
        timing: ``withhold``, never; ``rush``, at once; ``hold``, ``hold_s`` later than they could.

    Example:
        >>> import torch
        >>> Mistime(timing="hold", hold_s=60)(torch.ones(3, 2), 1, torch.Generator(), View(own=torch.zeros(1, 2))).tolist()
        [[0.0, 0.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"timing": "hold", "hold_s": 30}, {"timing": "rush"})

    timing: Timing = "withhold"

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        return self._if_honest(honest, n_byzantine, view)
