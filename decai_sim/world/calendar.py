"""What is on its way, or waits, filed by the day of its time."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any

import numpy as np

from decai_sim.world.turns import runs

ENTRY = np.dtype(
    [
        *(("t_s", "f8"), ("place", "i8")),  # when, and where among those of the same instant
        *(("item", "i8"), ("nbytes", "i8"), ("number", "i8"), ("sent_s", "f8"), ("out_s", "f8")),
        *(("src", "i4"), ("dst", "i4"), ("kind", "i4"), ("session", "i4"), ("link", "i4"), ("via", "i4")),
        *(("box", "i2"), ("stage", "i1")),
    ],
    align=True,
)
"""What is on its way, or waits: one record, so that a stretch of them is cut out and put together at once."""
_BLOB = np.dtype(f"V{ENTRY.itemsize}")
"""The same as bytes: NumPy copies records field by field, by name, which takes ten times as long."""

REACHES, ARRIVES, LATER = range(3)
"""Stages of entries: its first byte reaches the receiver's queue; it arrives; it is a reminder, and no message."""


def entries(**columns: Any) -> np.ndarray:
    """Records of these columns, ``(m,)`` each or one value for all; what is not given is not set."""
    made = np.empty(len(columns["t_s"]), dtype=ENTRY)
    for name, values in columns.items():
        made[name] = values
    return made


def those(some: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Some of them, by a mask."""
    kept: np.ndarray = some.view(_BLOB)[which].view(ENTRY)
    return kept


def joined(parts: list[bytes]) -> np.ndarray:
    """All of them, in the order of their happening."""
    every = np.frombuffer(b"".join(parts), dtype=ENTRY)
    t_s = every["t_s"].copy()
    order = t_s.argsort()
    t_s = t_s[order]
    if (t_s[1:] == t_s[:-1]).any():
        order = np.lexsort((every["place"], every["t_s"]))
    ordered: np.ndarray = every.take(order)
    return ordered


_LAST_DAY = 2.0**62
"""Later days are one: what lies behind it would not be numbers of days any more."""
LONGEST_S = 0.25
"""Longest day, and stretch, where nothing shorter is needed: memory holds its messages twice."""


class Calendar:
    """Entries in the order of their happening, a day at a time: only today's are sorted.

    Source: calendar queues, Brown, CACM 31 (1988), here with the entries of a day as one array.

    Args:
        day_s: how long a day is.

    Attributes:
        today: those of today, sorted, those before :attr:`at` worked off; None: no day is open.
        times: today's times.
        at: how far today has come.
    """

    def __init__(self, day_s: float) -> None:
        self._day_s = day_s
        self._days: list[int] = []  # a heap
        self._buckets: dict[int, list[bytes]] = {}
        self._day = -1
        self.today: np.ndarray | None = None
        self.times = np.zeros(0)
        self.at = 0

    def divide(self, day_s: float) -> None:
        """Let days be ``day_s`` long from now on."""
        self._put_back()
        waiting = [part for bucket in self._buckets.values() for part in bucket]
        self._day_s, self._buckets, self._days = day_s, {}, []
        for part in waiting:
            self.file(np.frombuffer(part, dtype=ENTRY))

    def file(self, new: np.ndarray) -> None:
        """Add entries, in any order."""
        days = self._day_of(new["t_s"])
        order = days.argsort()
        days, memory = days[order], new.take(order).tobytes()
        if self.today is not None and days[0] <= self._day:
            self._put_back()
        begins, lengths = runs(days)
        ends = (begins + lengths) * ENTRY.itemsize
        buckets = self._buckets
        for day, begin, end in zip(days[begins].tolist(), (begins * ENTRY.itemsize).tolist(), ends.tolist(), strict=True):
            bucket = buckets.get(day)
            if bucket is None:
                bucket = buckets[day] = []
                heappush(self._days, day)
            bucket.append(memory[begin:end])

    def is_today(self, t_s: np.ndarray) -> np.ndarray:
        """``(m,)`` bool: which times lie in the day that is open."""
        today: np.ndarray = self._day_of(t_s) == self._day
        return today

    def next(self) -> tuple[float, int] | None:
        """Time and place of the next entry, whose day is opened; None: there is none."""
        while self.today is None or self.at == len(self.today):
            self.today = None
            if not self._days:
                return None
            self._day = heappop(self._days)
            self.today, self.at = joined(self._buckets.pop(self._day)), 0
            self.times = self.today["t_s"].copy()
        return float(self.times[self.at]), int(self.today["place"][self.at])

    def waiting(self) -> Iterator[np.ndarray]:
        """All entries that have not been worked off."""
        if self.today is not None:
            yield self.today[self.at :]
        for bucket in self._buckets.values():
            for part in bucket:
                yield np.frombuffer(part, dtype=ENTRY)

    def _put_back(self) -> None:
        """Return what is left of today to its bucket."""
        if self.today is not None and self.at < len(self.today):
            self._buckets[self._day] = [self.today[self.at :].tobytes()]
            heappush(self._days, self._day)
        self.today = None

    def _day_of(self, t_s: np.ndarray) -> np.ndarray:
        days: np.ndarray = np.floor(np.minimum(t_s / self._day_s, _LAST_DAY)).astype(np.int64)
        return days
