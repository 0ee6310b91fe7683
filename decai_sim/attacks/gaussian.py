"""Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class Gaussian(UpdateAttack):
    """Attackers send noise: every coordinate of every row is drawn from ``N(mean, std²)``.

    Source: Blanchard et al., NeurIPS 2017, Section 5 (Gaussian Byzantine workers; there ``std`` is 200, here it is 1 unless
        said).
    Assumes: nothing; attackers need not train.
    Deviations: none. byzfl's ``Gaussian`` is the same with one row for all attackers.

    Attributes:
        mean: of each coordinate.
        std: deviation of each coordinate.

    Example:
        >>> import torch
        >>> Gaussian(mean=3, std=0)(torch.zeros(2, 2), 1, torch.Generator()).tolist()
        [[3.0, 3.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"mean": 1, "std": 200})

    mean: float = 0.0
    std: float = Field(default=1.0, ge=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        import torch

        drawn = torch.randn(n_byzantine, honest.shape[1], generator=generator, dtype=honest.dtype)
        return drawn.mul_(self.std).add_(self.mean).to(honest.device)
