"""Virtual time: a SimPy environment and plain callbacks on it."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import Any

import simpy

_NORMAL = simpy.events.NORMAL


class _Call:
    """A function call waiting in SimPy's queue: what a ``Timeout`` with one callback does, at a third of its cost."""

    __slots__ = ("_args", "_function", "callbacks")

    _ok = True

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self.callbacks: tuple[Callable[[Any], None], ...] | None = (_Call._run,)

    def _run(self) -> None:
        self._function(*self._args)


class Clock:
    """The one clock of a run, in virtual seconds from 0.

    ``clock.env`` is a real ``simpy.Environment``: processes that read better as such run on it beside the callbacks.

    Example:
        >>> clock, seen = Clock(), []
        >>> clock.at(2.0, seen.append, "two"); clock.after(1.0, seen.append, "one")
        >>> while clock.step(): pass
        >>> seen, clock.now
        (['one', 'two'], 2.0)
    """

    def __init__(self) -> None:
        self.env = simpy.Environment()

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.env._now

    @property
    def idle(self) -> bool:
        """Whether nothing at all is scheduled."""
        return not self.env._queue

    def after(self, delay_s: float, function: Callable[..., object], *args: Any) -> None:
        """Call ``function(*args)`` ``delay_s`` seconds from now; calls of one instant run in the order they were made.

        Raises:
            ValueError: ``delay_s`` is negative or not a number.
        """
        if not delay_s >= 0:
            raise ValueError(f"delay_s: {delay_s!r} is not allowed: time does not run backwards")
        self.at(self.env._now + delay_s, function, *args)

    def at(self, t_s: float, function: Callable[..., object], *args: Any) -> None:
        """Call ``function(*args)`` at time ``t_s``, or at once if that has passed."""
        env: Any = self.env
        # What env.schedule does, without rounding t_s to now + (t_s - now).
        heappush(env._queue, (max(env._now, t_s), _NORMAL, next(env._eid), _Call(function, args)))

    def step(self) -> bool:
        """Run the next event; False if there is none."""
        try:
            self.env.step()
        except simpy.core.EmptySchedule:
            return False
        return True
