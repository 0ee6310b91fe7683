"""A backdoor's trigger, split among attackers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.trigger import Corner, Trigger

if TYPE_CHECKING:
    import torch


class DBA(Trigger, kind="dba"):
    """Each attacker puts one bar of the trigger on its images; the model obeys all bars together, which nobody ever showed it.

    Source: Xie, Huang, Chen and Li, "DBA: Distributed Backdoor Attacks against Federated Learning", ICLR 2020, Section 3 and
        Figure 1: local triggers are parts of one global trigger, made of horizontal bars, two in a row; factors TS, TG and TL
        (size, gap and location).
    Assumes: images; attackers who agreed on the trigger and know their own number among them.
    Deviations: the paper also multiplies updates (its A-S setting): that is ``model_replacement`` with ``data: {kind: dba}``.
        Bars are one pixel high. Attackers, in the order of their nodes' numbers, take the bars in turn.

    Attributes:
        parts: how many bars the trigger has.
        width: pixels of a bar.
        gap: pixels between bars, both ways.
        only: the number of the bar that samples are poisoned with, from 0; None: all of them. In a run, each attacker's own.

    Example:
        >>> import torch
        >>> DBA(width=2, corner="top_left").mask(3, 6).int().tolist()
        [[1, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0]]
        >>> attack = DBA(width=2, corner="top_left", share=1)
        >>> attack.part(5).poison(torch.zeros(1, 3, 6, dtype=torch.uint8), torch.tensor([4]), torch.Generator())[0].tolist()
        [[[0, 0, 0, 255, 255, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"parts": 3, "width": 2, "only": 1})

    corner: Corner = "top_left"
    parts: int = Field(default=4, ge=2)
    width: int = Field(default=3, ge=1)
    gap: int = Field(default=1, ge=0)
    only: int | None = Field(default=None, ge=0)

    def part(self, number: int) -> DBA:
        return self.model_copy(update={"only": number % self.parts})

    def extent(self) -> tuple[int, int, str]:
        rows = -(-self.parts // 2)
        return rows + (rows - 1) * self.gap, 2 * self.width + self.gap, "width"

    def mask(self, height: int, width: int) -> torch.Tensor:
        import torch

        return torch.stack([self.bar(number, height, width) for number in range(self.parts)]).any(dim=0)

    def bar(self, number: int, height: int, width: int) -> torch.Tensor:
        """The pixels of one bar, as :meth:`mask` has those of all.

        Args:
            number: which, from 0.
            height: rows of pixels.
            width: columns of pixels.
        """
        import torch

        down, right, _ = self.extent()
        shape = torch.zeros(down, right, dtype=torch.bool)
        left = number % 2 * (self.width + self.gap)
        shape[number // 2 * (1 + self.gap), left : left + self.width] = True
        return self._at_corner(shape, height, width)

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from decai_sim.attacks import images

        height, width = images.sides(tuple(x.shape[1:]))
        mask = None if self.only is None else self.bar(self.only % self.parts, height, width)
        which = self.chosen(torch.arange(len(y), device=y.device), generator)
        x, y, stamped = x.clone(), y.clone(), self.stamped(x, mask)
        x[which], y[which] = stamped[which], self.target
        return x, y
