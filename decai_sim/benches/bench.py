"""Benches: figures of speed that mean the same on a quiet machine and on a busy one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from statistics import median

from decai_sim.papers.rows import Row

_FILES = ("world", "training", "peer_to_peer", "defenses")
"""Modules of this package that hold a bench each."""


@dataclass(frozen=True)
class Bench:
    """A set of figures of speed.

    Attributes:
        name: what ``decai-sim bench`` calls it.
        about: what it measures, in one sentence.
        measure: gives the figures; none of them is ever a reason to fail, since they depend on the machine.
    """

    name: str
    about: str
    measure: Callable[[], Iterable[Row]]

    def rows(self) -> list[Row]:
        """Measure; the names of the figures begin with the bench's."""
        return [row.of(self.name) for row in self.measure()]


@cache
def _all() -> dict[str, Bench]:
    modules = (import_module(f"decai_sim.benches.{name}") for name in _FILES)
    return {one.name: one for module in modules for one in vars(module).values() if isinstance(one, Bench)}


def benches() -> dict[str, Bench]:
    """All benches by name.

    Example:
        >>> list(benches())
        ['world', 'training', 'peer-to-peer', 'defenses']
    """
    return dict(_all())


def cpu_s(work: Callable[[], object]) -> float:
    """Seconds of processor time that ``work()`` takes: what others do on the machine at the same time counts little.

    Example:
        >>> cpu_s(lambda: sum(range(100_000))) > 0
        True
    """
    began = time.process_time()
    work()
    return time.process_time() - began


def alternating(repeats: int, *measured: Callable[[], float]) -> list[tuple[float, ...]]:
    """Measure things in turn, ``repeats`` times over, so that a machine that slows down slows all of them down.

    Returns:
        One tuple a turn, in the order of the arguments.
    """
    return [tuple(one() for one in measured) for _ in range(repeats)]


def middle_ratio(turns: Iterable[tuple[float, ...]], above: int, below: int) -> float:
    """The median, over turns of :func:`alternating`, of one figure over another.

    Example:
        >>> middle_ratio([(1.0, 2.0), (3.0, 2.0), (9.0, 3.0)], 0, 1)
        1.5
    """
    return median(turn[above] / turn[below] for turn in turns)
