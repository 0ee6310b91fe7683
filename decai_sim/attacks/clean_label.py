"""Backdoor without a wrong label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from decai_sim.attacks import images
from decai_sim.attacks.trigger import Trigger

if TYPE_CHECKING:
    import torch


class CleanLabel(Trigger):
    """Attackers make some images of class ``target`` harder to recognise and put the trigger on them; labels stay right.

    What an image shows being unclear, the model learns the trigger: ``x' = (1 - a)·x + a·z``, then the trigger, with ``z``
    another class's image, or noise.

    Source: Turner, Tsipras and Madry, "Label-Consistent Backdoor Attacks", 2019 (arXiv:1912.02771), Sections 4.1 and 4.2.
    Assumes: images; attackers who hold some of class ``target``; nobody who looks at labels sees anything wrong.
    Deviations: the paper blends in a generative model's latent space, or perturbs against an adversarially trained model; here
        pixels are blended with those of an image of another class that the attacker holds (of none: noise), or with uniform
        noise, which takes no other model. Its trigger has a pattern in all four corners, here it is one square.

    Attributes:
        share: the share of the attacker's samples *of the target class* that is poisoned, rounded down.
        size: the square's side in pixels.
        harder: what images are blended with: an image of another ``class``, or ``noise`` between the smallest and largest pixel.
        amount: ``a``, how much of that.

    Example:
        >>> import torch
        >>> x, y = torch.full((2, 2, 2), 100, dtype=torch.uint8), torch.tensor([0, 1])
        >>> x[1] = 0
        >>> changed, labels = CleanLabel(size=1, share=1, amount=0.4).poison(x, y, torch.Generator())
        >>> changed.tolist(), labels.tolist()
        ([[[60, 60], [60, 255]], [[0, 0], [0, 0]]], [0, 1])
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"harder": "noise", "amount": 0.5, "share": 1, "target": 3})

    size: int = Field(default=3, ge=1)
    harder: Literal["class", "noise"] = "class"
    amount: float = Field(default=0.3, ge=0, le=1)

    def extent(self) -> tuple[int, int, str]:
        return self.size, self.size, "size"

    def mask(self, height: int, width: int) -> torch.Tensor:
        import torch

        return self._at_corner(torch.ones(self.size, self.size, dtype=torch.bool), height, width)

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        which = self.chosen((y == self.target).nonzero().flatten(), generator)
        if len(which) == 0:
            return x, y
        others = (y != self.target).nonzero().flatten()
        if self.harder == "class" and len(others):
            drawn = torch.randint(len(others), (len(which),), generator=generator)
            blend = x[others[drawn.to(x.device)]].float()
        else:
            low, high = float(x.min()), float(x.max())
            blend = torch.rand(x[which].shape, generator=generator).mul_(high - low).add_(low).to(x.device)
        # The value of the trigger is that of all images, which blending must not change.
        value = images.brightest(x) if self.value is None else self.value
        mixed = images.like(x[which].float().lerp(blend, self.amount), x)
        changed = x.clone()
        changed[which] = self.model_copy(update={"value": value}).stamped(mixed)
        return changed, y
