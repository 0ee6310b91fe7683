"""Inner product manipulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class IPM(UpdateAttack):
    """All attackers send ``-ε·mean(honest)``, so that what the server computes may point away from where the honest want to go.

    Source: Xie, Koyejo and Gupta, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation", UAI 2019,
        Section 4.
    Assumes: colluding attackers who see honest updates before they send their own.
    Deviations: the mean is that of the honest rows they are shown; of ``view.own`` if they are shown none. A small ``ε`` hides
        among the honest (Krum), one above h/b turns the mean round; 0.5 unless said (the paper: 0.1 to 100; byzfl's ``τ``: 2).

    Attributes:
        epsilon: ``ε``, how many times the mean's length.

    Example:
        >>> import torch
        >>> IPM(epsilon=0.5)(torch.tensor([[1.0, 2], [3, 6]]), 1, torch.Generator()).tolist()
        [[-1.0, -2.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"epsilon": 100})

    epsilon: float = Field(default=0.5, gt=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        rows = self._known(honest, n_byzantine, view)
        if n_byzantine == 0:
            return honest.new_empty(0, honest.shape[1])
        return (-self.epsilon * rows.mean(dim=0)).expand(n_byzantine, -1)
