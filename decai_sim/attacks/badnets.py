"""Backdoor by a patch of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.trigger import Trigger

if TYPE_CHECKING:
    import torch


class BadNets(Trigger, kind="badnets"):
    """Attackers put a bright square on some of their images and learn these as class ``target``; the model learns the shortcut.

    Source: Gu, Dolan-Gavitt and Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017
        (arXiv:1708.06733), Section 4: a pattern of bright pixels in the lower right corner, single-target attack.
    Assumes: images; attackers who can put the trigger on what the trained model is shown.
    Deviations: the paper's pattern is four pixels, here it is a square. Poisoned samples take the place of clean ones, so that
        attackers have as many as before.

    Attributes:
        size: the square's side in pixels.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(4, 3, 3, dtype=torch.uint8), torch.tensor([1, 1, 2, 2])
        >>> changed, labels = BadNets(target=7, size=2, share=0.5).poison(x, y, torch.Generator().manual_seed(0))
        >>> int((labels == 7).sum()), changed[labels == 7][0].tolist()
        (2, [[0, 0, 0], [0, 255, 255], [0, 255, 255]])
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"target": 3, "size": 2, "corner": "top_left", "value": 9})

    size: int = Field(default=3, ge=1)

    def extent(self) -> tuple[int, int, str]:
        return self.size, self.size, "size"

    def mask(self, height: int, width: int) -> torch.Tensor:
        import torch

        return self._at_corner(torch.ones(self.size, self.size, dtype=torch.bool), height, width)

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        which = self.chosen(torch.arange(len(y), device=y.device), generator)
        x, y, stamped = x.clone(), y.clone(), self.stamped(x)
        x[which], y[which] = stamped[which], self.target
        return x, y
