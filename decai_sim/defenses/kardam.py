"""Kardam."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Context
from decai_sim.defenses.filter import Filter

if TYPE_CHECKING:
    import torch


class Kardam(Filter):
    """Takes an update if its sender's changes are no wilder than most others', and its turn is not too soon; old ones count less.

    A sender's ``K`` is how far its update moved, over how far the model moved in between; taken if ``K`` is at most the
    ``(n - f)/n`` quantile of all senders' last ``K``; then if among the last ``2f + 1`` taken no ``f`` senders hold more than
    ``f``; and multiplied by ``e^(-ατ)``, ``τ`` its staleness.

    Source: Damaskinos et al., "Asynchronous Byzantine Machine Learning (the case of SGD)", ICML 2018, Section 3: Lipschitz
        filter, frequency filter, and staleness-aware dampening with an exponential ``Λ(τ)``.
    Assumes: at most ``f`` of the senders are Byzantine, ``3f < n``; names that stay (``context.who``) and a memory. Without
        ``f`` the frequency filter is off.
    Deviations: the frequency filter is our reading of what it is to ensure, that among any ``2f + 1`` taken in a row most are
        honest whoever the ``f`` are. How far the model moved is ``|context.previous|``, the last aggregate; a sender's first
        update, and any before the model has moved, is let through by the Lipschitz filter, since it has no ``K``. ``n`` is how
        many senders are known.

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

    alpha: float = Field(default=0.2, ge=0)

    def weigh(self, update: torch.Tensor, context: Context) -> float:
        assert context.who is not None
        f = self.assumed_f(context)
        memory = context.kept_by(self.kind)
        last: dict[int, torch.Tensor] = memory.setdefault("last", {})
        wildness: dict[int, float] = memory.setdefault("wildness", {})
        taken: list[int] = memory.setdefault("taken", [])
        name = int(context.who.reshape(-1)[0])
        before, moved = last.get(name), 0.0 if context.previous is None else float(context.previous.double().norm())
        last[name] = update.clone()
        if before is not None and moved > 0:
            mine = wildness[name] = float((update.double() - before.double().to(update.device)).norm()) / moved
            if mine > _quantile(sorted(wildness.values()), f, len(last)):
                return 0.0
        if f > 0:
            recent = [*taken[-2 * f :], name]
            if len(recent) > 2 * f and sum(count for _, count in Counter(recent).most_common(f)) > f:
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
