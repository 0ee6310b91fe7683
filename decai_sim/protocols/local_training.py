"""What protocols that train have in common: how a node trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from decai_sim.component import field_of
from decai_sim.learning.optimisers import SGD, Optimiser
from decai_sim.protocols.base import Protocol

if TYPE_CHECKING:
    from decai_sim.learning.training import Plan


class LocalTraining(Protocol, abstract=True):
    """Base of protocols whose nodes train on their own data.

    Attributes:
        local_epochs: passes over a node's own data.
        local_steps: as many steps instead of whole epochs; None: epochs.
        batch_size: samples a step.
        lr: learning rate of the nodes.
        optimiser: what takes their steps.
        prox_mu: how strongly a node's model is held to the one it starts from (FedProx; Li et al., MLSys 2020, eq. 2).
        clip_norm: the longest gradient; longer ones are shortened to it. None: any.
        keep_state: whether a node's optimiser goes on where it stopped the last time.
        personal: beginnings of names of parameters that stay at the nodes, such as ``3.`` for a model's last layer
            (FedPer; Arivazhagan et al., arXiv:1912.00818).
        precision: of products in training; ``bfloat16`` is for GPUs.
    """

    local_epochs: int = Field(default=1, ge=1)
    local_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=10, ge=1)
    lr: float = Field(default=0.1, gt=0)
    optimiser: field_of(Optimiser) = SGD()  # type: ignore[valid-type]
    prox_mu: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    keep_state: bool = False
    personal: tuple[str, ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"

    def plan(self, **more: Any) -> Plan:
        """How a node trains, with ``more`` that the protocol has it do."""
        from decai_sim.learning.training import Plan

        return Plan(
            epochs=self.local_epochs,
            steps=self.local_steps,
            batch_size=self.batch_size,
            lr=self.lr,
            optimiser=self.optimiser,
            prox_mu=self.prox_mu,
            clip_norm=self.clip_norm,
            keep=self.keep_state,
            personal=self.personal,
            precision=self.precision,
            **more,
        )
