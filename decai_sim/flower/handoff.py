"""The clock has one owner at a time: the world's thread, or the thread of one Flower ``ServerApp``."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from decai_sim.errors import DecaiError, RunStoppedError, StalledError

if TYPE_CHECKING:
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
    """Runs ``ServerApp`` threads and the world in turn: exactly one of them at any moment.

    Args:
        clock: the world's clock.
        stop: set by somebody else to end the run.
    """

    def __init__(self, clock: Clock, stop: threading.Event | None = None) -> None:
        self.clock = clock
        self.apps: list[AppThread] = []
        self.ready: deque[AppThread] = deque()
        self.watching: list[tuple[AppThread, int]] = []
        self._stop = stop

    def checkpoint(self) -> None:
        """Raise if the run is to end: called wherever a run can be cut short.

        Raises:
            RunStoppedError: somebody asked for it.
        """
        if self._stop is not None and self._stop.is_set():
            raise RunStoppedError("the run was stopped")

    def run(self) -> None:
        """Run until every app has ended; the caller's thread is the world's.

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


class AppThread:
    """A ``ServerApp`` in its own thread, which runs only while it holds the clock.

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
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._ticket = 0
        self._killed = False
        self._failure: BaseException | None = None
        self._listed = False
        self._fruitless: dict[bool, tuple[int, float]] = {}
        self._thread: threading.Thread | None = None
        director.apps.append(self)

    # -- called by the world's thread ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; it waits for its first turn."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._main,), name=self.name, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Let the app run until it waits or ends; raises what the app raised."""
        if self.done:
            return
        self._go.release()
        self._back.acquire()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def end(self) -> None:
        """Unwind the thread if it has not ended by itself.

        If the world's thread was interrupted while the app ran, this waits until the app comes to its next call.
        """
        if self._thread is None:
            return
        self._killed = True
        self._go.release()
        self._thread.join()

    def wake(self, ticket: int) -> None:
        """End the wait that ``ticket`` stands for; stale tickets do nothing."""
        if ticket == self._ticket:
            self._ticket += 1
            self._director.ready.append(self)

    # -- called by the app's thread -----------------------------------------------------------------------------------------

    def _main(self) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                self._target()
        except _Killed:
            pass
        except BaseException as failure:
            self._failure = failure
        finally:
            self.done = True
            self._back.release()

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
        self._back.release()
        self._go.acquire()
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
