"""Local model poisoning, made for one rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.attacks.harm import deviation

if TYPE_CHECKING:
    import torch

_BEYOND = 2.0
"""How far beyond the honest rows' range, the paper's b."""
_SMALLEST = 1e-5


class Fang(UpdateAttack):
    """Attackers push every coordinate against the way it would go, as far as the rule they have in mind lets them.

    ``s`` being the signs of the honest mean: against Krum all send ``-λ·s`` with the largest ``λ`` for which Krum would choose
    it, found by halving; against trimmed mean and median they draw each coordinate just beyond the honest rows' range, on the
    side against ``s``.

    Source: Fang, Cao, Jia and Gong, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning", USENIX Security 2020,
        Sections 4.2 (Krum; ``λ`` from Theorem 1's bound) and 4.3 (trimmed mean; median alike); ``b = 2``.
    Assumes: colluding attackers. With full knowledge they see honest updates; with partial knowledge only those that they would
        have sent themselves, whose signs, means and deviations stand for the others'.
    Deviations: the paper crafts models, here updates: the range that coordinates are drawn from scales with the update. Against
        Krum, all send the same row instead of neighbours within a small distance, halving ends at 1e-5 of the bound instead of
        1e-5, and if nothing was chosen by then the last is sent. With partial knowledge they try Krum on their own rows with one
        more crafted row at a time, as the paper does, each time with as many assumed Byzantine as were crafted.

    Attributes:
        target: the rule it is made for; the server may use another.
        knowledge: whether honest rows are used, or ``view.own`` alone.

    Example:
        >>> import torch
        >>> sent = Fang(target="median")(torch.tensor([[1.0, -4], [2, -2]]), 1, torch.Generator().manual_seed(0))[0]
        >>> bool(0.5 <= sent[0] <= 1), bool(-2 <= sent[1] <= -1)
        (True, True)
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"target": "krum"},
        {"target": "median", "knowledge": "partial"},
        {"target": "krum", "knowledge": "partial"},
    )

    target: Literal["krum", "trimmed_mean", "median"] = "trimmed_mean"
    knowledge: Literal["full", "partial"] = "full"

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        import torch

        known = self._known(honest, n_byzantine, view)
        own, partial = self._own(n_byzantine, view), self.knowledge == "partial"
        rows = own.to(honest) if partial and own is not None else known
        if n_byzantine == 0:
            return honest.new_empty(0, honest.shape[1])
        mean = rows.mean(dim=0)
        up = mean >= 0  # which coordinates would grow
        if self.target == "krum":
            against = self._against(len(rows), n_byzantine, view)
            sent = torch.where(up, -1.0, 1.0).to(rows) * (
                _tried_one_by_one(rows, up, n_byzantine) if partial else _taken_by_krum(rows, up, against, against)[0]
            )
            return sent.expand(n_byzantine, -1)
        u = torch.rand(n_byzantine, rows.shape[1], generator=generator, dtype=rows.dtype).to(rows.device)
        if partial:
            return mean + torch.where(up, -1.0, 1.0).to(rows) * (3 + u) * deviation(rows)
        top, low = rows.amax(dim=0), rows.amin(dim=0)
        above = torch.lerp(top, torch.where(top > 0, top * _BEYOND, top / _BEYOND), u)
        below = torch.lerp(low, torch.where(low > 0, low / _BEYOND, low * _BEYOND), u)
        return torch.where(up, below, above)


def _tried_one_by_one(rows: torch.Tensor, up: torch.Tensor, most: int) -> float:
    """``λ`` by trying Krum on the attackers' own rows with one crafted row, then two, and so on."""
    for crafted in range(1, most + 1):
        size, taken = _taken_by_krum(rows, up, crafted, crafted)
        if taken:
            break
    return size


def _taken_by_krum(rows: torch.Tensor, up: torch.Tensor, crafted: int, f: int) -> tuple[float, bool]:
    """The largest ``λ``, by halving, for which Krum chooses ``-λ·s``, sent by ``crafted``; and whether it does so at all."""
    import torch

    h, d = rows.shape
    signs = torch.where(up, 1.0, -1.0).to(rows)
    centred = rows - rows.mean(dim=0)
    gram = (centred @ centred.T).double()
    squares = gram.diagonal()
    gaps = (squares[:, None] + squares - 2 * gram).clamp(min=0).fill_diagonal_(float("inf"))
    lengths, along = rows.square().sum(dim=1, dtype=gaps.dtype), (rows @ signs).double()
    n = h + crafted
    neighbours = max(1, n - f - 2)
    # Theorem 1, with w_Re = 0, since rows are updates.
    size = float(lengths.max().sqrt()) / d**0.5
    if h > 1:
        nearest = gaps.topk(min(neighbours, h - 1), largest=False).values.sum(dim=1).min()
        size += float((nearest / (max(1, n - 2 * f - 1) * d)).sqrt())
    smallest = _SMALLEST * size
    while True:
        away = lengths + 2 * size * along + size**2 * d  # of each row from the crafted ones
        to_all = torch.cat([away.new_zeros(crafted - 1), away])
        ours = to_all.topk(min(neighbours, len(to_all)), largest=False).values.sum()
        theirs = torch.cat([gaps, away[:, None].expand(-1, crafted)], dim=1).topk(min(neighbours, n - 1), largest=False)
        if ours < theirs.values.sum(dim=1).min():
            return size, True
        if size / 2 <= smallest:
            return size, False
        size /= 2
