"""Model replacement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.badnets import BadNets
from decai_sim.attacks.base import DataAttack, UpdateAttack, View
from decai_sim.component import field_of

if TYPE_CHECKING:
    import torch


class ModelReplacement(UpdateAttack):
    """Attackers learn a backdoor and send it so loud that the mean of all becomes their model: ``γ·x``, ``γ = n/(η·b)``.

    Source: Bagdasaryan et al., "How To Backdoor Federated Learning", AISTATS 2020, Section 4.2 and equation 3 (``γ = n/η``,
        shared by ``b`` attackers); with ``norm``, Section 4.3 (train-and-scale).
    Assumes: a server that adds ``η`` times the mean of the rows; attackers who know how many rows there are, and how many are
        theirs.
    Deviations: the paper trains with a second loss to stay unsuspicious, here the backdoor is whatever ``data`` makes of
        training. Without ``view.n``, the rows are those shown and their own; without ``view.own``, what is scaled is the mean of
        the honest.

    Attributes:
        data: the backdoor; any attack on data.
        server_lr: ``η``, by how much the server multiplies the mean.
        norm: the longest row they dare to send; shorter ones are still scaled by ``γ``. None: as long as it takes.

    Example:
        >>> import torch
        >>> own = torch.tensor([[1.0, -2.0]])
        >>> ModelReplacement()(torch.zeros(9, 2), 1, torch.Generator(), View(own=own, n=10, f=1)).tolist()
        [[10.0, -20.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"server_lr": 0.5, "norm": 3, "data": {"kind": "label_flip"}})

    data: field_of(DataAttack) | None = BadNets()  # type: ignore[valid-type]
    server_lr: float = Field(default=1.0, gt=0)
    norm: float | None = Field(default=None, gt=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        ours = self._if_honest(honest, n_byzantine, view)
        b = n_byzantine if view is None or view.f is None else view.f
        n = len(honest) + b if view is None or view.n is None else view.n
        sent = ours * (n / (self.server_lr * max(1, b)))
        if self.norm is None:
            return sent
        factor: torch.Tensor = self.norm / sent.norm(dim=1, keepdim=True).clamp(min=self.norm)
        return sent * factor
