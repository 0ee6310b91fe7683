"""The defense family: aggregation rules, the mixing steps before them, and chains of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, overload

from pydantic import Field

from decai_sim.component import Component

if TYPE_CHECKING:
    import torch

    from decai_sim.defenses.chain import Chain, MixingChain


@dataclass(frozen=True)
class Context:
    """What some rules need beside the rows.

    Attributes:
        f: how many of the rows are assumed Byzantine when the rule does not say itself.
        num_examples: ``(n,)`` sample counts of the rows; used only by rules that are asked to weigh by them.
        own: ``(d,)`` the aggregating node's own row (peer-to-peer rules).
        previous: ``(d,)`` the previous aggregate.
        staleness: ``(n,)`` how many versions old each row is.
        dropped: how many rows were dropped as not finite on the way here; each is one of the ``f``.
        who: ``(n,)`` integer names of the senders, the same from one aggregation to the next.
        weights: ``(n,)`` how much each row counts in the protocol's own average (peer-to-peer: the mixing weights); what is
            missing to 1 is the own row's.
        server: ``(d,)`` an update from the aggregator's own clean data, which trains as nodes do.
        loss: from rows ``(k, d)`` to the losses ``(k,)`` on the aggregator's own clean data of the model moved by each; a row of
            zeros gives the loss now.
        round: which aggregation it is, from 1.
        memory: what rules keep from one aggregation to the next, by their kinds; None: nothing is kept.
        generator: where rules that draw draw from; None: they always draw the same.
        shared: what steps of one aggregation share, such as distances between rows.
    """

    f: int | None = None
    num_examples: torch.Tensor | None = None
    own: torch.Tensor | None = None
    previous: torch.Tensor | None = None
    staleness: torch.Tensor | None = None
    dropped: int = 0
    who: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    server: torch.Tensor | None = None
    loss: Callable[[torch.Tensor], torch.Tensor] | None = None
    round: int | None = None
    memory: dict[str, Any] | None = None
    generator: torch.Generator | None = None
    shared: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def only(self, kept: torch.Tensor) -> Context:
        """The context of the rows marked in ``kept (n,)``, the others counted as dropped."""

        def pick(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None else values[kept.to(values.device)]

        return replace(
            self,
            num_examples=pick(self.num_examples),
            staleness=pick(self.staleness),
            who=pick(self.who),
            weights=pick(self.weights),
            dropped=self.dropped + int((~kept).sum()),
            shared={},
        )

    def mixed(self, matrix: torch.Tensor) -> Context:
        """The context of the rows ``matrix @ updates``: a mixed row has the mixture of the counts and ages it is made of.

        Mixed rows keep their names where there are as many as before, and have none otherwise.
        """

        def mix(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None else matrix @ values.to(matrix)

        same = matrix.shape[0] == matrix.shape[1]
        return replace(
            self,
            num_examples=mix(self.num_examples),
            staleness=mix(self.staleness),
            who=self.who if same else None,
            weights=self.weights if same else None,
            shared={},
        )

    def kept_by(self, kind: str) -> dict[str, Any]:
        """What the rule of this ``kind`` keeps from one aggregation to the next: a dictionary of its own, empty at first.

        Without a :attr:`memory` it is new each time, so that every aggregation is the first.
        """
        memory = {} if self.memory is None else self.memory
        found: dict[str, Any] = memory.setdefault(kind, {})
        return found

    def draws(self, device: torch.device | str = "cpu") -> torch.Generator:
        """Where to draw from: :attr:`generator`, or one that always begins the same."""
        import torch

        return self.generator if self.generator is not None else torch.Generator(device=device).manual_seed(0)


class TooFewRowsError(ValueError):
    """The rows at hand are too few for the ``f`` assumed: a round like that can only be passed over."""


@dataclass(frozen=True)
class Aggregation:
    """A rule's result and why.

    Attributes:
        value: ``(d,)`` the aggregate.
        weights: ``(n,)`` the share of each input row in it, where the rule is a weighted mean of rows; else None.
        kept: ``(n,)`` bool, the rows the rule used; a coordinate-wise rule uses every finite row.
        scores: ``(n,)`` the rule's suspicion of each row (higher is worse; infinite for a dropped row), where it has one;
            else None.
    """

    value: torch.Tensor
    weights: torch.Tensor | None
    kept: torch.Tensor
    scores: torch.Tensor | None = field(default=None)


class Defense(Component, family="defenses"):
    """Base of rules and mixing steps; ``a >> b`` feeds the rows of ``a`` to ``b``.

    Attributes:
        f: assumed number of Byzantine rows. None: in a run, ⌊attack.fraction·rows received⌋; called alone, an error.
    """

    f: int | None = Field(default=None, ge=0)

    def assumed_f(self, context: Context | None) -> int:
        """The number of Byzantine rows to assume among those given: ``f``, less the rows already dropped.

        Raises:
            ValueError: neither the component nor the context says.
        """
        f = self.f if self.f is not None or context is None else context.f
        if f is None:
            raise ValueError(
                f"{self.kind}.f: None is not allowed outside a run: say how many rows may be Byzantine, "
                f"as in {type(self).__name__}(f=2)"
            )
        return max(0, f - (context.dropped if context is not None else 0))

    def minority_f(self, n: int, context: Context | None) -> int:
        """:meth:`assumed_f`, refused unless it is a minority of the ``n`` rows.

        Raises:
            TooFewRowsError: ``2f >= n``.
            ValueError: ``f`` unknown.
        """
        f = self.assumed_f(context)
        if 2 * f >= n:
            rows = f"{n} finite rows" if context is not None and context.dropped else f"{n} rows"
            raise TooFewRowsError(f"{self.kind}.f: {f} is not allowed with {rows}: choose at most {(n - 1) // 2}, so that 2f < n")
        return f

    def _rows(self, updates: torch.Tensor) -> torch.Tensor:
        if updates.ndim != 2 or len(updates) == 0 or not updates.is_floating_point():
            raise ValueError(
                f"{self.kind}: updates of shape {tuple(updates.shape)} and {updates.dtype} are not allowed: "
                "give a floating-point matrix (n, d) with n >= 1"
            )
        return updates.detach()

    def _finite(self, updates: torch.Tensor) -> torch.Tensor:
        low, high = updates.aminmax(dim=1) if updates.shape[1] else (updates.new_zeros(len(updates)),) * 2
        kept = low.isfinite() & high.isfinite()
        if not kept.any():
            raise TooFewRowsError(f"{self.kind}: none of the {len(updates)} rows is finite: nothing is left to aggregate")
        return kept


class Rule(Defense, abstract=True):
    """An aggregation rule: ``(n, d)`` rows in, one ``(d,)`` row out. Robust rules ignore sample counts.

    A rule of one's own defines :meth:`aggregate`; :meth:`explain` and the call are built on it.
    """

    robust: ClassVar[bool] = True
    """Whether rows with NaN or infinite entries are dropped first, each counting as one of the ``f``."""

    def __call__(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The aggregate ``(d,)`` of ``updates (n, d)``; see :meth:`explain`."""
        return self.explain(updates, context).value

    def explain(self, updates: torch.Tensor, context: Context | None = None) -> Aggregation:
        """Aggregate, and say what was kept.

        Args:
            updates: ``(n, d)`` rows ``w_local - w_global``, n ≥ 1.
            context: what else is known; needed when ``f`` is None.

        Returns:
            The aggregate and what became of each of the ``n`` rows.

        Raises:
            ValueError: no (finite) rows, too few rows for ``f``, or ``f`` unknown.
        """
        updates = self._rows(updates)
        if not self.robust:
            return self.aggregate(updates, context)
        kept = self._finite(updates)
        if kept.all():
            return self.aggregate(updates, context)
        return spread(self.aggregate(updates[kept], (context or Context()).only(kept)), kept)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        """What the rule does with ``rows (n, d)``, all of them finite if it is robust.

        Args:
            rows: the rows left, n ≥ 1; not to be written to.
            context: about these rows; read ``f`` by ``self.assumed_f(context)``.

        Returns:
            The aggregate and what became of each of these rows.
        """
        raise NotImplementedError

    def __rshift__(self, other: object) -> Any:
        """Refused: nothing comes after a rule."""
        if not isinstance(other, Defense):
            return NotImplemented
        raise TypeError(f"{self.kind} >> {other.kind}: {self.kind} is a rule and ends a chain; only mixing steps go before")


class Mixing(Defense, abstract=True):
    """A step before the rule: ``(n, d)`` rows in, ``(n, d)`` mixed rows out."""

    def __call__(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The mixed rows ``(n, d)``; see :meth:`mixing`. A row that is not finite stays as it is and reaches no other."""
        updates = self._rows(updates)
        kept = self._finite(updates)
        if kept.all():
            return self.mixing(updates, context).to(updates) @ updates
        rows = updates[kept]
        mixed = updates.clone()
        mixed[kept] = self.mixing(rows, (context or Context()).only(kept)).to(updates) @ rows
        return mixed

    def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The mixing matrix ``(n, n)``, rows summing to 1, whose product with ``updates`` are the mixed rows.

        Args:
            updates: ``(n, d)`` finite rows, n ≥ 1; not to be written to.
            context: about these rows; read ``f`` by ``self.assumed_f(context)``.
        """
        raise NotImplementedError

    @overload
    def __rshift__(self, other: Rule) -> Chain: ...
    @overload
    def __rshift__(self, other: Mixing) -> MixingChain: ...
    def __rshift__(self, other: object) -> Any:
        """``self >> other``: a chain that mixes first, then mixes on or applies a rule."""
        from decai_sim.defenses.chain import join

        return join(self, other) if isinstance(other, Defense) else NotImplemented


def spread(result: Aggregation, kept: torch.Tensor) -> Aggregation:
    """Say of all rows what ``result`` says of those marked in ``kept (n,)``: the others have weight 0 and infinite score."""

    def place(values: torch.Tensor | None, fill: float) -> torch.Tensor | None:
        if values is None:
            return None
        placed = values.new_full(kept.shape, fill)
        placed[kept] = values
        return placed

    used = kept.clone()
    used[kept] = result.kept
    return Aggregation(result.value, place(result.weights, 0.0), used, place(result.scores, float("inf")))
