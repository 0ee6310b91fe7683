"""Replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class Replay(UpdateAttack):
    """Attackers send again what they sent when they were first at work: once right, ever more out of date.

    Source: none in particular; replayed messages are as old as protocols without freshness.
    Assumes: each attacker keeps its own first update (``view.past``); rows carry no proof of which model they began with.
    Deviations: the first time, when there is nothing to replay, they send their honest update.

    Example:
        >>> import torch
        >>> view = View(own=torch.tensor([[1.0, 2.0]]), past=torch.tensor([[7.0, 8.0]]))
        >>> Replay()(torch.zeros(3, 2), 1, torch.Generator(), view).tolist()
        [[7.0, 8.0]]
    """

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        if view is None or view.past is None:
            return self._if_honest(honest, n_byzantine, view)
        if len(view.past) != n_byzantine:
            raise ValueError(f"view.past: {len(view.past)} rows are not allowed for {n_byzantine} attackers: give one row each")
        return view.past.to(honest)
