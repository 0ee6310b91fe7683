"""Models that are known once somebody looks, and what they come of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.store import Row, Store


@dataclass(eq=False)
class Value:
    """A model that is computed when somebody looks.

    Attributes:
        result: the model, once computed.
    """

    result: Row | None = field(default=None, init=False)

    def comes_of(self) -> Iterable[Value]:
        """What has to be computed first, or has been."""
        return ()


@dataclass(eq=False)
class Known(Value):
    """A model that there is.

    Args:
        row: the model.
    """

    def __init__(self, row: Row) -> None:
        self.result = row


@dataclass(eq=False)
class Mix(Value):
    """A weighted sum of models.

    Attributes:
        models: what is summed; let go of once the sum is known.
        weights: of each.

    Example:
        >>> import torch
        >>> from decai_sim.learning.store import Store
        >>> store = Store(2)
        >>> a, b = (Known(row) for row in store.put(torch.eye(2)))
        >>> half = Mix([a, b], [0.5, 0.5])
        >>> mix(store, [half])
        >>> half.result.tensor().tolist()
        [0.5, 0.5]
    """

    models: Sequence[Value]
    weights: Sequence[float]

    def comes_of(self) -> Sequence[Value]:
        """The models."""
        return self.models


@dataclass(eq=False)
class Made(Value):
    """A model that somebody makes of others, looking at what is in them.

    Attributes:
        models: what it is made of; let go of once it is known.
        make: from these ``(k, d)`` to the model ``(d,)``.
    """

    models: Sequence[Value]
    make: Callable[[torch.Tensor], torch.Tensor]

    def comes_of(self) -> Sequence[Value]:
        """The models."""
        return self.models


def make(store: Store, values: Sequence[Made]) -> None:
    """Make all of ``values``, whose models are known, one after the other."""
    for one in values:
        made = one.make(store.gather([row_of(model) for model in one.models]))
        one.result, one.models = store.put(made[None])[0], ()


def average(models: Sequence[Value]) -> Mix:
    """Their mean."""
    return Mix(models, [1 / len(models)] * len(models))


def row_of(model: Row | Value) -> Row:
    """The model itself, which must be known."""
    row = model.result if isinstance(model, Value) else model
    assert row is not None
    return row


def waves(values: Sequence[Value]) -> deque[list[Value]]:
    """``values`` that are not known and all they come of: those of a wave come of earlier waves alone."""
    depth: dict[int, int] = {}
    found: deque[list[Value]] = deque()
    for value in values:
        stack = [value]
        while stack:
            top = stack[-1]
            if top.result is not None or id(top) in depth:
                stack.pop()
                continue
            level, first = 0, len(stack)
            for one in top.comes_of():
                if one.result is None:
                    below = depth.get(id(one))
                    if below is None:
                        stack.append(one)
                    elif below >= level:
                        level = below + 1
            if len(stack) > first:
                continue
            depth[id(top)] = level
            if level == len(found):
                found.append([])
            found[level].append(top)
    return found


def mix(store: Store, mixes: Sequence[Mix]) -> None:
    """Compute weighted sums whose terms are known, all together."""
    if not mixes:
        return
    places: dict[int, int] = {}
    rows: list[Row] = []
    of: list[int] = []
    weights: list[float] = []
    begins: list[int] = []
    for one in mixes:
        begins.append(len(of))
        for value in one.models:
            place = places.get(id(value))
            if place is None:
                place = places[id(value)] = len(rows)
                rows.append(row_of(value))
            of.append(place)
        weights += one.weights
    for one, row in zip(mixes, store.combined(rows, of, begins, weights), strict=True):
        one.result, one.models, one.weights = row, (), ()
