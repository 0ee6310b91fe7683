"""Scenarios laid out over the values of some of their fields, with names that people can read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from decai_sim.component import Component
from decai_sim.errors import ScenarioError, explain
from decai_sim.scenario import Scenario

Scenarios = Scenario | Sequence[Scenario] | Mapping[str, Scenario]
Grid = Mapping[str, Sequence[Any] | Mapping[str, Any]]

SCENARIO = "scenario"
"""The column that says which of several scenarios a point came from."""
_AT_MOST = 3
"""So many fields that differ make a name; of more it would be none."""


@dataclass(frozen=True)
class Point:
    """One scenario of a grid.

    Attributes:
        label: what it is called.
        at: per column of the grid the value, as a number or in words.
        scenario: it.
    """

    label: str
    scenario: Scenario
    at: dict[str, Any] = field(default_factory=dict)


def points(scenarios: Scenarios, grid: Grid | None = None) -> list[Point]:
    """Every scenario with every combination of values.

    Args:
        scenarios: one, several, or several by name.
        grid: per field, dotted or with ``__``, the values it takes, as :meth:`Scenario.but` takes them; by name if it is a
            mapping. Later fields may lead into what earlier ones put there.

    Raises:
        ScenarioError: a field, a value or the shape of one of these is not allowed; one line says which.

    Example:
        >>> attacks = [None, {"kind": "sign_flip", "scale": 4}]
        >>> found = points(Scenario(), {"defense": ["mean", ["nnm", "krum"]], "attack": attacks})
        >>> [point.label for point in found]
        ['mean, no attack', 'mean, sign_flip', 'nnm >> krum, no attack', 'nnm >> krum, sign_flip']
        >>> found[1].at, found[1].scenario.attack.scale
        ({'defense': 'mean', 'attack': 'sign_flip'}, 4.0)
    """
    bases = _named(scenarios)
    columns = {path.replace("__", "."): _values(path, values) for path, values in (grid or {}).items()}
    if "seed" in columns:
        raise ScenarioError("grid.seed: not allowed: say seeds=[...], which are what intervals are over")
    if grid is not None and len(columns) < len(grid):
        raise ScenarioError(f"grid: {', '.join(grid)} is not allowed: a field stands there twice")
    found = []
    for (base_label, base), combination in itertools.product(bases.items(), itertools.product(*columns.values())):
        chosen = dict(zip(columns, combination, strict=True))
        words = [_said(path, value, shown) for path, (shown, value) in chosen.items()]
        if len(bases) > 1 or not words:
            words.insert(0, base_label)
        at = {path: shown for path, (shown, _) in chosen.items()}
        if len(bases) > 1 and columns:
            at = {SCENARIO: base_label, **at}
        found.append(Point(", ".join(words), changed(base, {path: value for path, (_, value) in chosen.items()}), at))
    return found


def changed(base: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """A scenario with fields changed in turn.

    Args:
        base: the scenario.
        changes: dotted fields (or with ``__``) and their values, as :meth:`Scenario.but` takes them.

    Raises:
        ScenarioError: a field or a value is not allowed; one line says which.

    Example:
        >>> changed(Scenario(), {"attack": "sign_flip", "attack.scale": 4}).attack.scale
        4.0
    """
    paths = {path.replace(".", "__"): value for path, value in changes.items()}
    try:
        # One by one only where a field leads into what another one put there: each time all of the scenario is validated.
        if any(one != other and other.startswith(f"{one}__") for one in paths for other in paths):
            for path, value in paths.items():
                base = base.but(**{path: value})
            return base
        return base.but(**paths)
    except ValidationError as error:
        raise ScenarioError(explain(error)) from None


def names(values: Sequence[Any]) -> list[str]:
    """What values are called: as short as tells them apart.

    Args:
        values: components, their kinds or plain data, chains of them as lists, None, numbers, anything.

    Example:
        >>> names(["mean", ["nnm", "median"], None, 0.25])
        ['mean', 'nnm >> median', 'none', '0.25']
        >>> names([{"kind": "dirichlet", "alpha": 1}, {"kind": "dirichlet", "alpha": 0.1}, "iid"])
        ['dirichlet alpha=1', 'dirichlet alpha=0.1', 'iid']
    """
    short = [_name(value) for value in values]
    taken = Counter(short)
    longer = [_name(value, whole=True) if taken[name] > 1 else name for name, value in zip(short, values, strict=True)]
    return _told_apart(longer)


def _name(value: Any, whole: bool = False) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, Component):
        kind = value.to_config()
        if isinstance(kind, list):
            return _name(kind, whole)
        value = {"kind": value.kind, **value.model_dump(mode="json", exclude_defaults=True)}
    if isinstance(value, Mapping):
        fields = [f"{name}={_name(part)}" for name, part in value.items() if name != "kind"]
        if "kind" not in value:
            return ", ".join(fields)
        return " ".join([str(value["kind"]), *(fields if whole else [])])
    if isinstance(value, Sequence):
        return " >> ".join(_name(part, whole) for part in value)
    size = getattr(value, "number_of_nodes", None)  # an nx.Graph
    return f"graph of {size()} nodes" if callable(size) else type(value).__name__


def _values(path: str, values: Any) -> list[tuple[Any, Any]]:
    """Pairs of what a value is shown as, and the value."""
    dotted = path.replace("__", ".")
    if isinstance(values, Mapping) and "kind" not in values:
        pairs: list[tuple[Any, Any]] = [(str(name), value) for name, value in values.items()]
    elif isinstance(values, Sequence | range) and not isinstance(values, str):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        shown: Sequence[Any] = values if numbers else names(values)
        pairs = list(zip(shown, values, strict=True))
    else:
        raise ScenarioError(f"grid.{dotted}: {values!r} is not allowed: give a list of values, or a mapping from names to values")
    if not pairs:
        raise ScenarioError(f"grid.{dotted}: {values!r} is not allowed: give at least one value")
    if len({shown for shown, _ in pairs}) < len(pairs):
        raise ScenarioError(f"grid.{dotted}: {values!r} is not allowed: a value stands there twice")
    return pairs


def _said(path: str, value: Any, shown: Any) -> str:
    """A value in a label, where it stands without its column."""
    last = path.rpartition(".")[2]
    if value is None and shown == "none":
        return f"no {last}"
    as_it_is = isinstance(value, bool | int | float) and _name(shown) == _name(value)
    return f"{last}={_name(value)}" if as_it_is else str(shown)


def _named(scenarios: Any) -> dict[str, Scenario]:
    """Scenarios by name; those without one by what differs among them."""
    if isinstance(scenarios, Scenario):
        return {"run": scenarios}
    if isinstance(scenarios, Mapping):
        named = {str(label): scenario for label, scenario in scenarios.items()}
    elif isinstance(scenarios, Sequence) and not isinstance(scenarios, str):
        named = {}
        if all(isinstance(scenario, Scenario) for scenario in scenarios):
            named = dict(zip(_differences(scenarios), scenarios, strict=True))
        scenarios = list(scenarios)
        named = named or {str(index): scenario for index, scenario in enumerate(scenarios)}
    else:
        named = {"": scenarios}
    for label, scenario in named.items():
        if not isinstance(scenario, Scenario):
            where = f"scenarios.{label}" if label else "scenario"
            raise ScenarioError(f"{where}: {scenario!r} is not allowed: give a ds.Scenario, a list of them, or them by name")
    if not named:
        raise ScenarioError(f"scenarios: {scenarios!r} is not allowed: give at least one")
    return named


def _differences(scenarios: Sequence[Scenario]) -> list[str]:
    configs = [scenario.to_config() for scenario in scenarios]
    differing = [name for name in configs[0] if any(config[name] != configs[0][name] for config in configs)] if configs else []
    if not differing or len(differing) > _AT_MOST:
        return [f"scenario {number}" for number in range(1, len(scenarios) + 1)]
    columns = []
    for name in differing:
        values = [getattr(scenario, name) for scenario in scenarios]
        unlike = {repr(config[name]): value for config, value in zip(configs, values, strict=True)}
        shown = dict(zip(unlike, names(list(unlike.values())), strict=True))
        columns.append([_said(name, value, shown[repr(config[name])]) for config, value in zip(configs, values, strict=True)])
    return _told_apart([", ".join(parts) for parts in zip(*columns, strict=True)])


def _told_apart(labels: list[str]) -> list[str]:
    return [f"{label} ({labels[:i].count(label) + 1})" if label in labels[:i] else label for i, label in enumerate(labels)]
