"""Very many messages side by side: those that are sent, and those that have arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from decai_sim.world.wiring import Wiring

Relays = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From kinds (their codes), senders and items of messages, ``(m,)`` each, to which of them are passed on for others."""


@dataclass
class Arrivals:
    """Messages that have arrived, in the order of their arrival; ``(m,)`` each.

    Attributes:
        t_s: when.
        src, dst: from and to whom.
        kind: the code of their kind, as :meth:`Bulk.kind` gives it.
        item: what they are about: whatever number their sender gave.
        nbytes: their sizes.
    """

    t_s: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    kind: np.ndarray
    item: np.ndarray
    nbytes: np.ndarray

    def __len__(self) -> int:
        return len(self.t_s)

    def __getitem__(self, which: np.ndarray) -> Self:
        """Some of them, by a mask or by their places."""
        return type(self)(*(getattr(self, name)[which] for name in ("t_s", "src", "dst", "kind", "item", "nbytes")))


@dataclass(slots=True)
class Sending:
    """Messages that are sent, in order of time; ``(m,)`` each, or one value for all of them."""

    t_s: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    base_s: Any
    """Latencies of their links; where there is no wiring, they are looked up when all that is sent is together."""
    link: Any
    """Along which of its wiring's links; where there is no wiring, where in the tables jitter and loss are found, likewise."""
    item: np.ndarray
    nbytes: Any
    code: Any
    box: Any
    longer_s: Any
    wiring: Any
    """Which of ``wirings``."""
    wirings: list[Wiring | None]

    def __len__(self) -> int:
        return len(self.t_s)

    def column(self, name: str) -> np.ndarray:
        """What it says of every message; ``(m,)``."""
        values = getattr(self, name)
        return values if many(values) else np.full(len(self), values)

    def those(self, which: np.ndarray) -> Sending:
        """Some of them, by a mask or by their places."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        some: dict[str, Any] = {name: values[which] if many(values) else values for name, values in columns.items()}
        return Sending(**some, wirings=self.wirings)

    @staticmethod
    def together(sendings: list[Sending]) -> Sending:
        """All of them, in order of time."""
        wirings: list[Wiring | None] = []
        for sending in sendings:
            wiring = sending.wirings[0]
            sending.wiring = next((i for i, known in enumerate(wirings) if known is wiring), len(wirings))
            if sending.wiring == len(wirings):
                wirings.append(wiring)
        columns = {name: _concatenated(sendings, name) for name in _COLUMNS}
        every = Sending(**columns, wirings=wirings)
        order = every.t_s.argsort(kind="stable")
        return every.those(order)


def _concatenated(sendings: list[Sending], name: str) -> Any:
    first = getattr(sendings[0], name)
    if not many(first) and all(not many(value) and value == first for value in (getattr(one, name) for one in sendings[1:])):
        return first
    return np.concatenate([one.column(name) for one in sendings])


def many(values: Any) -> bool:
    """Whether there is a value for every message, or one for all."""
    return isinstance(values, np.ndarray) and values.ndim > 0


_COLUMNS = [column.name for column in fields(Sending) if column.name != "wirings"]
