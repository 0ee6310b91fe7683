"""A little is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.attacks.harm import deviation

if TYPE_CHECKING:
    import torch


class ALIE(UpdateAttack, kind="alie"):
    """All attackers send ``μ - z·σ``, coordinate-wise: far enough to harm, near enough to pass for honest.

    Source: Baruch, Baruch and Goldberg, NeurIPS 2019, Algorithm 3; ``z = Φ⁻¹((n - m - s)/(n - m))``, ``s = ⌊n/2 + 1⌋ - m``
        supporters needed among the honest, ``n`` rows in the round, ``m`` of them the attackers'.
    Assumes: colluding attackers who know ``n`` and ``m``; the paper estimates ``μ`` and ``σ`` from the attackers' own honest
        updates, here from all honest rows they are shown.
    Deviations: with fewer than two rows shown, ``μ`` and ``σ`` are those of ``view.own``, as in the paper. ``σ`` is the unbiased
        sample deviation (divisor h - 1), as in byzfl, whose ``τ`` is our ``-z``; 0 for a single row. ``n`` is ``view.n``, else
        rows shown plus ``m``. Where attackers are a majority (s < 1) one supporter is still asked for; where no supporter can be
        won (n ≤ 2, or nobody else seen or known of) ``z = 0``.

    Attributes:
        z: deviations from the mean; None: by the formula above. A small share of attackers makes it negative: the paper's
            formula then shifts the other way.

    Example:
        >>> import torch
        >>> round(ALIE().deviations(n=25, m=5), 4)
        0.2533
        >>> ALIE(z=1.5)(torch.tensor([[1.0, 2], [4, 5], [7, 8]]), 1, torch.Generator()).tolist()
        [[-0.5, 0.5]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"z": 1.5}, {"omniscient": True, "fraction": 0.4})

    z: float | None = Field(default=None, allow_inf_nan=False)

    def deviations(self, n: int, m: int) -> float:
        """How many deviations ``m`` attackers of ``n`` rows move away: ``z``, or the paper's formula.

        Args:
            n: rows in the round, the attackers' included.
            m: attackers.
        """
        from statistics import NormalDist

        if self.z is not None:
            return self.z
        honest = n - m
        supporters = max(1, n // 2 + 1 - m)
        if supporters >= honest:
            return 0.0
        return NormalDist().inv_cdf((honest - supporters) / honest)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        own = self._own(n_byzantine, view)
        rows = own.to(honest) if len(honest) < 2 and own is not None and len(own) else honest
        if n_byzantine == 0:
            return honest.new_empty(0, honest.shape[1])
        if len(rows) == 0:
            raise ValueError("alie: neither honest rows nor view.own: there is nothing to hide among")
        m = n_byzantine if view is None or view.f is None else view.f
        n = len(honest) + m if view is None or view.n is None else view.n
        z = self.deviations(n, m)
        mean = rows.mean(dim=0)
        return (mean - z * deviation(rows)).expand(n_byzantine, -1)
