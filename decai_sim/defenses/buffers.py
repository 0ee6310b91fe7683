"""Buffers: senders share slots, and slots are averaged first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Context, Mixing

if TYPE_CHECKING:
    import torch


class Buffers(Mixing):
    """Averages the updates of senders ``s`` with the same ``s mod B`` before a rule sees them, however many each has sent.

    Source: Yang and Li, "BASGD: Buffered Asynchronous SGD for Byzantine Learning", ICML 2021, Section 3 and Algorithm 2.
    Assumes: senders whose names stay (``context.who``); fewer than half of the buffers hold a Byzantine sender, ``B > 2f``, and
        the rule that follows bears as many.
    Deviations: buffers with nothing in them are left out, where the paper waits until each has something.
    Breaks down: where the rule after it does, with as many rows of theirs as buffers that hold a Byzantine sender: at worst one
        for each, whatever it sends and how often.
    Costs: ``O(nd)``; distances known before it are passed on to the buffers.

    Attributes:
        buffers: ``B``.

    Example:
        >>> import torch
        >>> Buffers(buffers=2)(torch.tensor([[1.0], [3.0], [8.0]]), Context(who=torch.tensor([0, 2, 5]))).tolist()
        [[2.0], [8.0]]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"who"})
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"buffers": 3})

    buffers: int = Field(default=10, ge=1)

    def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The matrix with the mean of each buffer that has rows; see :meth:`Mixing.mixing`."""
        import torch

        who = self.given(context).who
        assert who is not None
        found, places = torch.unique(who.to(updates.device) % self.buffers, return_inverse=True)
        matrix = updates.new_zeros(len(found), len(updates))
        matrix.scatter_(0, places[None], 1)
        return matrix / matrix.sum(dim=1, keepdim=True)

    def rows_left(self, n: int) -> int:
        return min(n, self.buffers)

    def work(self, n: int, d: int, f: int) -> float:
        return 1.0 * n * d
