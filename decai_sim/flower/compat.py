"""All private parts of flwr that the package touches, for the pinned version, in one place.

flwr keeps "who am I" and "what time is it" per process. Here both are read from a context variable, so that a run lives in its
own virtual time while everything else in the process goes on as usual. The substitutes are in place only while a run is under
way.
"""

from __future__ import annotations

import copy
import datetime
import importlib
import io
import logging
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # flwr's command line modules warn about click and typer while they load
    import flwr.app.message.message as message_module
    import flwr.serverapp.strategy.strategy_utils as strategy_utils
    from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
    from flwr.server.superlink.linkstate.utils import (
        create_message_error_unavailable_ins_message,
        create_message_error_unavailable_res_message,
    )
    from flwr.serverapp import ServerApp
    from flwr.supercore.run import Run as FlowerRun
    from flwr.supercore.task_identity import TaskIdentity

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams

__all__ = ["EPOCH", "SUPERLINK_NODE_ID", "ErrorCode", "FlowerRun", "Session", "entered", "load_folder", "rng_of", "substituted"]

_Record = TypeVar("_Record", ArrayRecord, ConfigRecord, MetricRecord, RecordDict)
EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
"""What clocks show at virtual time 0, Unix seconds: a date that Flower's own checks accept."""


@dataclass(frozen=True)
class Session:
    """What Flower code sees of the run it is part of.

    Attributes:
        run_id: the run's number.
        now_s: reads the virtual clock.
        sleep: sleeps in virtual time; None where nobody may wait.
        random: what Flower's sampling of nodes draws from; None: Python's global generator.
    """

    run_id: int
    now_s: Callable[[], float]
    sleep: Callable[[float], None] | None = None
    random: random.Random | None = None


_session: ContextVar[Session | None] = ContextVar("decai_sim_flower_session", default=None)
_real_now: Callable[[], datetime.datetime] = vars(message_module)["now"]
_real_sleep, _real_time, _real_monotonic = time.sleep, time.time, time.monotonic


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


class _Random:
    """Stands in for the module ``random`` where Flower samples nodes."""

    def __getattr__(self, name: str) -> Any:
        session = _session.get()
        return getattr(random if session is None or session.random is None else session.random, name)


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
    (strategy_utils, "random", _Random()),
    (time, "sleep", _sleep),
    (time, "time", _time),
    (time, "monotonic", _monotonic),
)
_IMPORTED_BY_NAME = {id(_real_sleep): _sleep, id(_real_time): _time, id(_real_monotonic): _monotonic}
_lock = threading.Lock()
_depth = 0
_restore = ExitStack()


@contextmanager
def substituted(*apps: ServerApp | ClientApp) -> Iterator[None]:
    """Put the substitutes in place while any run is under way.

    The packages of ``apps`` get virtual ``sleep``, ``time`` and ``monotonic`` also where they imported them by name.
    """
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            logger = logging.getLogger("flwr")
            _restore.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)  # Flower narrates every round; the run's own tables say it better
            for owner, name, substitute in _SUBSTITUTES:
                _restore.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, substitute)
        for names in _namespaces(apps):
            for name, value in list(names.items()):
                if id(value) in _IMPORTED_BY_NAME:
                    _restore.callback(names.__setitem__, name, value)
                    names[name] = _IMPORTED_BY_NAME[id(value)]
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:  # another run may be using the same app's module
                _restore.close()


@contextmanager
def entered(session: Session | None) -> Iterator[None]:
    """Make ``session`` the one that Flower code sees."""
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


@contextmanager
def sleeps_counted() -> Iterator[list[float]]:
    """Let the code inside sleep without waiting; yields the list of its sleeps, virtual seconds, by which its clock is ahead."""
    outer = _session.get()
    assert outer is not None
    slept: list[float] = []
    with entered(Session(outer.run_id, lambda: outer.now_s() + sum(slept), slept.append)):
        yield slept


def _namespaces(apps: Iterable[ServerApp | ClientApp]) -> list[dict[str, Any]]:
    """The global names of the modules that ``apps`` were written in, and of all others in the same packages.

    Flower's are not among them, nor are ours: the substitutes themselves need the real clocks.
    """
    namespaces: dict[int, dict[str, Any]] = {}
    packages: set[str] = set()

    def visit(function: Any) -> None:
        package = (getattr(function, "__module__", None) or "").partition(".")[0]
        if package not in {"flwr", "decai_sim"}:  # a mod's wrapper is Flower's own
            packages.add(package)
            names = getattr(function, "__globals__", {})
            namespaces[id(names)] = names
            return
        for cell in getattr(function, "__closure__", None) or ():
            if callable(cell.cell_contents):
                visit(cell.cell_contents)

    for app in apps:
        for function in (app._lifespan, *([app._main] if isinstance(app, ServerApp) else app._registered_funcs.values())):
            visit(function)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages:
            namespaces[id(vars(module))] = vars(module)
    return list(namespaces.values())


def is_message_api(app: ServerApp | ClientApp) -> bool:
    """Whether an app is written in the message API, not with ``server_fn`` or ``client_fn``."""
    return app._main is not None if isinstance(app, ServerApp) else app._call is None


def load_folder(folder: str) -> tuple[ServerApp, ClientApp, dict[str, Any]]:
    """Load a Flower app from its folder, as ``flwr run`` does.

    Args:
        folder: holds ``pyproject.toml`` with ``[tool.flwr.app.components]``.

    Returns:
        Its ``ServerApp``, its ``ClientApp`` and its ``[tool.flwr.app.config]``.

    Raises:
        ScenarioError: there is no Flower app in the folder, or it does not load.
    """
    from flwr.common.config import flatten_dict, get_project_config
    from flwr.supercore.object_ref import load_app

    try:
        app = get_project_config(folder)["tool"]["flwr"]["app"]
        parts = [app["components"][name] for name in ("serverapp", "clientapp")]
        here = str(Path(folder).absolute())
        sys.path[:] = [here, *(entry for entry in sys.path if entry != here)]
        for part in parts:
            _forget(part.partition(":")[0].partition(".")[0], folder)
        server_app, client_app = (load_app(part, ValueError, folder) for part in parts)
        return server_app, client_app, dict(flatten_dict(app.get("config")))
    except (ImportError, ValueError) as error:  # TOML's errors are ValueErrors
        reason = " ".join(str(error).split())
        raise ScenarioError(f"server_app: {folder!r} is not allowed: it holds no Flower app that loads: {reason}") from error


def _forget(package: str, folder: str) -> None:
    """Drop an imported package that ``folder`` has one of: two apps may use one name, and an app may have been edited."""
    if (Path(folder) / package).is_dir() or (Path(folder) / f"{package}.py").is_file():
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]
        importlib.invalidate_caches()


def identify(message: Message, message_id: str) -> None:
    """Give a message its identity."""
    message.metadata.__dict__["_message_id"] = message_id


def copied(message: Message, content: RecordDict) -> Message:
    """A message with the same metadata and the given content."""
    return message_module.make_message(copy.copy(message.metadata), content)


def filled(record: _Record, values: dict[str, Any]) -> _Record:
    """``record``, which is empty, with ``values``, whose types are known to be right.

    Flower checks each of them anew as it is put in, which thousands of models pay for.
    """
    record.__dict__["_data"] = values
    return record


def shared(array: Array) -> Array:
    """Another ``Array`` with the same bytes, which are immutable."""
    other = Array.__new__(Array)
    other.__dict__.update(array.__dict__)
    return other


def values_of(array: Array) -> np.ndarray:
    """What ``array.numpy()`` gives, read-only, in a tenth of the time: a header is parsed once for all that have the same."""
    import numpy as np

    data = array.data
    if array.stype != "numpy.ndarray" or data[6:8] != b"\x01\x00":
        return array.numpy()
    begins = 10 + int.from_bytes(data[8:10], "little")
    dtype, shape, by_columns = _npy_header(data[:begins])
    return np.frombuffer(data, dtype, offset=begins).reshape(shape, order="F" if by_columns else "C")


@lru_cache(maxsize=256)
def _npy_header(begin: bytes) -> tuple[Any, tuple[int, ...], bool]:
    from numpy.lib import format as npy

    stream = io.BytesIO(begin)
    npy.read_magic(stream)
    shape, by_columns, dtype = npy.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects is not allowed")
    return dtype, shape, by_columns


def expires_s(message: Message) -> float:
    """When a message's time to live ends, virtual seconds."""
    return message.metadata.created_at + message.metadata.ttl - EPOCH


def dated(reply: Message, instruction: Message, created_s: float) -> Message:
    """Say that ``reply`` was created at virtual time ``created_s``; like Flower, let it live as long as its instruction."""
    reply.metadata.created_at = EPOCH + created_s
    reply.metadata.ttl = max(0.0, expires_s(instruction) - created_s)
    return reply


def node_unavailable(instruction: Message) -> Message:
    """What a SuperLink answers in the stead of a node that it does not list (any more)."""
    return create_message_error_unavailable_res_message(instruction.metadata, "node_unavail")


def message_unavailable(message_id: str) -> Message:
    """What a SuperLink answers when it has no such message, or when its time to live is over."""
    return create_message_error_unavailable_ins_message(message_id, 1)


_turn = threading.Lock()
_has_turn: ContextVar[bool] = ContextVar("decai_sim_flower_turn", default=False)


@contextmanager
def turn(checkpoint: Callable[[], object]) -> Iterator[None]:
    """Wait for the other runs of this process: its global generators, which Flower apps draw from, serve one run at a time.

    A run inside an app of another run has its turn already.

    Args:
        checkpoint: called every now and then while waiting; may raise to give up.
    """
    if _has_turn.get():
        yield
        return
    while not _turn.acquire(timeout=0.2):
        checkpoint()
    token = _has_turn.set(True)
    try:
        yield
    finally:
        _has_turn.reset(token)
        _turn.release()


class Rng:
    """Python's, NumPy's and torch's global generators, begun anew from one number, for code that uses those.

    Args:
        seed: 0 … 2**63 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the code inside draw from them; what was there before is put back."""
        import numpy as np
        import torch

        python, numpy, torchs = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
        random.seed(self._seed)
        np.random.seed([self._seed & 0xFFFFFFFF, self._seed >> 32, 1])  # with a third word: Python's draws are not repeated
        torch.default_generator.manual_seed(self._seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.default_generator.set_state(torchs)


def rng_of(streams: Streams, *name: str | int) -> Rng:
    """Global generators begun from the named stream."""
    return Rng(streams.integer(*name))
