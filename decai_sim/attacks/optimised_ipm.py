"""Inner product manipulation, as strong as the rule lets it be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.attacks.harm import harm_to, line_search
from decai_sim.attacks.ipm import IPM

if TYPE_CHECKING:
    import torch


class OptimisedIPM(UpdateAttack):
    """All attackers send ``-ε·mean(honest)`` with the ``ε`` that takes the server's rule farthest from the honest mean.

    Source: Allouah et al., "Fixing by Mixing", AISTATS 2023, experiments (attacks with a line search); byzfl's
        ``Optimal_InnerProductManipulation``.
    Assumes: colluding attackers who see honest updates, know the rule (``view.rule``) and try it out; if they do not know it,
        they reckon with the mean, against which the strongest is the best.
    Deviations: unlike byzfl's, the search also looks back, tries the default of :class:`IPM`, so as never to be weaker, and goes
        no farther than ``at_most``.

    Attributes:
        step: the search's first step.
        evaluations: how often the rule is tried in a search.
        at_most: the largest ``ε``.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0], [2], [3]])
        >>> median = View(rule=lambda rows: rows.median(dim=0).values)
        >>> bool(OptimisedIPM()(rows, 2, torch.Generator(), median)[0] < 1)
        True
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"step": 1, "evaluations": 5, "at_most": 3})

    step: float = Field(default=10.0, gt=0)
    evaluations: int = Field(default=20, ge=2, le=1000)
    at_most: float = Field(default=100.0, gt=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        rows = self._known(honest, n_byzantine, view)
        if n_byzantine == 0:
            return honest.new_empty(0, honest.shape[1])
        mean = rows.mean(dim=0)
        harm = harm_to(rows, self._against(len(rows), n_byzantine, view), view.rule if view is not None else None)
        found = line_search(lambda epsilon: harm(-epsilon * mean), self.step, self.evaluations, self.at_most)
        epsilon = max((IPM().epsilon, found), key=lambda epsilon: harm(-epsilon * mean))
        return (-epsilon * mean).expand(n_byzantine, -1)
