"""Backdoors that last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.badnets import BadNets
from decai_sim.attacks.base import DataAttack, UpdateAttack, View
from decai_sim.component import field_of, whole_share

if TYPE_CHECKING:
    import torch


class Neurotoxin(UpdateAttack):
    """Attackers put their backdoor into the parameters that honest training hardly moves, so that it is not trained away.

    Of the update they would send, the coordinates in which the global model moved most are set to 0.

    Source: Zhang et al., "Neurotoxin: Durable Backdoors in Federated Learning", ICML 2022, Section 3 and Algorithm 1.
    Assumes: attackers who got the model twice in a row, from which they know how it moved (``view.previous``).
    Deviations: the paper projects every step of the attackers' training, here the finished update is projected. In a round before
        which nobody knows how the model moved, nothing is masked.

    Attributes:
        data: the backdoor; any attack on data.
        top: the share of coordinates masked out, those that moved most, rounded down.
        scale: by how much what is left is multiplied.

    Example:
        >>> import torch
        >>> own, moved = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0.1, -9, 0, 0.2])
        >>> Neurotoxin(top=0.25)(own, 1, torch.Generator(), View(own=own, previous=moved)).tolist()
        [[1.0, 0.0, 3.0, 4.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"top": 0.5, "scale": 3, "data": {"kind": "label_flip"}})

    data: field_of(DataAttack) | None = BadNets()  # type: ignore[valid-type]
    top: float = Field(default=0.05, ge=0, lt=1, title="share of coordinates masked")
    scale: float = Field(default=1.0, gt=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        sent = self.scale * self._if_honest(honest, n_byzantine, view)
        if view is None or view.previous is None:
            return sent
        masked = view.previous.abs().topk(whole_share(self.top, sent.shape[1])).indices.to(sent.device)
        return sent.index_fill(1, masked, 0.0)
