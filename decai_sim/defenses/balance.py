"""BALANCE."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context
from decai_sim.defenses.distances import distances_to
from decai_sim.defenses.peer import PeerRule

if TYPE_CHECKING:
    import torch


class BALANCE(PeerRule, kind="balance"):
    """Averages the neighbours' models that are near the own, ever nearer as time goes on, and goes part of the way.

    Taken are those with ``|x_i - x| ≤ γ e^(-κ t/T) |x|``; then ``α x + (1 - α) mean(taken)``.

    Source: Fang, Zhang, Hairi, Khanduri, Liu, Lu, Liu and Gong, "Byzantine-Robust Decentralized Federated Learning", CCS 2024,
        Algorithm 1, Equations 4 and 5, ``λ(t) = t/T``.
    Assumes: rows that are whole models, not updates: what is near depends on ``|x|``. Models of honest nodes grow alike. ``f`` is
        not used.
    Deviations: none. Where nobody is taken the own model stays; ``t/T`` goes no higher than 1.
    Breaks down: not by number: each aggregation moves the own model by at most ``(1 - α) γ e^(-κ t/T) |x|``, whoever the
        neighbours are; that adds up from round to round.
    Costs: ``O(nd)``: one distance to each neighbour, nothing shared.

    ``explain(...).scores`` are the distances over the largest that is taken.

    Attributes:
        gamma: ``γ``, how far from the own model is near at first, as a share of its norm.
        kappa: ``κ``, how much nearer that becomes.
        alpha: ``α``, how much stays of the own model.
        rounds: ``T``, how many aggregations there will be; None: as many rounds as the protocol has (``context.rounds``).

    Example:
        >>> import torch
        >>> about = Context(own=torch.tensor([10.0]), round=1, rounds=10)
        >>> BALANCE(gamma=0.3, kappa=0, alpha=0.5)(torch.tensor([[12.0], [50.0]]), about).tolist()
        [11.0]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"own", "round"})

    gamma: float = Field(default=0.3, gt=0)
    kappa: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=0.5, ge=0, le=1)
    rounds: int | None = Field(default=None, ge=1)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        context = self.given(context)
        assert context.round is not None
        own = self.own(rows, context)
        rounds = context.rounds if self.rounds is None else self.rounds
        if rounds is None:
            raise ValueError(
                "balance.rounds: None is not allowed where nobody knows how many there will be: say so, as in BALANCE(rounds=100)"
            )
        passed = min(1.0, context.round / rounds)
        near = self.gamma * math.exp(-self.kappa * passed) * float(own.double().norm())
        away = distances_to(rows, own)
        taken = away <= near
        weights = (1 - self.alpha) * taken.double() / max(1, int(taken.sum()))
        return self.leaning(rows, own, weights, away / max(near, 1e-300))
