"""Bucketing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Context, Mixing, Stepped

if TYPE_CHECKING:
    import torch


class Bucketing(Mixing):
    """Shuffles the updates and averages every ``s`` of them: fewer rows, more alike, for the rule that follows.

    Source: Karimireddy, He and Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022,
        Algorithm 1.
    Assumes: few enough Byzantine rows: up to ``f`` of the ``⌈n/s⌉`` rows that come out are theirs in part, and the rule must
        bear so many.
    Deviations: none. The last bucket may be smaller.
    Breaks down: where the rule after it does, each attacker being in one bucket: with ``b`` of them up to ``b`` of the ``⌈n/s⌉``
        rows are theirs.
    Costs: ``O(nd)``; distances known before it are passed on to the buckets, and ``n/s`` rows make those of the rule ``s²`` times
        cheaper.

    Attributes:
        s: rows in a bucket; 1: no mixing.

    Example:
        >>> import torch
        >>> Bucketing(s=2)(torch.tensor([[1.0], [3.0], [5.0]])).mean(dim=0).isfinite().tolist()
        [True]
    """

    symmetric: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"s": 3}, {"s": 1})

    s: int = Field(default=2, ge=1)

    def step(self, rows: torch.Tensor, context: Context | None) -> Stepped:
        # By picking rows: the product with a matrix that is nearly all zeros takes n/s times as long.
        matrix = self.mixing(rows, context)
        mixed = rows.new_empty(len(matrix), rows.shape[1])
        for number, shares in enumerate(matrix):
            inside = shares.nonzero()[:, 0]
            mixed[number] = shares[inside] @ rows[inside]
        return Stepped(mixed, matrix)

    def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The matrix with ``1/s`` at the rows of each bucket; see :meth:`Mixing.mixing`."""
        import torch

        n = len(updates)
        generator = (context or Context()).draws()
        order = torch.randperm(n, generator=generator, device=generator.device).to(updates.device)
        matrix = updates.new_zeros(self.rows_left(n), n)
        matrix[torch.arange(n, device=updates.device) // self.s, order] = 1
        return matrix / matrix.sum(dim=1, keepdim=True)

    def rows_left(self, n: int) -> int:
        return -(-n // self.s)

    def work(self, n: int, d: int, f: int) -> float:
        return 1.0 * n * d
