"""Few samples, many times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import DataAttack
from decai_sim.component import whole_share

if TYPE_CHECKING:
    import torch


class Duplicate(DataAttack):
    """Attackers keep a few of their samples and copy them over all others: what they learn, and count for, is made up.

    Source: none in particular; the form is ours.
    Assumes: control over the attackers' own samples only. They claim as many as before, so that a mean weighted by sample counts
        listens to them as much as before.
    Deviations: none, there being no source.

    Attributes:
        distinct: the share of samples that stays, rounded down, but at least one.

    Example:
        >>> import torch
        >>> x, y = torch.arange(6.0)[:, None], torch.arange(6)
        >>> copied, labels = Duplicate(distinct=0.4).poison(x, y, torch.Generator().manual_seed(0))
        >>> len(copied), len(labels.unique()), torch.equal(copied[:, 0].long(), labels)
        (6, 2, True)
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"distinct": 0.5})

    distinct: float = Field(default=0.05, gt=0, le=1, title="share of samples that stays")

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        if len(y) == 0:
            return x, y
        kept = torch.randperm(len(y), generator=generator)[: max(1, whole_share(self.distinct, len(y)))]
        # In turn over all places, so that each is there nearly as often.
        which = kept[torch.arange(len(y)) % len(kept)].to(y.device)
        return x[which], y[which]
