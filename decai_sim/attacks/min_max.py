"""As far as the honest are from each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.attacks.harm import directions

if TYPE_CHECKING:
    import torch

Perturbation = Literal["unit", "std", "sign"]


class MinMax(UpdateAttack):
    """All attackers send ``μ + γ·p``, as far out as no distance to an honest row exceeds the largest between two honest rows.

    ``γ`` is the largest with ``max_i ‖μ + γ·p - x_i‖ ≤ max_{i,j} ‖x_i - x_j‖``.

    Source: Shejwalkar and Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
        Learning", NDSS 2021, Section IV (Min-Max; AGR-agnostic).
    Assumes: colluding attackers who see honest updates; they need not know the rule.
    Deviations: ``γ`` is solved for, each row giving a quadratic equation, instead of searched by halving. With fewer than two
        rows shown they are those of ``view.own``; a single one is sent as it is.

    Attributes:
        perturbation: ``p``: ``unit``, back along the mean, ``-μ/‖μ‖``; ``std``, ``-σ``; ``sign``, ``-sign(μ)``.

    Example:
        >>> import torch
        >>> MinMax(perturbation="unit")(torch.tensor([[1.0], [2], [3]]), 1, torch.Generator()).tolist()
        [[1.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"perturbation": "unit"}, {"perturbation": "sign"})

    perturbation: Perturbation = "std"

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        import torch

        rows = self._known(honest, n_byzantine, view, least=2)
        if n_byzantine == 0:
            return honest.new_empty(0, honest.shape[1])
        mean, p = rows.mean(dim=0), directions(rows)[self.perturbation]
        centred = rows - mean  # first: of rows far from 0, products would lose the small differences
        gram = (centred @ centred.T).double()
        squares = gram.diagonal()
        widest = (squares[:, None] + squares - 2 * gram).max()
        # ‖γ·p - c_i‖² = a·γ² - 2·b_i·γ + s_i ≤ widest, for the rows c_i from their mean.
        a, b = p.double().square().sum(), (centred @ p).double()
        if a == 0:
            return mean.expand(n_byzantine, -1)
        room = (widest - squares).clamp(min=0)
        gamma = ((b + (b.square() + a * room).sqrt()) / a).min()
        return torch.add(mean, gamma.to(mean) * p).expand(n_byzantine, -1)
