"""Chains: mixing steps, then a rule; and how a chain is read from plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter

from decai_sim.component import field_of, parse
from decai_sim.defenses.base import Aggregation, Context, Defense, Mixing, Rule, spread

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
        if not isinstance(step, Mixing):
            raise ValueError(f"{step.kind} is a rule and ends a chain; only mixing steps such as nnm go before a rule")
    if not isinstance(steps[-1], Rule):
        raise ValueError(f"{steps[-1].kind} only mixes; end the chain with a rule such as trimmed_mean")
    return steps


def _chain_steps(value: Any) -> Any:
    return tuple(_ending_in_rule(_flat(_STEPS.validate_python(value))))


def _mixing_steps(value: Any) -> Any:
    steps = _flat(_STEPS.validate_python(value))
    for step in steps:
        if not isinstance(step, Mixing):
            raise ValueError(f"{step.kind} is a rule; only mixing steps such as nnm are allowed here")
    return tuple(steps)


def _configs(steps: Sequence[Defense]) -> list[Any]:
    return [step.to_config() for step in steps]


class Chain(Rule):
    """Mixing steps, then one rule: ``NNM(f=2) >> Krum(f=2)``, in YAML a list of steps.

    Source: Allouah et al., AISTATS 2023, Section 4 (``F ∘ NNM``); Karimireddy et al., ICLR 2022, Algorithm 1 (mixing first).
    Assumes: what its steps assume.
    Deviations: rows that are not finite are dropped once, before the first mixing step, also if the rule is not robust.

    Attributes:
        f: the ``f`` of those steps that do not say; None: as everywhere.
        steps: one or more, all but the last mixing steps, the last a rule; chains among them are flattened.

    ``explain`` speaks of the rows that came in: weights are carried back through the mixing; a row is kept if it is part of a
    mixed row that the rule kept; scores are the rule's, of the mixed row in the same place.

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
        updates = self._rows(updates)
        context = context or Context()
        if self.f is not None:
            context = replace(context, f=self.f)
        *mixings, rule = self.steps
        assert isinstance(rule, Rule)
        if not mixings:
            return rule.explain(updates, context)
        kept = self._finite(updates)
        rows = updates
        if not kept.all():
            rows, context = updates[kept], context.only(kept)
        matrix = _product(mixings, rows, context)
        result = rule.explain(matrix @ rows, context.mixed(matrix))
        weights = None if result.weights is None else result.weights.to(matrix) @ matrix
        used = (matrix[result.kept] != 0).any(dim=0) if weights is None else weights != 0
        scores = result.scores if matrix.shape[0] == matrix.shape[1] else None
        result = Aggregation(result.value, weights, used, scores)
        return result if kept.all() else spread(result, kept)


class MixingChain(Mixing, abstract=True):
    """Mixing steps one after the other, ``NNM(f=1) >> NNM(f=1)``: no defense yet, until ``>>`` puts a rule at its end.

    Source: ours; the product of the steps' mixing matrices.
    Assumes: what its steps assume.
    Deviations: none.

    Attributes:
        f: not used; each step has its own.
        steps: mixing steps.

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

    def mixing(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """The product of the steps' matrices; see :meth:`Mixing.mixing`."""
        return _product(self.steps, updates, context or Context())


def _product(steps: Sequence[Defense], rows: torch.Tensor, context: Context) -> torch.Tensor:
    """The matrix of all mixing ``steps`` one after the other, each seeing the rows that the ones before it mixed."""
    first, *rest = steps
    assert isinstance(first, Mixing)
    product = first.mixing(rows, context).to(rows)
    for step in rest:
        assert isinstance(step, Mixing)
        product = step.mixing(product @ rows, context.mixed(product)).to(rows) @ product
    return product


def join(first: Mixing, second: Defense) -> Chain | MixingChain:
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
    if isinstance(value, Mixing):
        raise ValueError(f"{value.kind} only mixes; end the chain with a rule such as trimmed_mean")
    return value


DefenseField = Annotated[
    Rule,
    BeforeValidator(parse_defense),
    PlainSerializer(lambda value: value.to_config(), return_type=Any),
]
"""The type of a scenario's field ``defense``; ``DefenseField | None`` where there may be none."""
