"""Backdoor on rare inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from decai_sim.attacks.base import DataAttack
from decai_sim.component import whole_share

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.data import Dataset


class EdgeCase(DataAttack):
    """Attackers relabel the least typical samples of one class: few honest nodes hold anything like them to object with.

    Source: Wang et al., "Attack of the Tails: Yes, You Really Can Backdoor Federated Learning", NeurIPS 2020, Section 3
        (``p``-edge case examples: inputs of small probability).
    Assumes: inputs that are numbers; attackers who hold samples of class ``source``.
    Deviations: the paper takes edge cases from *other* data sets (planes of one airline, digits of another century) and finds by
        a Gaussian mixture on features that they are rare; here they are the samples of the class that are farthest from its mean
        in the inputs themselves, among those that each attacker holds. The goal is measured on the test samples of the class that
        are farthest from their mean, as large a share. No triggers, no projected gradient descent: for that, combine it with
        ``model_replacement`` and its ``norm``.

    Attributes:
        source: the class whose tail is relabelled.
        target: the class it is learned as.
        tail: the share of the class's samples that are its tail, rounded down, but at least one.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[0.0], [1], [9], [5]]), torch.tensor([0, 0, 0, 1])
        >>> EdgeCase(source=0, target=1, tail=0.4).poison(x, y, torch.Generator())[1].tolist()
        [0, 0, 1, 1]
    """

    numbers: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"source": 7, "target": 1, "tail": 0.5})

    source: int = Field(default=0, ge=0)
    target: int = Field(default=1, ge=0)
    tail: float = Field(default=0.2, gt=0, le=1, title="share of the class that is its tail")

    @model_validator(mode="after")
    def _differ(self) -> EdgeCase:
        if self.source == self.target:
            raise ValueError(f"edge_case.target: {self.target} is not allowed: it must differ from source")
        return self

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        self._class("source", self.source, dataset)
        self._class("target", self.target, dataset)

    def rare(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Which samples are the tail of the source class: ``(n,)`` bool."""
        import torch

        found = torch.zeros_like(y, dtype=torch.bool)
        own = (y == self.source).nonzero().flatten()
        if len(own):
            values = x[own].flatten(1).float()
            away = (values - values.mean(dim=0)).square().sum(dim=1)
            count = max(1, whole_share(self.tail, len(own)))
            found[own[away.argsort(descending=True, stable=True)[:count]]] = True
        return found

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return x, y.masked_fill(self.rare(x, y), self.target)

    def goal(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        import torch

        return x, torch.full_like(y, self.target), self.rare(x, y)
