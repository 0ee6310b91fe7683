"""Local reputation: each node remembers whom it could trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context
from decai_sim.defenses.distances import distances_to
from decai_sim.defenses.peer import PeerRule

if TYPE_CHECKING:
    import torch


class LocalReputation(PeerRule):
    """Counts for each neighbour how often its model was near the own and how often not, and listens to it accordingly.

    A model is near if it is at most ``reach`` times as far from the own as the median neighbour. With ``a`` times near and ``b``
    times not, older times counting less, a reputation is ``(a + 1)/(a + b + 2)``. Neighbours below ``least`` are not listened
    to; the others by their mixing weights, times reputation.

    Source: ours; the reputation is that of Jøsang and Ismail, "The Beta Reputation System", Bled 2002, Section 2, with its
        forgetting factor.
    Assumes: most neighbours are honest, names stay (``context.who``), and a memory. ``f`` is not used. Who behaves at first and
        attacks later is believed for as long as good times outweigh bad ones.
    Deviations: outcomes are judged by distance, where the source leaves open who judges.
    Breaks down: with half of the neighbours, who then set what is near.
    Costs: ``O(nd)``: one distance to each neighbour, nothing shared; two numbers are kept for each.

    ``explain(...).scores`` are 1 less the reputation.

    Attributes:
        reach: how much further than the median is still near.
        forget: what remains of the past from one aggregation to the next.
        least: the reputation below which nobody is listened to.

    Example:
        >>> import torch
        >>> about = Context(own=torch.tensor([0.0]), who=torch.tensor([4, 5, 6]), memory={})
        >>> rows = torch.tensor([[1.0], [-1.0], [50.0]])
        >>> LocalReputation().explain(rows, about).kept.tolist()
        [True, True, False]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"own", "who", "memory"})

    reach: float = Field(default=2.0, ge=1)
    forget: float = Field(default=0.9, ge=0, le=1)
    least: float = Field(default=0.5, ge=0, le=1)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        context = self.given(context)
        assert context.who is not None
        own = self.own(rows, context)
        away = distances_to(rows, own)
        near = (away <= self.reach * away.quantile(0.5)).tolist()
        counts: dict[Any, Any] = context.kept_by(self.kind)
        reputations = []
        for name, good in zip(context.who.tolist(), near, strict=True):
            a, b = counts.get(name, (0.0, 0.0))
            a, b = self.forget * a + good, self.forget * b + (not good)
            counts[name] = (a, b)
            reputations.append((a + 1) / (a + b + 2))
        reputation = away.new_tensor(reputations)
        weights = self.mixing_weights(rows, context) * reputation * (reputation >= self.least)
        return self.leaning(rows, own, weights, 1 - reputation)
