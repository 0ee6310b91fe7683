"""Lying about how many samples one has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class LieCount(UpdateAttack):
    """Attackers claim ``factor`` times the samples they have, so that a mean weighted by sample counts listens to them more.

    Source: weights ``n_k/n`` of federated averaging, McMahan et al., AISTATS 2017, Algorithm 1, are the clients' own claims.
    Assumes: a server that weighs by sample counts and cannot check them; rules that do not are not moved.
    Deviations: none. What is sent is the honest update, or what training on ``data`` comes to.

    Attributes:
        factor: how many times as many; below 1 fewer. Rounded, and at least one sample.

    Example:
        >>> LieCount(factor=100).claims(12), LieCount(factor=0.01).claims(12)
        (1200, 1)
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"factor": 0.5, "data": {"kind": "label_flip"}})

    factor: float = Field(default=100.0, gt=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        return self._if_honest(honest, n_byzantine, view)

    def claims(self, num_examples: int) -> int:
        return max(1, round(self.factor * num_examples))
