"""Kardam."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Context
from decai_sim.defenses.filter import Filter

if TYPE_CHECKING:
    import torch


class Kardam(Filter):
    """Takes an update if its sender's changes are no wilder than most others', and its turn is not too soon; old ones count less.

    A sender's ``K`` is how far its update moved, over how far the model moved in its last step; taken if ``K`` is at most the
    ``(n - f)/n`` quantile of all senders' last ``K``; then if none of the last ``2f`` taken was its sender's; and multiplied by
    ``e^(-ατ)``, ``τ`` its staleness.

    Source: Damaskinos et al., "Asynchronous Byzantine Machine Learning (the case of SGD)", ICML 2018, Section 3: Lipschitz
        filter, frequency filter, and staleness-aware dampening with an exponential ``Λ(τ)``.
    Assumes: at most ``f`` of all ``n`` senders are Byzantine, ``3f < n``, however many updates come together. In a run ``f`` is
        ⌊attack.fraction·nodes⌋, but no more than ``⌊(n - 1)/3⌋``: with more there might be nobody left whose turn it is. Names
        that stay (``context.who``) and a memory. With ``f = 0`` it refuses nobody.
    Deviations: the frequency filter is to ensure that among any ``2f + 1`` taken in a row no ``f`` senders hold more than ``f``,
        so that most are honest whoever the ``f`` are. That is so if and only if all are of different senders, which is asked
        of the first few too: two of one among them, and nobody could ever follow. A sender's first update, and any before the
        model has moved (``context.moved``), has no ``K`` and is let through by the Lipschitz filter. ``n`` is
        ``context.senders``, or how many are known. Under ``fedasync`` and ``fedbuff`` the dampening stands in for theirs:
        ``staleness_exponent`` has no part in it.
    Breaks down: with more than ``f`` attackers. A first update is taken whatever it is, so that with ``f`` of them long ones can
        do harm before they are refused; who sends the same each time has ``K = 0`` and is never found wild.
    Costs: ``O(d)`` an update, and ``n log n`` for the quantile; one row is kept for each sender.

    Attributes:
        alpha: ``α``, how fast updates lose weight with their age.

    Example:
        >>> import torch
        >>> about = Context(who=torch.tensor([3]), memory={}, staleness=torch.tensor([2]))
        >>> round(Kardam(f=0, alpha=0.5).accept(torch.tensor([1.0, 2.0]), about), 4)
        0.3679
    """

    needs: ClassVar[frozenset[str]] = frozenset({"who", "memory"})
    symmetric: ClassVar[bool] = False  # who comes first is let through first
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"f": 1}, {"f": 0, "alpha": 0}, {})

    dampens: ClassVar[bool] = True

    alpha: float = Field(default=0.2, ge=0)

    def weigh(self, update: torch.Tensor, context: Context) -> float:
        assert context.who is not None
        f = self.assumed_f(context)
        if context.senders is not None:
            f = min(f, (context.senders - 1) // 3)
        memory = context.kept_by(self.kind)
        last: dict[int, torch.Tensor] = memory.setdefault("last", {})
        wildness: dict[int, float] = memory.setdefault("wildness", {})
        taken: list[int] = memory.setdefault("taken", [])
        name = int(context.who.reshape(-1)[0])
        before, moved = last.get(name), context.moved or 0.0
        last[name] = update.clone()
        if before is not None and moved > 0:
            mine = wildness[name] = float((update.double() - before.double().to(update.device)).norm()) / moved
            if mine > _quantile(sorted(wildness.values()), f, context.senders or len(last)):
                return 0.0
        if name in taken[max(0, len(taken) - 2 * f) :]:
            return 0.0
        taken.append(name)
        del taken[: -(2 * f + 1)]
        age = 0.0 if context.staleness is None else float(context.staleness.reshape(-1)[0])
        return math.exp(-self.alpha * age)

    def work(self, n: int, d: int, f: int) -> float:
        return 5.0 * n * d


def _quantile(ordered: list[float], f: int, senders: int) -> float:
    """The value that a share ``(n - f)/n`` of ``ordered`` does not exceed."""
    share = max(0, senders - f) / senders
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]
