"""Noise on inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks import images
from decai_sim.attacks.base import DataAttack
from decai_sim.component import whole_share

if TYPE_CHECKING:
    import torch


class FeatureNoise(DataAttack):
    """Attackers learn from inputs drowned in noise, ``x + strength·σ·N(0, 1)``, with labels as they are.

    Source: none in particular; the form is ours.
    Assumes: inputs that are numbers; also what a broken sensor does without meaning harm.
    Deviations: ``σ`` is the deviation of the attacker's own inputs: over all pixels of images,
        of each feature by itself otherwise; 1 where nothing varies. Pixels are rounded and stay within their type.

    Attributes:
        strength: how many deviations the noise has.
        share: the share of an attacker's samples that is noisy, rounded down.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(100, 2), torch.zeros(100, dtype=torch.long)
        >>> noisy, labels = FeatureNoise(strength=3).poison(x, y, torch.Generator().manual_seed(0))
        >>> bool((2 < noisy.std()) & (noisy.std() < 4)), labels is y
        (True, True)
    """

    numbers: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"strength": 0.1, "share": 0.3})

    strength: float = Field(default=1.0, gt=0)
    share: float = Field(default=1.0, gt=0, le=1, title="share of samples that are noisy")

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        which = torch.randperm(len(x), generator=generator)[: whole_share(self.share, len(x))].to(x.device)
        if len(which) == 0:
            return x, y
        values = x.float()
        spread = values.std(correction=0) if x.ndim > 2 else values.std(dim=0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)
        noise = torch.randn(x[which].shape, generator=generator).to(x.device)
        changed = x.clone()
        changed[which] = images.like(values[which] + self.strength * spread * noise, x)
        return changed, y
