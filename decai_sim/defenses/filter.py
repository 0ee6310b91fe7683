"""Filters: rules that take updates one at a time, as asynchronous servers get them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.defenses.base import Aggregation, Context, Rule

if TYPE_CHECKING:
    import torch


class Filter(Rule, abstract=True):
    """A rule that judges each update by itself, when it comes: base of those for asynchronous servers.

    Of many rows it averages those it lets through. A filter of one's own defines :meth:`weigh`. Its ``f`` is of all senders, not
    of the rows that happen to come together.
    """

    def accept(self, update: torch.Tensor, context: Context | None = None) -> float:
        """How much of an update to take.

        Args:
            update: ``(d,)``.
            context: about this one; what there is one of for each row has length 1.

        Returns:
            By what to multiply it; 0: not at all. An update that is not finite is not taken.

        Raises:
            ValueError: something of the context is missing.
        """
        context = self.given(context)
        rows = self._rows(update[None])
        return self.weigh(rows[0], context) if bool(rows.isfinite().all()) else 0.0

    def assumed_f(self, context: Context | None) -> int:
        """The number of senders to assume Byzantine: ``f``, or ``context.senders_f``; if nobody has said, that of the rows.

        Rows that were dropped take nothing off it: their senders are still there.
        """
        if self.f is None and context is not None and context.senders_f is not None:
            return context.senders_f
        return super().assumed_f(context) if self.f is None else self.f

    def weigh(self, update: torch.Tensor, context: Context) -> float:
        """:meth:`accept` of a finite ``update (d,)``, all that is needed given; not negative."""
        raise NotImplementedError

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        context = self.given(context)
        weights = torch.tensor([self.weigh(row, context.of_row(number)) for number, row in enumerate(rows)], dtype=torch.float64)
        kept = (weights > 0).to(rows.device)
        shares = (weights / max(1, int(kept.sum()))).to(rows)
        return Aggregation(shares @ rows, shares, kept)
