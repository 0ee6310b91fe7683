"""Mimicry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack, View

if TYPE_CHECKING:
    import torch


class Mimic(UpdateAttack):
    """All attackers send what one honest node sends: nothing is wrong with any row, but one node counts for many.

    Source: Karimireddy, He and Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022, Section 3.2
        and Appendix B.
    Assumes: colluding attackers who see honest updates; honest nodes that differ from each other.
    Deviations: the paper learns the direction of largest variance over a warm-up and then copies one node for good. Here the node
        is chosen anew in every round: the one farthest along the direction of largest variance of this round's honest rows, which
        on data that stays different is mostly the same few. Of ``view.own`` if no honest rows are shown.

    Attributes:
        victim: which of the rows to copy, by number, as byzfl's ``epsilon``; None: the one farthest out, as above. Where there
            are fewer rows, the last.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 0], [1.2, 0], [-5, 0.1]])
        >>> Mimic()(rows, 2, torch.Generator()).tolist() == rows[[2, 2]].tolist()
        True
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"victim": 4})

    victim: int | None = Field(default=None, ge=0)

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        import torch

        rows = self._known(honest, n_byzantine, view)
        if n_byzantine == 0:
            return honest.new_empty(0, honest.shape[1])
        if self.victim is not None:
            which = min(self.victim, len(rows) - 1)
        else:
            centred = rows - rows.mean(dim=0)
            # Rows' places along the first principal direction are, but for a factor, the Gram matrix's last eigenvector.
            _, vectors = torch.linalg.eigh((centred @ centred.T).double())
            which = int(vectors[:, -1].abs().argmax())
        return rows[which].expand(n_byzantine, -1)
