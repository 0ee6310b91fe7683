"""FoolsGold."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import gram, gram_flops

if TYPE_CHECKING:
    import torch


class FoolsGold(Rule):
    """Gives less weight to senders whose updates, summed over all rounds, point where another's point: Sybils with one aim.

    With ``cs_ij`` the cosines of the sums and ``v_i = max_j cs_ij``: ``cs_ij`` is scaled by ``v_i/v_j`` where ``v_j > v_i``;
    then ``α_i = 1 - max_j cs_ij``, divided by the largest, and ``α_i ← κ(ln(α_i/(1 - α_i)) + ½)``, kept within [0, 1].

    Source: Fung, Yoon and Beschastnikh, "The Limitations of Federated Learning in Sybil Settings", RAID 2020, Algorithm 1.
    Assumes: honest senders' data differ, and Sybils' do not; names stay the same. Any number of Sybils; ``f`` is not used.
    Deviations: all coordinates count, not only indicative features; the result is the weighted mean ``Σ α_i x_i/Σ α_i``, where
        the paper adds up ``α_i x_i``; zeros if nobody has weight. A sender with several rows has one ``α``, for their mean.
    Breaks down: with one: a sender like no other has full weight, however long its updates. Sybils that are made to differ,
        by noise that cancels among them, are taken for honest.
    Costs: ``O(n²d)`` for the products of the sums, which no other step can share; a row is kept for each sender.

    ``explain(...).scores`` are ``1 - α``.

    Attributes:
        kappa: ``κ``, how sharply weights are pushed to 0 and 1.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 0], [0, 1], [-1, -1], [-1, -1]])
        >>> FoolsGold()(rows, Context(who=torch.arange(4), memory={})).tolist()
        [0.5, 0.5]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"who", "memory"})
    kappa: float = Field(default=1.0, gt=0)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        context = self.given(context)
        assert context.who is not None
        sums = context.kept_by(self.kind)
        names = context.who.tolist()
        for name, row in zip(names, rows, strict=True):
            sums[name] = sums[name] + row if name in sums else row.clone()
        # Two rows of one sender are no two senders with one aim: they share one sum, and one weight.
        senders = list(dict.fromkeys(names))
        found = [sums[name] for name in senders]

        def block(start: int, stop: int) -> torch.Tensor:
            return torch.stack([one[start:stop] for one in found]).double()

        per_sender = _weights(gram(block, len(senders), rows.shape[1]), self.kappa)
        place = {name: number for number, name in enumerate(senders)}
        of = torch.tensor([place[name] for name in names], device=per_sender.device)
        weights, times = per_sender[of], torch.bincount(of)[of]
        kept = weights > 0
        shares = (weights / times / per_sender.sum()).to(rows.dtype) if bool(kept.any()) else torch.zeros_like(rows[:, 0])
        return Aggregation(shares @ rows, shares, kept & (shares != 0), 1 - weights)

    def work(self, n: int, d: int, f: int) -> float:
        return gram_flops(n, d) + 3.0 * n * d + 5.0 * n * n


def _weights(products: torch.Tensor, kappa: float) -> torch.Tensor:
    n = len(products)
    inverse = products.diagonal().clamp(min=0).sqrt().reciprocal().nan_to_num(posinf=0.0)
    alike = (products * inverse[:, None] * inverse[None, :]).clamp(-1, 1).fill_diagonal_(-1)
    if n == 1:
        return products.new_ones(1)
    most = alike.max(dim=1).values
    pardon = (most[:, None] / most[None, :]).where(most[None, :] > most[:, None], 1.0)
    # Of senders unlike all others there is nothing to pardon, nor to divide by.
    pardon = pardon.where(most[None, :] > 0, 1.0).clamp(0, 1)
    weights = (1 - (alike * pardon).max(dim=1).values).clamp(0, 1)
    if not bool(weights.any()):
        return weights
    weights = weights / weights.max()
    return (kappa * ((weights / (1 - weights)).log() + 0.5)).clamp(0, 1)
