"""Label flipping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from decai_sim.attacks.base import DataAttack
from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.data import Dataset

_STEPS = 100


class LabelFlip(DataAttack):
    """Attackers learn every label ``y`` as ``classes - 1 - y``, or some labels as others, and are otherwise honest.

    Source: Fang et al., USENIX Security 2020, Section 4.1 (label flipping attack, ``l → L - l - 1``); targeted: Tolpegin et al.,
        ESORICS 2020, Section 3.2; dynamic: Shejwalkar et al., IEEE S&P 2022, Section IV-B (to the least probable label under a
        surrogate model).
    Assumes: control over the attackers' own labels only; no knowledge of anybody else.
    Deviations: with an odd number of classes and mode ``all``, the middle label stays. The surrogate of mode ``dynamic`` is a
        softmax regression that each attacker fits to its own samples (100 steps of gradient descent on standardised inputs),
        instead of the task's model on all data that attackers share.

    Attributes:
        classes: number of classes ``L`` of the task; one attacker's labels need not show all of them.
        mode: ``all``, ``y`` to ``classes - 1 - y``; ``targeted``, ``source`` to ``target``; ``dynamic``, each to the class least
            probable for its sample.
        source: the class that mode ``targeted`` relabels.
        target: what it is learned as.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(3, 2), torch.tensor([0, 1, 9])
        >>> LabelFlip(classes=10).poison(x, y, torch.Generator())[1].tolist()
        [9, 8, 0]
        >>> LabelFlip(mode="targeted", source=1, target=7).poison(x, y, torch.Generator())[1].tolist()
        [0, 7, 9]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"mode": "targeted", "source": 5, "target": 3},
        {"mode": "dynamic"},
    )

    classes: int = Field(default=10, ge=2)
    mode: Literal["all", "targeted", "dynamic"] = "all"
    source: int = Field(default=0, ge=0)
    target: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _differ(self) -> LabelFlip:
        if self.mode == "targeted" and self.source == self.target:
            raise ValueError(f"label_flip.target: {self.target} is not allowed: it must differ from source")
        return self

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        if self.classes != dataset.classes:
            raise ScenarioError(f"attack.classes: {self.classes} is not allowed: the task has {dataset.classes} classes")
        if self.mode == "targeted":
            self._class("source", self.source, dataset)
            self._class("target", self.target, dataset)
        if self.mode == "dynamic" and dataset.tokens:
            raise ScenarioError(
                f"attack.mode: 'dynamic' is not allowed: its surrogate takes numbers, and the inputs of {dataset.name} are tokens"
            )

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        if y.numel() and int(y.max()) >= self.classes:
            raise ValueError(
                f"label_flip.classes: {self.classes} is not allowed with label {int(y.max())}: "
                f"say at least {int(y.max()) + 1}, the number of classes of the task"
            )
        if self.mode == "targeted":
            return x, y.masked_fill(y == self.source, self.target)
        if self.mode == "dynamic" and len(y):
            return x, least_probable(x, y, self.classes)
        return x, self.classes - 1 - y

    def goal(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        import torch

        if self.mode != "targeted":
            return None
        return x, torch.full_like(y, self.target), y == self.source


def least_probable(x: torch.Tensor, y: torch.Tensor, classes: int) -> torch.Tensor:
    """For each sample the class that a softmax regression, fitted to all of them, finds least probable; never its own.

    Args:
        x: ``(n, ...)`` inputs that are numbers, n ≥ 1.
        y: ``(n,)`` labels.
        classes: how many there are; ties go to the lowest.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[-1.0], [0], [1]]), torch.tensor([0, 1, 2])
        >>> least_probable(x, y, 3).tolist()[::2]
        [2, 0]
    """
    import torch
    from torch.nn.functional import one_hot

    values = x.flatten(1).float()
    values = (values - values.mean(dim=0)) / values.std(dim=0, correction=0).clamp(min=1e-6)
    # A step of 1 is then stable whatever the number of features: half the largest eigenvalue of the Hessian is below 1.
    values = torch.cat([values / max(1, values.shape[1]) ** 0.5, torch.ones_like(values[:, :1])], dim=1)
    truth = one_hot(y, classes).float()
    weights = values.new_zeros(values.shape[1], classes)
    for _ in range(_STEPS):
        weights -= values.T @ ((values @ weights).softmax(dim=1) - truth) / len(y)
    return (values @ weights).masked_fill(truth.bool(), float("inf")).argmin(dim=1)
