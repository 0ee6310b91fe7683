"""Dissensus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import PeerAttack

if TYPE_CHECKING:
    import torch


class Dissensus(PeerAttack):
    """Attackers push each neighbour away from its honest neighbours, so that the honest never come to agree.

    Node ``i`` is sent ``x_i - ε·Σ_j W_ij·(x_j - x_i) / Σ_b W_ib``, with ``j`` over its honest neighbours and ``b`` over the
    attackers among its neighbours: with ``ε = 1`` they undo exactly what plain mixing would bring.

    Source: He, Karimireddy and Jaggi, "Byzantine-Robust Decentralized Learning via ClippedGossip", 2022 (arXiv:2202.01545),
        Section 4 (dissensus attack).
    Assumes: colluding attackers who know the models of the receiver and of its honest neighbours, and all mixing weights.
    Deviations: none. In a run weights are those the protocol would use if all neighbours that are there were heard in time; of
        nodes that have not sent yet the model is that with which they began the round.

    Attributes:
        epsilon: ``ε``, how strongly.

    Example:
        >>> import torch
        >>> attack, own, honest = Dissensus(epsilon=1), torch.tensor([0.0]), torch.tensor([[200.0]])
        >>> attack.to_neighbour(own, honest, torch.tensor([0.25]), 0.5, torch.Generator()).tolist()
        [-100.0]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"epsilon": 0.05, "to": 0.5})

    epsilon: float = Field(default=1.0, gt=0)

    def to_neighbour(
        self, own: torch.Tensor, models: torch.Tensor, weights: torch.Tensor, attackers: float, generator: torch.Generator
    ) -> torch.Tensor | None:
        if attackers <= 0:
            raise ValueError(f"attackers: {attackers} is not allowed: the receiver's weight of them must be above 0")
        return own - self.epsilon / attackers * (weights.to(own) @ (models.to(own) - own))
