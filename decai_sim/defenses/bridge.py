"""BRIDGE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from decai_sim.defenses.base import Aggregation, Context, Rule, TooFewRowsError
from decai_sim.defenses.bulyan import Bulyan
from decai_sim.defenses.columns import by_columns, sorting_work
from decai_sim.defenses.distances import gram_flops
from decai_sim.defenses.krum import Krum
from decai_sim.defenses.median import Median
from decai_sim.defenses.peer import PeerRule

if TYPE_CHECKING:
    import torch


class BRIDGE(PeerRule, kind="bridge"):
    """Screens the neighbours' models before averaging, by one of four rules.

    ``T``: in each coordinate the ``f`` lowest and ``f`` highest of the neighbours are left out and the rest averaged with the
    own. ``M``: the median of all, the own among them. ``K``: Krum's choice of all. ``B``: Bulyan of all.

    Source: Fang, Yang and Bajwa, "BRIDGE: Byzantine-Resilient Decentralized Gradient Descent", IEEE TSIPN 2022, Algorithm 1 and
        Section III (variants T, M, K, B); T after Yang and Bajwa, "ByRDiE", 2019.
    Assumes: at most ``f`` Byzantine neighbours; for T at least ``2f + 1`` neighbours, for B at least ``4f + 2``.
    Deviations: runs with ``2f`` neighbours too, when T keeps the own model.
    Breaks down: ``T`` with ``f + 1`` neighbours on one side of the honest; ``M`` with half of all; ``K`` and ``B`` as Krum and
        Bulyan of ``n + 1`` rows.
    Costs: ``O(nd log n)`` for ``T`` and ``M``, which sort each coordinate; for ``K`` and ``B`` a Gram matrix of its own,
        ``O(n²d)``, since the own model is one more row.

    Attributes:
        variant: which rule screens.

    Example:
        >>> import torch
        >>> about = Context(own=torch.tensor([1.0]))
        >>> BRIDGE(f=1)(torch.tensor([[2.0], [3.0], [90.0]]), about).tolist()
        [2.0]
        >>> BRIDGE(f=1, variant="M")(torch.tensor([[2.0], [90.0]]), about).tolist()
        [2.0]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = tuple({"f": 1, "variant": variant} for variant in "TMKB")

    variant: Literal["T", "M", "K", "B"] = "T"

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        own = self.own(rows, context)
        n = len(rows)
        if self.variant == "T":
            f = self.assumed_f(context)
            if 2 * f > n:
                raise TooFewRowsError(f"bridge.f: {f} is not allowed with {n} rows: choose at most {n // 2}, so that 2f <= n")
            kept = torch.ones(n, dtype=torch.bool, device=rows.device)
            if 2 * f == n:
                return Aggregation(own.clone(), None, kept)
            # The mean of what is left, with the own counting as one more.
            left = n - 2 * f
            inner = by_columns(rows, lambda ordered: ordered[:, f : n - f].mean(dim=1))
            return Aggregation((left * inner + own) / (left + 1), None, kept)
        rule: Rule = Median() if self.variant == "M" else Krum() if self.variant == "K" else Bulyan()
        f = self.assumed_f(context) if self.variant != "M" else 0
        result = rule.explain(torch.cat([rows, own[None]]), Context(f=f))
        weights = None if result.weights is None else result.weights[:-1]
        return Aggregation(result.value, weights, result.kept[:-1], None if result.scores is None else result.scores[:-1])

    def work(self, n: int, d: int, f: int) -> float:
        if self.variant in "TM":
            return sorting_work(n, d)
        rule = Krum() if self.variant == "K" else Bulyan()
        return gram_flops(n + 1, d) + rule.work(n + 1, d, f)
