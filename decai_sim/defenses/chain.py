"""Chains: mixing steps, then a rule; and how a chain is read from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter

from decai_sim.component import field_of, parse
from decai_sim.defenses.base import Aggregation, Context, Defense, Rule, Short, Step, Stepped, spread
from decai_sim.defenses.distances import gram_flops

if TYPE_CHECKING:
    import torch

# field_of makes the type at run time, which a type checker cannot follow.
_STEPS: TypeAdapter[list[Defense]] = TypeAdapter(list[field_of(Defense)])  # type: ignore[arg-type,misc]


def _flat(steps: Sequence[Defense]) -> list[Defense]:
    flat: list[Defense] = []
    for step in steps:
        # A chain with an f of its own is kept whole: its f is meant for its steps alone.
        flat += step.steps if isinstance(step, Chain | MixingChain) and step.f is None else [step]
    return flat


def _ending_in_rule(steps: list[Defense]) -> list[Defense]:
    if not steps:
        raise ValueError("an empty chain is not allowed; say null for no defense")
    for step in steps[:-1]:
        if not isinstance(step, Step):
            raise ValueError(f"{step.kind} is a rule and ends a chain; only mixing steps such as nnm go before a rule")
    if not isinstance(steps[-1], Rule):
        raise ValueError(f"{steps[-1].kind} only mixes; end the chain with a rule such as trimmed_mean")
    return steps


def _chain_steps(value: Any) -> Any:
    return tuple(_ending_in_rule(_flat(_STEPS.validate_python(value))))


def _mixing_steps(value: Any) -> Any:
    steps = _flat(_STEPS.validate_python(value))
    for step in steps:
        if not isinstance(step, Step):
            raise ValueError(f"{step.kind} is a rule; only mixing steps such as nnm are allowed here")
    return tuple(steps)


def _configs(steps: Sequence[Defense]) -> list[Any]:
    return [step.to_config() for step in steps]


class Chain(Rule):
    """Mixing steps, then one rule: ``NNM(f=2) >> Krum(f=2)``, in YAML a list of steps.

    Source: Allouah et al., AISTATS 2023, Section 4 (``F ∘ NNM``); Karimireddy et al., ICLR 2022, Algorithm 1 (mixing first).
    Assumes: what its steps assume.
    Deviations: rows that are not finite are dropped once, before the first mixing step, also if the rule is not robust.
    Breaks down: where its rule does, in the rows that reach it: averages of rows are Byzantine if one of them is.
    Costs: those of its steps; distances that a step has made are shared with all after it as long as steps average, at ``O(n³)``
        instead of ``O(n²d)``.

    Attributes:
        f: the ``f`` of those steps that do not say; None: as everywhere.
        steps: one or more, all but the last mixing steps, the last a rule; chains among them are flattened.

    ``explain`` speaks of the rows that came in: weights are carried back through the mixing; a row is kept if it is part of a
    mixed row that the rule kept; scores are the rule's, of the mixed row that stands for it.

    Example:
        >>> import torch
        >>> from decai_sim.defenses import NNM, Krum
        >>> chain = NNM(f=1) >> Krum(f=1)
        >>> chain(torch.tensor([[1.0], [2.0], [9.0]])).tolist(), chain.to_config()
        ([1.5], [{'kind': 'nnm', 'f': 1}, {'kind': 'krum', 'f': 1}])
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"steps": ({"kind": "nnm", "f": 1}, {"kind": "krum", "f": 1})},
        {"steps": ("nnm", "nnm", "mean"), "f": 1},
        {"steps": ("nnm", "trimmed_mean")},
    )

    steps: Annotated[tuple[Defense, ...], BeforeValidator(_chain_steps), PlainSerializer(_configs, return_type=Any)]

    def to_config(self) -> Any:
        """The list of the steps' configs; a mapping with ``steps`` if the chain has an ``f`` of its own."""
        return _configs(self.steps) if self.f is None else super().to_config()

    def explain(self, updates: torch.Tensor, context: Context | None = None) -> Aggregation:
        import torch

        updates = self._rows(updates)
        context = context or Context()
        if self.f is not None:
            context = replace(context, f=self.f, senders_f=self.f)
        *steps, rule = self.steps
        assert isinstance(rule, Rule)
        if not steps:
            return rule.explain(updates, context)
        kept = self._finite(updates)
        rows = updates
        if not kept.all():
            rows, context = updates[kept], context.only(kept)
        done = _walk(steps, rows, context)
        result = rule.explain(done.rows, done.context)
        weights = result.weights
        used = result.kept
        if done.came_from is not None:
            weights = None if weights is None else weights.to(done.came_from) @ done.came_from
            used = (done.came_from[result.kept] != 0).any(dim=0)
        if not done.linear:
            weights = None
        elif weights is not None:
            used = weights != 0
        scores = None
        if result.scores is not None and done.places is not None:
            scores = torch.empty_like(result.scores)
            scores[done.places.to(scores.device)] = result.scores
        result = Aggregation(result.value, weights, used, scores)
        return result if kept.all() else spread(result, kept)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What its steps need."""
        return _needs(self.steps)

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        """Whether the order of rows does not matter to any of its steps."""
        return all(step.symmetric for step in self.steps)

    @property
    def peer(self) -> bool:  # type: ignore[override]
        """Whether its rule is for a node among others."""
        return self._rule.peer

    @property
    def dampens(self) -> bool:  # type: ignore[override]
        """Its rule's."""
        return self._rule.dampens

    @property
    def rest(self) -> str | None:  # type: ignore[override]
        """Its rule's."""
        return self._rule.rest

    @property
    def _rule(self) -> Rule:
        rule = self.steps[-1]
        assert isinstance(rule, Rule)
        return rule

    def falls_short(self, n: int, f: int) -> Short | None:
        """Of which of its steps there are too few rows, after those before it."""
        return _falls_short(self.steps, n, f if self.f is None else self.f)

    def flops(self, n: int, d: int, f: int | None = None) -> float:
        """Those of its steps; distances that are known from before a step that averages are computed once."""
        return _flops(self.steps, n, d, f if self.f is None else self.f)

    def tests(self, n: int, f: int | None = None) -> int:
        """As many as its steps do."""
        return _tests(self.steps, n, f if self.f is None else self.f)


class MixingChain(Step, abstract=True):
    """Steps one after the other, ``NNM(f=1) >> NNM(f=1)``: no defense yet, until ``>>`` puts a rule at its end.

    Source: ours; the product of the steps' matrices, where each has one.
    Assumes: what its steps assume.
    Deviations: none.
    Breaks down: where the rule that comes after it does, in the rows that reach it.
    Costs: those of its steps, which share distances as in a :class:`Chain`.

    Attributes:
        f: not used; each step has its own.
        steps: steps that are no rules.

    Example:
        >>> from decai_sim.defenses import NNM, Mean
        >>> [step["kind"] for step in (NNM(f=1) >> NNM(f=1) >> Mean()).to_config()]
        ['nnm', 'nnm', 'mean']
    """

    kind: ClassVar[str] = "mixing_chain"
    steps: Annotated[tuple[Defense, ...], BeforeValidator(_mixing_steps), PlainSerializer(_configs, return_type=Any)]

    def to_config(self) -> Any:
        """The list of the steps' configs."""
        return _configs(self.steps)

    def step(self, rows: torch.Tensor, context: Context | None) -> Stepped:
        done = _walk(self.steps, rows, context or Context())
        if not done.linear:
            return Stepped(done.rows, None)
        matrix = done.came_from
        return Stepped(done.rows, matrix if matrix is not None else rows.new_ones(len(rows)).diag())

    def rows_left(self, n: int) -> int:
        for step in self.steps:
            assert isinstance(step, Step)
            n = step.rows_left(n)
        return n

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What its steps need."""
        return _needs(self.steps)

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        """Whether the order of rows does not matter to any of its steps."""
        return all(step.symmetric for step in self.steps)

    @property
    def averages(self) -> bool:  # type: ignore[override]
        """Whether all of its steps average."""
        return all(isinstance(step, Step) and step.averages for step in self.steps)

    def falls_short(self, n: int, f: int) -> Short | None:
        """Of which of its steps there are too few rows, after those before it."""
        return _falls_short(self.steps, n, f)

    def flops(self, n: int, d: int, f: int | None = None) -> float:
        """Those of its steps."""
        return _flops(self.steps, n, d, f)

    def tests(self, n: int, f: int | None = None) -> int:
        """As many as its steps do."""
        return _tests(self.steps, n, f)


@dataclass(frozen=True)
class _Walked:
    """What steps made of ``n`` rows.

    Attributes:
        rows: ``(m, d)``.
        context: about these rows.
        came_from: ``(m, n)``, the product of the steps' matrices; None where no step had one. Steps without one leave rows in
            their places.
        linear: whether every step had one.
        places: ``(n,)`` which of the rows each of these stands for; None where they are not one for each.
    """

    rows: torch.Tensor
    context: Context
    came_from: torch.Tensor | None
    linear: bool
    places: torch.Tensor | None


def _walk(steps: Sequence[Defense], rows: torch.Tensor, context: Context) -> _Walked:
    """Take all ``steps`` one after the other, each seeing the rows that the ones before it made."""
    import torch

    product: torch.Tensor | None = None
    linear = True
    places: torch.Tensor | None = torch.arange(len(rows), device=rows.device)
    for step in steps:
        assert isinstance(step, Step)
        done = step.step(rows, step.given(context))
        context = context.stepped(step, rows, done)
        rows = done.rows
        stands_for = None if places is None else done.stands_for()
        places = None if places is None or stands_for is None else places[stands_for.to(places.device)]
        linear &= done.matrix is not None
        if done.matrix is not None:
            product = done.matrix if product is None else done.matrix @ product
    return _Walked(rows, context, product, linear, places)


def _needs(steps: Sequence[Defense]) -> frozenset[str]:
    return frozenset[str]().union(*(step.needs for step in steps))


def _flops(steps: Sequence[Defense], n: int, d: int, f: int | None) -> float:
    total, known = 0.0, False
    for step in steps:
        whole = step.flops(n, d, f)
        # W G Wᵀ in place of a Gram matrix of its own.
        total += whole - gram_flops(n, d) + 4.0 * n**3 if step.compares(d) and known else whole
        known = known or step.compares(d)
        if isinstance(step, Step):
            n = step.rows_left(n)
            known = known and step.averages
    return total


def _falls_short(steps: Sequence[Defense], n: int, f: int) -> Short | None:
    for step in steps:
        short = step.falls_short(n, f)
        if short is not None:
            return short
        n = step.rows_left(n) if isinstance(step, Step) else n
    return None


def _tests(steps: Sequence[Defense], n: int, f: int | None) -> int:
    total = 0
    for step in steps:
        total += step.tests(n, f)
        if isinstance(step, Step):
            n = step.rows_left(n)
    return total


def join(first: Step, second: Defense) -> Chain | MixingChain:
    """What ``first >> second`` means: a :class:`Chain` if ``second`` is a rule, else a :class:`MixingChain`."""
    return Chain(steps=(first, second)) if isinstance(second, Rule) else MixingChain(steps=(first, second))


def parse_defense(value: Any) -> Any:
    """Turn what stands under ``defense`` in a scenario into a rule.

    Args:
        value: None, a rule, its ``kind``, a mapping with ``kind``, or a list of these for a chain.

    Returns:
        The rule; a list becomes a :class:`Chain`, a list of one rule that rule; what is none of these comes back as it is.

    Raises:
        pydantic.ValidationError: a component is wrong; the location starts with its place in a list.
        ValueError: mixing steps without a rule at their end, or a rule before the end.

    Example:
        >>> parse_defense([{"kind": "nnm", "f": 1}, "median"]).steps
        (NNM(f=1), Median(f=None))
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        steps = _ending_in_rule(_flat(_STEPS.validate_python(list(value))))
        return steps[0] if len(steps) == 1 else Chain(steps=tuple(steps))
    value = parse(Defense.family, value)
    if isinstance(value, Step):
        raise ValueError(f"{value.kind} only mixes; end the chain with a rule such as trimmed_mean")
    return value


DefenseField = Annotated[
    Rule,
    BeforeValidator(parse_defense),
    PlainSerializer(lambda value: value.to_config(), return_type=Any),
]
"""The type of a scenario's field ``defense``; ``DefenseField | None`` where there may be none."""
