"""All private parts of flwr that the package touches, for the pinned version, in one place.

flwr keeps "who am I" and "what time is it" per process. Here both are read from a context variable, so that a run lives in its own
virtual time while everything else in the process goes on as usual. The substitutes are in place only while a run is under way.
"""

from __future__ import annotations

import copy
import datetime
import logging
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # flwr's command line modules warn about click and typer while they load
    import flwr.app.message.message as message_module
    import flwr.serverapp.strategy.strategy_utils as strategy_utils
    from flwr.app import Error, Message, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
    from flwr.serverapp import ServerApp
    from flwr.supercore.run import Run as FlowerRun
    from flwr.supercore.task_identity import TaskIdentity

if TYPE_CHECKING:
    from decai_sim.seeding import Streams

__all__ = ["EPOCH", "SUPERLINK_NODE_ID", "ErrorCode", "FlowerRun", "Session", "code_globals", "entered", "load_folder", "rng_of"]

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
"""What clocks show at virtual time 0, Unix seconds: a date that Flower's own checks accept."""


@dataclass(frozen=True)
class Session:
    """What Flower code sees of the run it is part of.

    Attributes:
        run_id: the run's number.
        now_s: reads the virtual clock.
        sleep: sleeps in virtual time; None in threads that may not wait.
    """

    run_id: int
    now_s: Callable[[], float]
    sleep: Callable[[float], None] | None = None


_session: ContextVar[Session | None] = ContextVar("decai_sim_flower_session", default=None)
_real_now, _real_sleep, _real_time, _real_monotonic = message_module.now, time.sleep, time.time, time.monotonic


def _now() -> datetime.datetime:
    session = _session.get()
    if session is None:
        return _real_now()
    return datetime.datetime.fromtimestamp(EPOCH + session.now_s(), tz=datetime.UTC)


def _sleep(seconds: float) -> None:
    session = _session.get()
    if session is None or session.sleep is None:
        _real_sleep(seconds)
    else:
        session.sleep(seconds)


def _time() -> float:
    session = _session.get()
    return _real_time() if session is None or session.sleep is None else EPOCH + session.now_s()


def _monotonic() -> float:
    session = _session.get()
    return _real_monotonic() if session is None or session.sleep is None else session.now_s()


class _Identity:
    """Stands in for ``TaskIdentity`` where messages are made."""

    @property
    def run_id(self) -> int:
        session = _session.get()
        return TaskIdentity.run_id if session is None else session.run_id

    @property
    def node_id(self) -> int:
        return TaskIdentity.node_id if _session.get() is None else SUPERLINK_NODE_ID

    @property
    def task_id(self) -> int:
        return TaskIdentity.task_id if _session.get() is None else 0


_SUBSTITUTES: tuple[tuple[Any, str, Any], ...] = (
    (message_module, "now", _now),
    (message_module, "TaskIdentity", _Identity()),
    (strategy_utils, "sleep", _sleep),
    (time, "sleep", _sleep),
    (time, "time", _time),
    (time, "monotonic", _monotonic),
)
_IMPORTED_BY_NAME = {id(_real_sleep): _sleep, id(_real_time): _time, id(_real_monotonic): _monotonic}
_lock = threading.Lock()
_depth = 0
_saved: list[tuple[Any, str, Any]] = []


@contextmanager
def substituted() -> Iterator[None]:
    """Put the substitutes in place while any run is under way."""
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            logger = logging.getLogger("flwr")
            _saved[:] = [(owner, name, getattr(owner, name)) for owner, name, _ in _SUBSTITUTES]
            _saved.append((logger, "level", logger.level))
            for owner, name, substitute in _SUBSTITUTES:
                setattr(owner, name, substitute)
            logger.setLevel(logging.ERROR)  # Flower narrates every round; the run's own tables say it better
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                for owner, name, original in _saved:
                    if name == "level":
                        owner.setLevel(original)
                    else:
                        setattr(owner, name, original)


@contextmanager
def entered(session: Session) -> Iterator[None]:
    """Make ``session`` the one that Flower code of this thread sees."""
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


@contextmanager
def code_globals(*functions: Any) -> Iterator[None]:
    """Give virtual ``sleep`` and ``time`` also to modules that imported them by name, for the modules of ``functions``."""
    changed: list[tuple[dict[str, Any], str, Any]] = []
    for function in functions:
        names = getattr(function, "__globals__", {})
        for name, value in list(names.items()):
            if id(value) in _IMPORTED_BY_NAME:
                changed.append((names, name, value))
                names[name] = _IMPORTED_BY_NAME[id(value)]
    try:
        yield
    finally:
        for names, name, value in changed:
            names[name] = value


def functions_of(app: ServerApp | ClientApp) -> list[Any]:
    """The functions registered with an app."""
    if isinstance(app, ServerApp):
        return [app._main]
    return list(app._registered_funcs.values())


def is_message_api(app: ServerApp | ClientApp) -> bool:
    """Whether an app is written in the message API, not with ``server_fn`` or ``client_fn``."""
    return app._main is not None if isinstance(app, ServerApp) else app._call is None


def load_folder(folder: str) -> tuple[ServerApp, ClientApp, dict[str, Any]]:
    """Load a Flower app from its folder, as ``flwr run`` does.

    Args:
        folder: holds ``pyproject.toml`` with ``[tool.flwr.app.components]``.

    Returns:
        Its ``ServerApp``, its ``ClientApp`` and its ``[tool.flwr.app.config]``.
    """
    from flwr.common.config import get_project_config
    from flwr.supercore.object_ref import load_app

    app = get_project_config(folder)["tool"]["flwr"]["app"]
    parts = app["components"]
    server_app = load_app(parts["serverapp"], ValueError, folder)
    client_app = load_app(parts["clientapp"], ValueError, folder)
    return server_app, client_app, dict(app.get("config", {}))


def stamp(message: Message, *, message_id: str | None = None, created_at_s: float | None = None) -> Message:
    """Set a message's identity or its virtual time of creation."""
    if message_id is not None:
        message.metadata.__dict__["_message_id"] = message_id
    if created_at_s is not None:
        message.metadata.created_at = EPOCH + created_at_s
    return message


def copied(message: Message, content: RecordDict) -> Message:
    """A message with the same metadata and the given content."""
    return message_module.make_message(copy.copy(message.metadata), content)


def error_reply(message: Message, error: Error) -> Message:
    """What a SuperLink answers in a node's stead."""
    reply = Message(error, reply_to=message)
    # At or after the end of the time to live Flower leaves a reply no time at all, not a negative one.
    reply.metadata.ttl = max(0.0, reply.metadata.ttl)
    return reply


class Rng:
    """The state of Python's, NumPy's and torch's global generators, for code that uses those."""

    def __init__(self, state: tuple[Any, Any, Any]) -> None:
        self._state = state

    @staticmethod
    def _current() -> tuple[Any, Any, Any]:
        import numpy as np
        import torch

        return random.getstate(), np.random.get_state(), torch.get_rng_state()

    @staticmethod
    def _set(state: tuple[Any, Any, Any]) -> None:
        import numpy as np
        import torch

        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the code inside draw from this state and go on from where it left; what was there before is put back."""
        outside = self._current()
        self._set(self._state)
        try:
            yield
        finally:
            self._state = self._current()
            self._set(outside)


def rng_of(streams: Streams, *name: str | int) -> Rng:
    """Global generator states drawn from the named stream."""
    import numpy as np

    seed = streams.integer(*name)
    return Rng(
        (
            random.Random(seed).getstate(),
            np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed))).get_state(),
            streams.torch(*name).get_state(),
        )
    )


def loaded_torch() -> bool:
    """Whether somebody has imported torch."""
    return "torch" in sys.modules
