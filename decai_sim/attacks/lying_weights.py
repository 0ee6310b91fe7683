"""Lying about how many neighbours one has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import PeerAttack

if TYPE_CHECKING:
    import torch


class LyingWeights(PeerAttack):
    """Attackers claim fewer neighbours than they have, so that neighbours who weigh by degrees count them more.

    Metropolis weights are ``W_ij = 1/(1 + max(d_i, d_j))``: who claims ``d_j = 1`` gets the most that the receiver's own degree
    allows.

    Source: Metropolis–Hastings weights of Xiao, Boyd and Kim, "Distributed average consensus with least-mean-square deviation",
        2007; degrees are the neighbours' own claims, see He, Karimireddy and Jaggi 2022 (arXiv:2202.01545) on unknown weights.
    Assumes: nodes that take their neighbours' degrees at their word.
    Deviations: none. What is sent is the honest model, or what training on ``data`` comes to.

    Attributes:
        factor: by how much the degree is multiplied; rounded, and at least 1.

    Example:
        >>> LyingWeights().claims_degree(8), LyingWeights(factor=0.5).claims_degree(8)
        (1, 4)
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"factor": 0.5, "data": {"kind": "label_flip"}})

    factor: float = Field(default=0.0, ge=0)

    def to_neighbour(
        self, own: torch.Tensor, models: torch.Tensor, weights: torch.Tensor, attackers: float, generator: torch.Generator
    ) -> torch.Tensor | None:
        return None

    def claims_degree(self, degree: int) -> int:
        return max(1, round(self.factor * degree))
