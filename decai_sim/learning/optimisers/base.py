"""The optimiser family: steps of many models at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.component import Component

if TYPE_CHECKING:
    import torch

    Named = dict[str, torch.Tensor]


class Optimiser(Component, family="optimisers"):
    """Base of optimisers: the same step for many models side by side, and for one by PyTorch's own implementation.

    What an optimiser keeps of a model between steps are its :attr:`slots`, each as large as the model, and the number of its
    steps; all are zero in the beginning.
    """

    @property
    def slots(self) -> tuple[str, ...]:
        """What is kept per parameter, by the names that ``torch.optim`` has for it."""
        return ()

    def step(self, params: Named, slopes: Named, kept: dict[str, Named], steps: torch.Tensor, lr: float) -> None:
        """Change ``params`` and ``kept`` in place.

        Args:
            params: ``(k, *shape)`` each, the parameters of ``k`` models.
            slopes: their gradients, alike; may be changed.
            kept: the slots, each like ``params``.
            steps: ``(k,)`` how manieth step of its model this is, from 1.
            lr: learning rate.
        """
        raise NotImplementedError

    def torch(self, params: list[torch.Tensor], lr: float) -> torch.optim.Optimizer:
        """The same for one model, as PyTorch has it."""
        raise NotImplementedError


def per_model(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``values (k,)``, shaped to be multiplied with ``like (k, *shape)``."""
    return values.view(-1, *[1] * (like.dim() - 1))
