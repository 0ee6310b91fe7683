"""As far as the honest are from all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.attacks.harm import directions
from decai_sim.attacks.min_max import Perturbation

if TYPE_CHECKING:
    import torch


class MinSum(UpdateAttack):
    """All attackers send ``μ + γ·p``, as far out as their distances to the honest rows add up to no more than an honest row's do.

    ``γ`` is the largest with ``Σ_i ‖μ + γ·p - x_i‖² ≤ max_i Σ_j ‖x_i - x_j‖²``.

    Source: Shejwalkar and Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
        Learning", NDSS 2021, Section IV (Min-Sum; AGR-agnostic).
    Assumes: colluding attackers who see honest updates; they need not know the rule.
    Deviations: ``γ`` is solved for, the condition being quadratic, instead of searched by halving. With fewer than two rows shown
        they are those of ``view.own``; a single one is sent as it is.

    Attributes:
        perturbation: ``p``: ``unit``, back along the mean, ``-μ/‖μ‖``; ``std``, ``-σ``; ``sign``, ``-sign(μ)``.

    Example:
        >>> import torch
        >>> MinSum(perturbation="unit")(torch.tensor([[1.0], [2], [3]]), 1, torch.Generator()).tolist()
        [[1.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"perturbation": "unit"}, {"perturbation": "sign"})

    perturbation: Perturbation = "std"

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        rows = self._known(honest, n_byzantine, view, least=2)
        if n_byzantine == 0:
            return honest.new_empty(0, honest.shape[1])
        mean, p = rows.mean(dim=0), directions(rows)[self.perturbation]
        a = p.double().square().sum()
        if a == 0:
            return mean.expand(n_byzantine, -1)
        # From their mean, Σ_j ‖c_i - c_j‖² = h·‖c_i‖² + S and Σ_i ‖γ·p - c_i‖² = h·γ²·‖p‖² + S, with S = Σ_j ‖c_j‖².
        gamma = ((rows - mean).square_().sum(dim=1, dtype=a.dtype).max() / a).sqrt()
        return (mean + gamma.to(mean) * p).expand(n_byzantine, -1)
