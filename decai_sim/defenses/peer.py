"""Rules for a node among others, which has a model of its own to hold on to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule

if TYPE_CHECKING:
    import torch


class PeerRule(Rule, abstract=True):
    """A rule whose rows are the neighbours' models; the node's own is ``context.own``, and is not among them.

    What an aggregation's weights lack to 1 is the own model's.
    """

    peer: ClassVar[bool] = True
    rest: ClassVar[str | None] = "own"
    needs: ClassVar[frozenset[str]] = frozenset({"own"})

    def own(self, rows: torch.Tensor, context: Context | None) -> torch.Tensor:
        """The own model ``(d,)``."""
        own = self.given(context).own
        assert own is not None
        return own.to(rows)

    def mixing_weights(self, rows: torch.Tensor, context: Context | None) -> torch.Tensor:
        """How much each neighbour counts in the protocol's own average, ``(n,)`` float64; ``1/(n + 1)`` if it does not say."""
        weights = context.weights if context is not None else None
        if weights is None:
            return rows.new_full((len(rows),), 1 / (len(rows) + 1)).double()
        return weights.to(rows.device).double()

    def leaning(self, rows: torch.Tensor, own: torch.Tensor, weights: torch.Tensor, scores: torch.Tensor | None) -> Aggregation:
        """The own model, moved towards rows by ``weights (n,)``: ``(1 - Σw) own + Σ w_i x_i``; without weight, not kept."""
        shares = weights.to(rows.dtype)
        return Aggregation(shares @ rows + (1 - shares.sum()) * own, shares, shares != 0, scores)

    def work(self, n: int, d: int, f: int) -> float:
        return 5.0 * n * d
