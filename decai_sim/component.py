"""Components: everything a scenario is made of, found by its ``kind`` in an open registry.

A component is a frozen pydantic model of one *family* (attack, defense, churn, ...). Defining a subclass registers it, in a
file of ours or in a notebook cell alike, so a user's own attack is as good as ours.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from decai_sim.errors import ScenarioError

_FAMILIES: dict[str, dict[str, type[Component]]] = {}


def _snake(name: str) -> str:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return name.lower()


def _of_same_sort(given: Any, made: Any) -> bool:
    if isinstance(given, list | tuple) and isinstance(made, list | tuple):
        return all(map(_of_same_sort, given, made))
    if isinstance(made, bool | int | float):
        return isinstance(given, bool) == isinstance(made, bool) and not isinstance(given, str | bytes)
    return True


class Description(BaseModel):
    """What scenarios and components share: frozen, keyword-only, closed, and literal about numbers.

    Unknown fields, infinities and NaN are refused, and so is what pydantic would quietly turn into a number: ``"100"``, ``true``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _literal(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        made = handler(value)
        if not _of_same_sort(value, made):
            raise PydanticCustomError("not_literal", "input should be a number, not text or true/false")
        return made


class Component(Description):
    """Frozen, keyword-only, closed base of every component; errors name field, value and what is allowed.

    A family is opened by ``class Attack(Component, family="attacks")``; its subclasses register under ``kind``, which is the
    snake_case class name unless given: ``class ALIE(Attack, kind="alie")``. A class defined with ``abstract=True`` does not
    register. ``examples`` holds keyword sets that the conformance suite builds the component with.

    Raises:
        TypeError: a second class of another module claims a ``kind`` already taken.
    """

    family: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __init_subclass__(cls, **options: Any) -> None:
        # The class options are read below, once pydantic has built the fields.
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(
        cls, *, family: str | None = None, kind: str | None = None, abstract: bool = False, **kwargs: Any
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if family is not None:
            cls.family = family
            _FAMILIES.setdefault(family, {})
            return
        if abstract or not cls.family:
            return
        cls.kind = kind or _snake(cls.__name__)
        taken = _FAMILIES[cls.family].get(cls.kind)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"{cls.family}: kind {cls.kind!r} of {cls.__module__}.{cls.__qualname__} is already taken by "
                f"{taken.__module__}.{taken.__qualname__}; give it another name with kind=..."
            )
        _FAMILIES[cls.family][cls.kind] = cls

    def to_config(self) -> Any:
        """The component as plain data (``kind`` first), as YAML and JSON show it."""
        return {"kind": self.kind, **self.model_dump(mode="json")}


C = TypeVar("C", bound=Component)


def families() -> list[str]:
    """Names of all component families, sorted."""
    return sorted(_FAMILIES)


def kinds(family: str) -> dict[str, type[Component]]:
    """Registered components of a family, by ``kind``, sorted.

    Args:
        family: a name from :func:`families`.

    Raises:
        ScenarioError: no such family.

    Example:
        >>> import decai_sim.attacks
        >>> kinds("attacks")["sign_flip"]
        <class 'decai_sim.attacks.sign_flip.SignFlip'>
    """
    if family not in _FAMILIES:
        raise ScenarioError(f"family: {family!r} is not allowed: choose from {', '.join(families())}")
    return dict(sorted(_FAMILIES[family].items()))


def parse(family: str, value: Any) -> Any:
    """Turn plain data into a component of ``family``; pass components (and None) through.

    Args:
        family: the family the value belongs to.
        value: a component, a mapping with ``kind``, or a bare ``kind`` string.

    Raises:
        pydantic.ValidationError: no such kind, or its fields are wrong; the location starts at the component.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, Mapping):
        return value
    fields = dict(value)
    kind = fields.pop("kind", None)
    found = _FAMILIES[family].get(kind) if isinstance(kind, str) else None
    if found is None:
        known = sorted(_FAMILIES[family])
        near = difflib.get_close_matches(str(kind), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        problem = PydanticCustomError("unknown_kind", "choose one of {known}{hint}", {"known": ", ".join(known), "hint": hint})
        raise ValidationError.from_exception_data(family, [InitErrorDetails(type=problem, loc=("kind",), input=kind)])
    return found.model_validate(fields)


def field_of(base: type[C]) -> Any:
    """The type of a field that holds a component of ``base``'s family, in any of the forms :func:`parse` takes."""
    return Annotated[
        base,
        BeforeValidator(lambda value: parse(base.family, value)),
        PlainSerializer(lambda value: value.to_config(), return_type=Any),
    ]


def whole_share(fraction: float, n: int) -> int:
    """⌊fraction·n⌋, meaning the decimal fraction that was written down: 0.29 of 100 is 29, though 0.29 * 100 is below it.

    Example:
        >>> whole_share(0.29, 100), int(0.29 * 100)
        (29, 28)
    """
    return math.floor(round(fraction * n, 9))
