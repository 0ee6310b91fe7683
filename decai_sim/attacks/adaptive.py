"""An attack that knows the defense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.attacks.harm import directions, harm_to

if TYPE_CHECKING:
    import torch


class Adaptive(UpdateAttack):
    """All attackers send ``μ + γ·p``, with the perturbation ``p`` and size ``γ`` that harm most *after* the server's rule.

    Harm is the distance of what the rule makes of all rows from the honest mean. No derivative of the rule is needed: sizes that
    double are tried, then ever closer ones around the best.

    Source: Shejwalkar and Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
        Learning", NDSS 2021, Section IV (AGR-tailored attacks: ``argmax_γ ‖μ - AGR(…)‖``, perturbations unit, std and sign).
    Assumes: colluding attackers who see honest updates, know the rule (``view.rule``) and can try it out. If they do not know it,
        they reckon with the mean, against which the largest is the best.
    Deviations: the paper derives a condition for each rule and halves ``γ`` until it holds, here any rule is tried as it is. With
        fewer than two rows shown they are those of ``view.own``.

    Attributes:
        perturbation: ``unit``, ``-μ/‖μ‖``; ``std``, ``-σ``; ``sign``, ``-sign(μ)``; or whichever of them harms most.
        evaluations: how often the rule is tried for each perturbation.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0], [2], [3]])
        >>> median = View(rule=lambda rows: rows.median(dim=0).values)
        >>> bool(Adaptive()(rows, 2, torch.Generator(), median)[0] < 1)
        True
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"perturbation": "sign", "evaluations": 6})

    perturbation: Literal["any", "unit", "std", "sign"] = "any"
    evaluations: int = Field(default=16, ge=6, le=1000)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        rows = self._known(honest, n_byzantine, view, least=2)
        if n_byzantine == 0:
            return honest.new_empty(0, honest.shape[1])
        mean = rows.mean(dim=0)
        harm = harm_to(rows, self._against(len(rows), n_byzantine, view), view.rule if view is not None else None)
        # Sizes are in units of how far honest rows are from their mean; where they agree, of the mean's own length.
        unit = float((rows - mean).norm(dim=1).mean()) or float(mean.norm())
        best, most = mean, harm(mean)
        for name, p in directions(rows).items():
            length = float(p.norm())
            if self.perturbation not in ("any", name) or length == 0 or unit == 0:
                continue
            step = p * (unit / length)

            def at(size: float, step: torch.Tensor = step) -> float:
                return harm(mean + size * step)

            found = self._largest(at)
            if (worst := at(found)) > most:
                best, most = mean + found * step, worst
        return best.expand(n_byzantine, -1)

    def _largest(self, harm: Callable[[float], float]) -> float:
        """The most harmful size: of some that double from a quarter on, then around the best of them, ever closer."""
        doubling = 2 * self.evaluations // 3
        tried = {size: harm(size) for size in (2.0 ** (k - 2) for k in range(doubling))}
        factor = 2.0
        for _ in range((self.evaluations - doubling) // 2):
            best = max(tried, key=tried.__getitem__)
            factor **= 0.5
            for size in (best * factor, best / factor):
                tried[size] = harm(size)
        return max(tried, key=tried.__getitem__)
