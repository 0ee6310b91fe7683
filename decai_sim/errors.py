"""What can go wrong through a user's hand, and how it is said: one line, naming field, value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError


T = TypeVar("T")


class DecaiError(Exception):
    """Base of every error that a user can cause and mend."""


class ScenarioError(DecaiError, ValueError):
    """An experiment description that cannot be run."""


class StalledError(DecaiError, RuntimeError):
    """A wait in virtual time that can never end.

    Attributes:
        run: where somebody's own Flower apps were run, what there is of their :class:`~decai_sim.Run`; else None.
    """

    run: Any = None


class RunStoppedError(DecaiError):
    """A run was asked to stop before its end; what it had measured is kept."""


class MemoryLimitError(DecaiError, MemoryError):
    """More models than the machine has memory for."""


def for_each(field: str, parts: Sequence[T], act: Callable[[int, T], object]) -> None:
    """Do something with every part of a list of a scenario, given its number and itself.

    Raises:
        ScenarioError: what ``act`` raised, its line beginning with ``field.`` and the number.

    Example:
        >>> def check(number, share):
        ...     if share > 1:
        ...         raise ScenarioError(f"share: {share} is not allowed: at most 1")
        >>> for_each("faults", [0.5, 2], check)
        Traceback (most recent call last):
        decai_sim.errors.ScenarioError: faults.1.share: 2 is not allowed: at most 1
    """
    for number, part in enumerate(parts):
        try:
            act(number, part)
        except ScenarioError as error:
            raise ScenarioError(f"{field}.{number}.{error}") from None


def explain(error: ValidationError) -> str:
    """Say in one line what a pydantic error means.

    Args:
        error: the error raised while a scenario or component was validated.

    Returns:
        ``field.path: VALUE is not allowed: reason`` for each finding, joined by ``; ``.

    Example:
        >>> from decai_sim import Scenario
        >>> from pydantic import ValidationError
        >>> try:
        ...     Scenario(nodes=0)
        ... except ValidationError as error:
        ...     print(explain(error))
        nodes: 0 is not allowed: input should be greater than or equal to 1
    """
    lines = []
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"]) or error.title
        message = item["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if item["type"] == "extra_forbidden":
            lines.append(f"{path}: unknown key (value {_short(item['input'])})")
        elif item["type"] == "missing":
            lines.append(f"{path}: missing, a value is required")
        else:
            lines.append(f"{path}: {_short(item['input'])} is not allowed: {message}")
    return "; ".join(lines)


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
