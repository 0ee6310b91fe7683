"""Free-riding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class FreeRide(UpdateAttack):
    """Attackers train nothing and send something that may pass for an update, to get the model that others make.

    They send nothing new, ``0``, or how the global model moved last time; disguised, with noise ``N(0, (disguise·σ)²)`` on it.

    Source: Lin, Du and Liu, "Free-riders in Federated Learning: Attacks and Defenses", 2019 (arXiv:1911.12560), delta weights
        attack; Fraboni, Vidal and Lorenzi, "Free-rider Attacks on Model Aggregation in Federated Learning", AISTATS 2021 (plain
        and disguised free-riders).
    Assumes: attackers who got the model twice in a row (``view.previous``); before, they can only send zeros.
    Deviations: ``σ`` is the deviation of the last movement's coordinates, so that the noise shrinks as training settles, in place
        of a falling function of the round whose parameters are found from the first movement. In a run their devices work as
        long as if they trained.

    Attributes:
        sends: ``nothing``, or the ``previous`` movement.
        disguise: how many deviations the noise has; 0: none.

    Example:
        >>> import torch
        >>> moved = View(previous=torch.tensor([1.0, -1.0]))
        >>> FreeRide()(torch.ones(3, 2), 1, torch.Generator(), moved).tolist()
        [[0.0, 0.0]]
        >>> FreeRide(sends="previous")(torch.ones(3, 2), 1, torch.Generator(), moved).tolist()
        [[1.0, -1.0]]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"sends": "previous", "disguise": 0.5})

    sends: Literal["nothing", "previous"] = "nothing"
    disguise: float = Field(default=0.0, ge=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        import torch

        sent = honest.new_zeros(n_byzantine, honest.shape[1])
        if view is None or view.previous is None:
            return sent
        moved = view.previous.to(honest)
        if self.sends == "previous":
            sent = sent + moved
        if self.disguise:
            noise = torch.randn(sent.shape, generator=generator, dtype=sent.dtype).to(sent.device)
            sent = sent + self.disguise * moved.std(correction=0) * noise
        return sent
