"""Virtual time: a SimPy environment and plain callbacks on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import simpy

NORMAL = simpy.events.NORMAL


class Occurrence:
    """Something of ours waiting in SimPy's queue: it has the face of an event, and :meth:`happen` instead of callbacks.

    It may be in the queue again after it happened, which saves making a new one.
    """

    __slots__ = ()

    _ok = True

    def happen(self) -> None:
        """Called at its time."""
        raise NotImplementedError

    @property
    def callbacks(self) -> tuple[Callable[[Any], None], ...]:
        """What ``simpy.Environment.step`` calls; setting it, as SimPy does, changes nothing."""
        return (_happen,)

    @callbacks.setter
    def callbacks(self, value: object) -> None:
        pass


def _happen(occurrence: Occurrence) -> None:
    occurrence.happen()


class _Call(Occurrence):
    """A function call: what a ``Timeout`` with one callback does, at a third of its cost."""

    __slots__ = ("_args", "_function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args

    def happen(self) -> None:
        self._function(*self._args)


class Clock:
    """The one clock of a run, in virtual seconds from 0.

    ``clock.env`` is a real ``simpy.Environment``: processes that read better as such run on it beside the callbacks.

    Attributes:
        env: the environment.
        until_s: up to when an :class:`Occurrence` may let those that follow it happen with it; −inf: only those of its instant.

    Example:
        >>> clock, seen = Clock(), []
        >>> clock.at(2.0, seen.append, "two"); clock.after(1.0, seen.append, "one")
        >>> clock.run()
        >>> seen, clock.now
        (['one', 'two'], 2.0)
    """

    def __init__(self) -> None:
        self.env = simpy.Environment()
        self.until_s = -math.inf

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
        heappush(env._queue, (max(env._now, t_s), NORMAL, next(env._eid), _Call(function, args)))

    def step(self) -> bool:
        """Run the next event, with :class:`Bulk` all of its messages of that instant; False if there is none."""
        before_s, self.until_s = self.until_s, -math.inf
        try:
            self.env.step()
        except simpy.core.EmptySchedule:
            return False
        finally:
            self.until_s = before_s
        return True

    def stop(self) -> None:
        """Let :meth:`run` end when what is happening now is over."""
        self.until_s = -math.inf

    def run(self, until_s: float = math.inf) -> None:
        """Run all events up to and including ``until_s``, or until :meth:`stop`; time then stands where the last one left it.

        Args:
            until_s: virtual seconds.
        """
        env: Any = self.env
        queue, before_s = env._queue, self.until_s
        self.until_s = until_s
        try:
            while queue and queue[0][0] <= self.until_s:
                event = queue[0][3]
                if isinstance(event, Occurrence):  # what env.step() does for it, at half the cost
                    env._now = heappop(queue)[0]
                    event.happen()
                else:
                    env.step()
        finally:
            self.until_s = before_s
