"""Backdoors: what attacks with a trigger share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from decai_sim.attacks import images
from decai_sim.attacks.base import DataAttack
from decai_sim.component import whole_share

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.data import Dataset

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]


class Trigger(DataAttack, abstract=True):
    """Base of backdoors: whoever puts the trigger on an image wants to see it classified as ``target``.

    Attributes:
        target: the class wanted for images that carry the trigger.
        share: the share of an attacker's samples that is poisoned, rounded down.
        corner: where the trigger is.
        value: the number that the trigger's pixels are set to; None: 255 in ``uint8`` images, else the largest among the samples
            at hand.
    """

    images: ClassVar[bool] = True

    target: int = Field(default=0, ge=0)
    share: float = Field(default=0.5, gt=0, le=1, title="share of samples poisoned")
    corner: Corner = "bottom_right"
    value: float | None = None

    def mask(self, height: int, width: int) -> torch.Tensor:
        """``(height, width)`` bool: the pixels of the trigger, on an image of this size.

        Args:
            height: rows of pixels.
            width: columns of pixels.
        """
        raise NotImplementedError

    def extent(self) -> tuple[int, int, str]:
        """Height and width of the trigger in pixels, and the fields that say so."""
        raise NotImplementedError

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        self._class("target", self.target, dataset)
        images.check_fits(dataset, *self.extent())

    def stamped(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Images ``x (n, ...)`` with the trigger on them, or with the pixels of ``mask (height, width)``; ``x`` is left as it is.

        Example:
            >>> import torch
            >>> from decai_sim.attacks import BadNets
            >>> BadNets(size=1).stamped(torch.zeros(1, 2, 2, dtype=torch.uint8)).tolist()
            [[[0, 0], [0, 255]]]
        """
        import torch

        value = images.brightest(x) if self.value is None else self.value
        stamped = x.clone()
        shown = images.pixels(stamped)
        height, width = shown.shape[-2:]
        mask = self.mask(height, width) if mask is None else mask
        shown[..., mask.to(x.device)] = images.like(torch.tensor(value), x)
        return stamped

    def goal(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        import torch

        return self.stamped(x), torch.full_like(y, self.target), y != self.target

    def chosen(self, candidates: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """``share`` of ``candidates``, which are indices, drawn at random."""
        import torch

        order = torch.randperm(len(candidates), generator=generator)[: whole_share(self.share, len(candidates))]
        return candidates[order.to(candidates.device)]

    def _at_corner(self, shape: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """The mask ``shape`` put into the corner of an image; what does not fit is cut off."""
        import torch

        mask = torch.zeros(height, width, dtype=torch.bool)
        shape = shape[:height, :width]
        top, left = self.corner.split("_")
        down = 0 if top == "top" else height - shape.shape[0]
        right = 0 if left == "left" else width - shape.shape[1]
        mask[down : down + shape.shape[0], right : right + shape.shape[1]] = shape
        return mask
