"""Controls for fields of a scenario, generated from its schema."""

from __future__ import annotations

import html
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import ipywidgets
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from decai_sim.component import Component, Description, kinds
from decai_sim.defenses import Filter, Mixing, Rule
from decai_sim.errors import ScenarioError, explain
from decai_sim.scenario import Scenario, parse_yaml

_LAYOUT = {"width": "auto"}
_STYLE = {"description_width": "110px"}
_GRID = {"grid_template_columns": "repeat(auto-fill, minmax(310px, 1fr))", "grid_gap": "2px 20px", "max_width": "1050px"}


@dataclass
class _Control:
    """One control.

    Attributes:
        path: of the field, dotted.
        title: what the field is called on the page.
        widget: what is shown.
        config: the widget's value as plain data for the scenario.
        text: the widget's value as a person says it.
        about: what has been chosen, explained; empty if there is nothing to say.
    """

    path: str
    title: str
    widget: Any
    config: Callable[[], Any]
    text: Callable[[], str]
    about: Callable[[], str] = str


class Controls(ipywidgets.VBox):
    """Widgets for fields of a scenario: a component gets a menu of its family, a bounded number a slider, and so on.

    What has no widget of its own, such as the list of faults, is written as in a scenario file: ``[{kind: crash, share: 0.1}]``.

    Args:
        scenario: where all values come from at first, and those without a control stay.
        paths: dotted fields, such as ``attack``, ``attack.fraction`` or ``protocol.rounds``.

    Raises:
        ScenarioError: a path leads to no field.

    Example:
        >>> controls = Controls(Scenario(attack="alie"), ["attack.fraction", "attack"])
        >>> controls.widget("attack.fraction").value = 0.3
        >>> controls.scenario().attack.kind, controls.scenario().attack.fraction
        ('alie', 0.3)
    """

    def __init__(self, scenario: Scenario, paths: Sequence[str]) -> None:
        self._base = scenario
        self._controls = {path: _control(scenario, path) for path in paths}
        self._about = ipywidgets.HTML()
        for control in self._controls.values():
            control.widget.observe(self._refresh, "value")
        self._refresh()
        grid = ipywidgets.GridBox([control.widget for control in self._controls.values()], layout=_GRID)
        super().__init__([grid, self._about])

    def widget(self, path: str) -> Any:
        """The widget of a field.

        Raises:
            KeyError: the field has none.
        """
        return self._controls[path].widget

    def scenario(self) -> Scenario:
        """The scenario as the controls say.

        Raises:
            ScenarioError: the values are not allowed, or not together; one line says which and why.
        """
        config = self._base.to_config()
        # Whole components first, so that a field of one lands in the one that was chosen.
        for path in sorted(self._controls, key=lambda path: path.count(".")):
            parent, _, name = path.rpartition(".")
            at = _at(config, parent)
            if self._applies(path) and isinstance(at, dict):
                at[name] = self._controls[path].config()
        try:
            return type(self._base).model_validate(config)
        except ValidationError as error:
            raise ScenarioError(explain(error)) from None

    def described(self) -> dict[str, str]:
        """What the controls that apply say, by path, in words."""
        return {path: control.text() for path, control in self._controls.items() if self._applies(path)}

    def lock(self, locked: bool) -> None:
        """Keep the controls from being changed, or let them be again."""
        for path, control in self._controls.items():
            control.widget.disabled = locked or not self._applies(path)

    def _applies(self, path: str) -> bool:
        """Whether the component chosen has the field."""
        parent, _, name = path.rpartition(".")
        control = self._controls.get(parent)
        config = _at(self._base.to_config(), parent) if control is None else control.config()
        return isinstance(config, dict) and name in config

    def _refresh(self, change: Any = None) -> None:
        self.lock(False)
        lines = []
        for control in self._controls.values():
            about = control.about()
            if about:
                lines.append(f"<b>{html.escape(f'{control.title}: {control.text()}')}</b>. {about}")
        self._about.value = f"<div style='line-height: 1.35'>{'<br>'.join(lines)}</div>"


class _Menu(ipywidgets.Dropdown):
    """A menu of components; values are their configs as JSON, so that equal choices are equal values.

    Args:
        choices: pairs of what is shown and the config.
    """

    def __init__(self, choices: Sequence[tuple[str, Any]], chosen: Any, **options: Any) -> None:
        super().__init__(options=[(text, json.dumps(config)) for text, config in choices], value=json.dumps(chosen), **options)


def _at(config: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _control(scenario: Scenario, path: str) -> _Control:
    field, value = _field(scenario, path)
    name = path.rpartition(".")[2]
    title = field.title or _words(name)
    family = _family(field.annotation)
    options = {"description": title, "layout": _LAYOUT, "style": _STYLE, "continuous_update": False}
    if family is not None:
        return _menu(path, title, family, value, type(None) in get_args(field.annotation), scenario.protocol.uses_topology)
    annotation = _plain(field.annotation)
    if isinstance(value, float) and float in get_args(annotation):
        annotation = float  # a rate, where a component would be allowed too
    widget: Any
    text: Callable[[], str] = lambda: f"{title} {widget.value}"  # noqa: E731
    low, high, open_low, open_high = _bounds(field.metadata)
    if annotation is bool:
        options.pop("continuous_update")
        widget = ipywidgets.Checkbox(value=value, indent=True, **options)
    elif get_origin(annotation) is Literal:
        options.pop("continuous_update")
        widget = ipywidgets.Dropdown(options=get_args(annotation), value=value, **options)
    elif annotation is float and low is not None and high is not None and value is not None:
        share = (low >= 0) and (high <= 1)
        step = (high - low) / 100
        # A value nearer to an open end than a step is allowed, and widgets quietly move what lies outside their ends.
        low, high = min(low + step * open_low, value), max(high - step * open_high, value)
        widget = ipywidgets.FloatSlider(
            value=value, min=low, max=high, step=step, readout_format=".0%" if share else ".3g", **options
        )
        text = lambda: f"{title} {widget.value:.0%}" if share else f"{title} {widget.value:.3g}"  # noqa: E731
    elif annotation is int and value is not None:
        widget = ipywidgets.BoundedIntText(
            value=value,
            min=min(-(2**53), value) if low is None else int(low) + open_low,
            max=max(2**53, value) if high is None else int(high) - open_high,
            **options,
        )
    elif annotation is float and value is not None:
        widget = ipywidgets.FloatText(value=value, **options)
    else:  # anything else is said as in a scenario file
        widget = ipywidgets.Text(value=json.dumps(_at(scenario.to_config(), path)), **options)
        base = next((held for part in get_args(annotation) if (held := _family(part)) is not None), None)
        if base is None:
            return _Control(path, title, widget, lambda: _read(path, widget.value), text)
        return _Control(path, title, widget, lambda: _read(path, widget.value), *_in_words(title, base, widget))
    return _Control(path, title, widget, lambda: widget.value, text)


def _in_words(title: str, base: type[Component], widget: Any) -> tuple[Callable[[], str], Callable[[], str]]:
    """What is written about one or more components, as a person says it, and explained."""

    def classes() -> list[type[Component]] | None:
        try:
            written = parse_yaml(widget.value)
            steps = written if isinstance(written, list) else [written]
            return [kinds(base.family)[step if isinstance(step, str) else step["kind"]] for step in steps]
        except (ScenarioError, KeyError, TypeError):  # what is wrong with it is said when it is used
            return None

    def text() -> str:
        found = classes()
        return f"{title} {widget.value}" if found is None else " + ".join(map(_name, found)) or f"no {title}"

    def about() -> str:
        found = classes()
        if found:
            return " ".join(dict.fromkeys(map(_sentence, found)))
        return "" if found is None else f"A list of {', '.join(cls.kind for cls in _members(base))}."

    return text, about


def _read(path: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None


def _field(scenario: Scenario, path: str) -> tuple[FieldInfo, Any]:
    """The field at ``path`` and its value; of a component that is not there, of the first one of the family that has it."""
    at: Any = scenario
    models: list[type[Description]] = [Scenario]
    field: FieldInfo | None = None
    for name in path.split("."):
        mine = next((model for model in models if name in model.model_fields), None)
        if mine is None:
            known = sorted({field for model in models for field in model.model_fields})
            raise ScenarioError(f"controls: {path!r} is not allowed: {name!r} is none of {', '.join(known) or 'its fields'}")
        field = mine.model_fields[name]
        at = getattr(at, name, field.get_default(call_default_factory=True) if not field.is_required() else None)
        base = _family(field.annotation)
        models = [type(at)] * isinstance(at, Component) + ([] if base is None else [base, *_members(base)])
    assert field is not None
    return field, at


def _family(annotation: Any) -> type[Component] | None:
    """The base of the component that a field holds; None for any other field, several components included."""
    held = _plain(annotation)
    return held if inspect.isclass(held) and issubclass(held, Component) else None


def _plain(annotation: Any) -> Any:
    """The type without ``None`` and annotations."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    inner = [part for part in get_args(annotation) if part is not type(None)]
    return _plain(inner[0]) if len(inner) == 1 and type(None) in get_args(annotation) else annotation


def _bounds(metadata: Sequence[Any]) -> tuple[float | None, float | None, bool, bool]:
    low = high = None
    open_low = open_high = False
    for mark in metadata:
        if isinstance(mark, annotated_types.Ge | annotated_types.Gt):
            open_low = isinstance(mark, annotated_types.Gt)
            low = float(getattr(mark, "gt" if open_low else "ge"))
        elif isinstance(mark, annotated_types.Le | annotated_types.Lt):
            open_high = isinstance(mark, annotated_types.Lt)
            high = float(getattr(mark, "lt" if open_high else "le"))
    return low, high, open_low, open_high


def _members(base: type[Component]) -> Iterator[type[Component]]:
    return (cls for cls in kinds(base.family).values() if issubclass(cls, base))


def _menu(path: str, title: str, base: type[Component], own: Component | None, optional: bool, wired: bool) -> _Control:
    # What all of the family have in common, such as the attackers' share, stays when another one is chosen.
    common = {} if own is None else {name: getattr(own, name) for name in base.model_fields}
    choices: dict[str, Any] = {}
    about: dict[str, str] = {}

    def offer(component: Component) -> None:
        config = component.to_config()
        steps = config if isinstance(config, list) else [config]
        classes = [kinds(base.family)[step["kind"]] for step in steps]
        choices[" + ".join(map(_name, classes))] = config
        sentences = list(dict.fromkeys(map(_sentence, classes)))
        if base.family == "topologies" and not wired:
            sentences.append("<i>Drawn on the map only: in this protocol all nodes talk to a server.</i>")
        about[json.dumps(config)] = " ".join(sentences)

    for cls in _members(base):
        component = _offered(cls, common)
        if component is None:
            continue
        offer(component)
        if isinstance(component, Rule) and component.robust and not (component.peer or isinstance(component, Filter)):
            for mixing in (_offered(cls, common) for cls in kinds(base.family).values()):
                if isinstance(mixing, Mixing) and not mixing.needs:
                    offer(mixing >> component)
    if own is not None:
        offer(own)  # in place of the default one of its kind
    nothing = [(f"no {_words(path.rpartition('.')[2])}", None)] if optional else []
    shown = [*nothing, *sorted(choices.items(), key=lambda pair: pair[0].count("+"))]
    if base.family == "defenses":
        about["null"] = "The protocol's own way of averaging; in a federation, replies count by how many samples are behind them."
    chosen = None if own is None else own.to_config()
    widget = _Menu(shown, chosen, description=title, layout=_LAYOUT, style=_STYLE)
    return _Control(
        path,
        title,
        widget,
        config=lambda: json.loads(widget.value),
        text=lambda: str(widget.label),
        about=lambda: about.get(widget.value, ""),
    )


def _offered(cls: type[Component], common: dict[str, Any]) -> Component | None:
    for fields in (common, {}):
        try:
            return cls(**fields)
        except ValidationError:  # it wants to be told something first, a file for example
            continue
    return None


def _name(cls: type[Component]) -> str:
    return cls.__name__ if cls.__name__.isupper() else _words(cls.kind)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _sentence(cls: type[Component]) -> str:
    card = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]
    return html.escape(" ".join(card.split()).replace("``", ""))
