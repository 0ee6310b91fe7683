"""The clock has one owner at a time: the world, or one Flower ``ServerApp``.

Each has a stack of its own (a greenlet), and all are in the thread that began the run. So a ``ServerApp`` may wait in the middle
of whatever it does, handing over costs next to nothing, and one thread computes: PyTorch keeps helpers for each thread that does,
and two sets of them on the same processors are half as fast as one.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import torch
from greenlet import getcurrent, greenlet

from decai_sim.errors import DecaiError, RunStoppedError, StalledError

if TYPE_CHECKING:
    import threading

    from decai_sim.world.clock import Clock

STATIC_PATIENCE_S = 60.0
"""Virtual seconds of fruitless listing after which a wait is hopeless when nothing else is ever going to happen."""
PATIENCE_S = 86_400.0
"""The same in a world that still changes, and for an app that only sleeps."""
_FEW_LISTINGS, _FEW_SLEEPS = 10, 1000
"""However long they took, so many are no polling yet: an app may sleep for days on purpose."""


class _Killed(BaseException):
    """Unwinds a ``ServerApp`` whose run has ended; not an ``Exception``, so that no app catches it."""


class Director:
    """Runs ``ServerApp``s and the world in turn: exactly one of them at any moment.

    Args:
        clock: the world's clock.
        stop: set by somebody else to end the run.
    """

    def __init__(self, clock: Clock, stop: threading.Event | None = None) -> None:
        self.clock = clock
        self.apps: list[AppStrand] = []
        self.ready: deque[AppStrand] = deque()
        self.watching: list[tuple[AppStrand, int]] = []
        self._stop = stop

    def checkpoint(self) -> None:
        """Raise if the run is to end: called wherever a run can be cut short.

        Raises:
            RunStoppedError: somebody asked for it.
        """
        if self._stop is not None and self._stop.is_set():
            raise RunStoppedError("the run was stopped")

    def run(self) -> None:
        """Run until every app has ended; the caller's stack is the world's.

        Raises:
            StalledError: an app waits for something that cannot come.
            RunStoppedError: the run was stopped.
        """
        try:
            for app in self.apps:
                app.start()
                self.ready.append(app)
            while any(not app.done for app in self.apps):
                self.checkpoint()
                if self.ready:
                    self.ready.popleft().resume()
                elif self.clock.step():
                    watching, self.watching = self.watching, []
                    for app, ticket in watching:
                        app.wake(ticket)
                else:
                    waiting = "; ".join(f"{app.name} waits for {app.waits_for}" for app in self.apps if not app.done)
                    raise StalledError(f"nothing more can happen at virtual time {self.clock.now:.1f} s: {waiting}")
        finally:
            for app in self.apps:
                app.end()


class AppStrand:
    """A ``ServerApp`` on a stack of its own, which runs only while it holds the clock.

    Args:
        name: what messages call it.
        director: who hands over.
        target: the app.
    """

    def __init__(self, name: str, director: Director, target: Callable[[], object]) -> None:
        self.name, self.waits_for, self.done = name, "its start", False
        self.busy: Callable[[], bool] = lambda: False
        """Whether something the app has asked for is still under way."""
        self.listing: Callable[[], str] = lambda: "unknown"
        self._director, self._target = director, target
        self._ticket = 0
        self._killed = False
        self._failure: BaseException | None = None
        self._listed = False
        self._fruitless: dict[bool, tuple[int, float]] = {}
        self._strand: greenlet | None = None
        director.apps.append(self)

    # -- called by the world ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Lay out its stack; it waits for its first turn."""
        self._strand = greenlet(self._main)
        self._strand.gr_context = contextvars.copy_context()

    def resume(self) -> None:
        """Let the app run until it waits or ends; raises what the app raised."""
        if self.done:
            return
        self._switch()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def end(self) -> None:
        """Unwind the app if it has not ended by itself."""
        if self._strand is not None and not self.done:
            self._killed = True
            self._switch()

    def _switch(self) -> None:
        assert self._strand is not None
        self._strand.parent = getcurrent()  # to whom it comes back
        self._strand.switch()

    def wake(self, ticket: int) -> None:
        """End the wait that ``ticket`` stands for; stale tickets do nothing."""
        if ticket == self._ticket:
            self._ticket += 1
            self._director.ready.append(self)

    # -- called by the app --------------------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            if not self._killed:
                self._target()
        except _Killed:
            pass
        except BaseException as failure:
            self._failure = failure
        finally:
            self.done = True

    def checkpoint(self) -> None:
        """Leave, if the run has ended or is to end."""
        if self._killed:
            raise _Killed
        try:
            self._director.checkpoint()
        except RunStoppedError as stop:
            self._leave(stop)

    def _leave(self, reason: DecaiError) -> NoReturn:
        """End the run with ``reason``, which is kept from the app: an ``except Exception`` of its own must not swallow it."""
        self._failure = reason
        raise _Killed from reason

    def ticket(self) -> int:
        """Stands for the app's next wait: whoever has it can end that wait."""
        return self._ticket

    def wait(self, what: str, until_s: float | None = None) -> None:
        """Give the clock away until the present ticket is used or virtual time ``until_s`` comes."""
        self.checkpoint()
        self.waits_for = what
        if until_s is not None:
            self._director.clock.at(until_s, self.wake, self._ticket)
        assert self._strand is not None
        assert self._strand.parent is not None
        with _as_by_default():
            self._strand.parent.switch()
        self.checkpoint()

    def wait_event(self, what: str) -> None:
        """Give the clock away until the next event of the world."""
        self._director.watching.append((self, self._ticket))
        self.wait(what)

    def sleep(self, seconds: float) -> None:
        """Sleep in virtual time.

        Raises:
            StalledError: the app does nothing but sleep, or list nodes and sleep, and has for too long.
        """
        clock = self._director.clock
        if self.busy():
            self.acts()
        else:
            times, since_s = self._fruitless.get(self._listed, (0, clock.now))
            few = _FEW_LISTINGS if self._listed else _FEW_SLEEPS
            if times >= few and clock.now - since_s > (STATIC_PATIENCE_S if self._listed and clock.idle else PATIENCE_S):
                doing, why = "sleep", "nothing it has asked for is under way"
                if self._listed:
                    doing, why = "list nodes and sleep", "it waits for more nodes than are ever listed at once"
                self._leave(
                    StalledError(
                        f"{self.name} has done nothing but {doing} since virtual time {since_s:.0f} s ({times} times): {why}; "
                        f"listed now: {self.listing()}"
                    )
                )
            self._fruitless[self._listed] = times + 1, since_s
        self._listed = False
        self.wait(f"the end of a sleep of {seconds:g} s", clock.now + seconds)

    def lists(self) -> None:
        """Note that the app has asked who is there."""
        self._listed = True

    def acts(self) -> None:
        """Note that the app has done something, or got something new."""
        self._fruitless.clear()


@contextmanager
def _as_by_default() -> Iterator[None]:
    """An app that waits inside ``torch.no_grad()`` keeps no gradients from others: the mode is the thread's."""
    autocast = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
    if torch.is_grad_enabled() and not torch.is_inference_mode_enabled() and not autocast:
        yield
        return
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield
