"""The defense family: aggregation rules, the steps before them, and chains of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, overload

from pydantic import Field

from decai_sim.component import Component
from decai_sim.defenses.distances import gram_flops, pass_on

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
        moved: how far the model went in its last step, whatever the rule's result was multiplied by; None: it has not moved.
        staleness: ``(n,)`` how many versions old each row is.
        dropped: how many rows were dropped as not finite on the way here; each is one of the ``f``.
        who: ``(n,)`` integer names of the senders, the same from one aggregation to the next.
        senders: how many senders there are in all, whether rows of theirs are here or not.
        senders_f: how many of all the senders are assumed Byzantine when a rule that judges senders does not say itself.
        weights: ``(n,)`` how much each row counts in the protocol's own average (peer-to-peer: the mixing weights); what is
            missing to 1 is the own row's.
        server: ``(d,)`` an update from the aggregator's own clean data, which trains as nodes do.
        loss: from rows ``(k, d)`` to the losses ``(k,)`` on the aggregator's own clean data of the model moved by each; a row of
            zeros gives the loss now.
        round: which aggregation it is, from 1.
        rounds: how many there will be; None: nobody knows.
        memory: what rules keep from one aggregation to the next, by their kinds; None: nothing is kept.
        generator: where rules that draw draw from; None: they always draw the same.
        shared: what steps of one aggregation share, such as distances between rows.
    """

    f: int | None = None
    num_examples: torch.Tensor | None = None
    own: torch.Tensor | None = None
    previous: torch.Tensor | None = None
    moved: float | None = None
    staleness: torch.Tensor | None = None
    dropped: int = 0
    who: torch.Tensor | None = None
    senders: int | None = None
    senders_f: int | None = None
    weights: torch.Tensor | None = None
    server: torch.Tensor | None = None
    loss: Callable[[torch.Tensor], torch.Tensor] | None = None
    round: int | None = None
    rounds: int | None = None
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

    def of_row(self, number: int) -> Context:
        """The context of one of the rows by itself."""

        def pick(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None else values[number : number + 1]

        return replace(
            self,
            num_examples=pick(self.num_examples),
            staleness=pick(self.staleness),
            who=pick(self.who),
            weights=pick(self.weights),
            shared={},
        )

    def stepped(self, step: Step, rows: torch.Tensor, done: Stepped) -> Context:
        """The context of what ``step`` made of ``rows``: a mixed row has the mixture of the counts and ages it is made of.

        Rows have the names of those that they stand for, and none where they do not (see :meth:`Stepped.stands_for`). Distances
        between averages of rows are got from those between the rows, where these are known.
        """
        matrix = done.matrix
        if matrix is None or not step.averages:
            return replace(self, shared={})

        def mix(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None else matrix @ values.to(matrix)

        places = done.stands_for()

        def pick(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None or places is None else values[places.to(values.device)]

        return replace(
            self,
            num_examples=mix(self.num_examples),
            staleness=mix(self.staleness),
            who=pick(self.who),
            weights=pick(self.weights),
            shared=pass_on(self.shared, rows, matrix, done.rows),
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


_WHAT = {
    "server": "an update from the aggregator's own clean data",
    "loss": "a function from rows to losses on the aggregator's own clean data",
    "own": "the aggregating node's own row",
    "who": "the senders' names, an integer a row",
    "memory": "a dictionary that stays from one aggregation to the next",
    "round": "the number of the aggregation, from 1",
}


class TooFewRowsError(ValueError):
    """The rows at hand are too few for the ``f`` assumed: a round like that can only be passed over."""


@dataclass(frozen=True)
class Aggregation:
    """A rule's result and why.

    Attributes:
        value: ``(d,)`` the aggregate.
        weights: ``(n,)`` the share of each input row in it, where the rule is a weighted sum of rows; else None. What is
            missing to 1 goes to what the rule's :attr:`Rule.rest` names, or to nothing.
        kept: ``(n,)`` bool, the rows the rule used; a coordinate-wise rule uses every finite row.
        scores: ``(n,)`` the rule's suspicion of each row (higher is worse; infinite for a dropped row), where it has one;
            else None.
    """

    value: torch.Tensor
    weights: torch.Tensor | None
    kept: torch.Tensor
    scores: torch.Tensor | None = field(default=None)


@dataclass(frozen=True)
class Short:
    """Too few rows for a step of a chain, or for a rule.

    Attributes:
        step: which.
        rows: how many come to it.
        least: how many it needs.
    """

    step: Defense
    rows: int
    least: int


class Defense(Component, family="defenses"):
    """Base of rules and of the steps before them; ``a >> b`` feeds the rows of ``a`` to ``b``.

    Attributes:
        f: assumed number of Byzantine rows. None: in a run, ⌊attack.fraction·rows received⌋; called alone, an error.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """The fields of :class:`Context` without which it does not work, such as ``server``."""
    symmetric: ClassVar[bool] = True
    """Whether the order of the rows does not matter."""
    distances: ClassVar[bool] = False
    """Whether it looks at the distances between all pairs of rows, which one aggregation computes once."""

    f: int | None = Field(default=None, ge=0)

    def flops(self, n: int, d: int, f: int | None = None) -> float:
        """About how many floating-point operations it takes to aggregate ``n`` rows of ``d`` numbers: what a node is charged.

        ``2n²d`` for all distances, if it looks at them, and :meth:`work`.

        Args:
            n: how many rows.
            d: how long they are.
            f: how many are assumed Byzantine, if it does not say itself.

        Example:
            >>> from decai_sim.defenses import Krum, Median
            >>> Krum(f=2).flops(10, 1000) > Median().flops(10, 1000)
            True
        """
        return (gram_flops(n, d) if self.compares(d) else 0.0) + self.work(n, d, (f if self.f is None else self.f) or 0)

    def work(self, n: int, d: int, f: int) -> float:
        """The part of :meth:`flops` beside distances; ``2nd``, those of a mean, if a component does not say otherwise."""
        return 2.0 * n * d

    def least_rows(self, f: int) -> int:
        """The fewest rows that it works with itself if ``f`` of them are assumed Byzantine.

        With fewer it raises :class:`TooFewRowsError`. Of a chain each step says it of the rows that come to it: see
        :meth:`falls_short`.

        Example:
            >>> from decai_sim.defenses import Bulyan, Krum
            >>> Krum().least_rows(2), Bulyan().least_rows(2)
            (5, 11)
        """
        return 1

    def falls_short(self, n: int, f: int) -> Short | None:
        """What is missing if ``n`` finite rows come, of which ``f`` are assumed Byzantine where it does not say; None: nothing.

        Example:
            >>> from decai_sim.defenses import Bucketing, Krum
            >>> short = (Bucketing() >> Krum()).falls_short(25, 7)
            >>> short.step.kind, short.rows, short.least
            ('krum', 13, 15)
        """
        least = self.least_rows(f if self.f is None else self.f)
        return Short(self, n, least) if n < least else None

    def tests(self, n: int, f: int | None = None) -> int:
        """Of how many models it asks for the loss (``context.loss``) to aggregate ``n`` rows.

        What a loss costs depends on whose samples it is of, so that :meth:`flops` is without. If a component that needs losses
        does not say otherwise: of all rows, and of the model that they start from.
        """
        return n + 1 if "loss" in self.needs else 0

    def compares(self, d: int) -> bool:
        """Whether it looks at all distances between rows of ``d`` numbers: :attr:`distances`, if it does not say otherwise."""
        return self.distances

    def given(self, context: Context | None) -> Context:
        """The context, if it has all that is needed.

        Raises:
            ValueError: one of :attr:`needs` is missing.
        """
        context = context or Context()
        for name in sorted(self.needs):
            if getattr(context, name) is None:
                raise ValueError(f"context.{name}: None is not allowed with {self.kind}: give {_WHAT.get(name, 'it')}")
        return context

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
        # Squares of float64 beyond this overflow, and nothing could be said of how far such rows are from others.
        limit = 1e145 if updates.dtype.itemsize > 4 else float("inf")
        kept = low.isfinite() & high.isfinite() & (-low < limit) & (high < limit)
        if not kept.any():
            raise TooFewRowsError(f"{self.kind}: none of the {len(updates)} rows is finite: nothing is left to aggregate")
        return kept


class Rule(Defense, abstract=True):
    """An aggregation rule: ``(n, d)`` rows in, one ``(d,)`` row out. Robust rules ignore sample counts.

    A rule of one's own defines :meth:`aggregate`; :meth:`explain` and the call are built on it.
    """

    robust: ClassVar[bool] = True
    """Whether rows with NaN or infinite entries are dropped first, each counting as one of the ``f``."""
    peer: ClassVar[bool] = False
    """Whether it is for a node among others: rows are its neighbours' models, its own is ``context.own``."""
    dampens: ClassVar[bool] = False
    """Whether it makes old rows count less itself (``context.staleness``), so that nobody need do so before."""
    rest: ClassVar[str | None] = None
    """The field of :class:`Context` that gets what an aggregation's weights lack to 1 (zeros where the field is None)."""

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
        self.given(context)
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


@dataclass(frozen=True)
class Stepped:
    """What a step makes of ``n`` rows.

    Attributes:
        rows: ``(m, d)``.
        matrix: ``(m, n)``, whose product with the rows before are these rows; None where they are not linear in them, and then
            row ``i`` comes from row ``i``.
    """

    rows: torch.Tensor
    matrix: torch.Tensor | None

    def stands_for(self) -> torch.Tensor | None:
        """``(n,)`` which row each of these is instead of; None where they are not one for each.

        That many rows come out as went in does not say that they are in their places: a row stands for the one in its place if no
        other has more part in it, or for the only one that it is made of.
        """
        import torch

        matrix, n = self.matrix, len(self.rows)
        if matrix is None:
            return torch.arange(n, device=self.rows.device)
        if matrix.shape != (n, n):
            return None
        parts = matrix.abs()
        if bool((parts.diagonal() >= parts.amax(dim=1)).all()):
            return torch.arange(n, device=matrix.device)
        only = parts.argmax(dim=1)
        alone = bool(((parts > 0).sum(dim=1) == 1).all())
        return only if alone and len(set(only.tolist())) == n else None


class Step(Defense, abstract=True):
    """A step before the rule: ``(n, d)`` rows in, ``(m, d)`` rows out.

    A step of one's own defines :meth:`step`, or :meth:`Mixing.mixing` where a matrix is all it takes.
    """

    averages: ClassVar[bool] = False
    """Whether every row it makes is an average of rows: those of its matrix sum to 1."""

    def __call__(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The rows ``(m, d)`` that come out; see :meth:`step`.

        A row that is not finite reaches no other. If there are as many rows as before, it stays as it is.
        """
        updates = self._rows(updates)
        self.given(context)
        kept = self._finite(updates)
        if kept.all():
            return self.step(updates, context).rows
        rows = self.step(updates[kept], (context or Context()).only(kept)).rows
        if len(rows) != int(kept.sum()):
            return rows
        placed = updates.clone()
        placed[kept] = rows
        return placed

    def step(self, rows: torch.Tensor, context: Context | None) -> Stepped:
        """What the step makes of ``rows (n, d)``.

        Args:
            rows: finite rows, n ≥ 1; not to be written to.
            context: about these rows; read ``f`` by ``self.assumed_f(context)``.
        """
        raise NotImplementedError

    def rows_left(self, n: int) -> int:
        """How many rows it makes of ``n``."""
        return n

    @overload
    def __rshift__(self, other: Rule) -> Chain: ...
    @overload
    def __rshift__(self, other: Step) -> MixingChain: ...
    def __rshift__(self, other: object) -> Any:
        """``self >> other``: a chain that takes this step first, then another or a rule."""
        from decai_sim.defenses.chain import join

        return join(self, other) if isinstance(other, Defense) else NotImplemented


class Mixing(Step, abstract=True):
    """A step that mixes rows, by a matrix that it finds by looking at them."""

    averages: ClassVar[bool] = True

    def step(self, rows: torch.Tensor, context: Context | None) -> Stepped:
        matrix = self.mixing(rows, context).to(rows)
        return Stepped(matrix @ rows, matrix)

    def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The mixing matrix ``(m, n)``, rows summing to 1, whose product with ``updates`` are the mixed rows.

        Args:
            updates: ``(n, d)`` finite rows, n ≥ 1; not to be written to.
            context: about these rows; read ``f`` by ``self.assumed_f(context)``.
        """
        raise NotImplementedError

    def work(self, n: int, d: int, f: int) -> float:
        return 2.0 * self.rows_left(n) * n * d


class Scaling(Step, abstract=True):
    """A step that makes rows shorter, each by a factor of its own."""

    def step(self, rows: torch.Tensor, context: Context | None) -> Stepped:
        # A product with the diagonal matrix would take n times as long.
        factors = self.factors(rows, context).to(rows)
        return Stepped(rows * factors[:, None], factors.diag())

    def factors(self, rows: torch.Tensor, context: Context | None) -> torch.Tensor:
        """By what to multiply each of ``rows (n, d)``; see :meth:`Step.step`."""
        raise NotImplementedError

    def work(self, n: int, d: int, f: int) -> float:
        return 3.0 * n * d


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
