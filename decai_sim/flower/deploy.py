"""Flower's own engine on this machine: a SuperLink and SuperNodes as processes, started and stopped again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from decai_sim.errors import DecaiError, RunStoppedError

MARK = "DECAI_SIM_DEPLOYMENT"
"""An environment variable that every process of a deployment carries; Flower starts some in sessions of their own."""
PACKAGE = "deployed"
"""The Python package of an app that :func:`write_app` writes."""

_START_S = 60.0
_GRACE_S = 5.0
_POLL_S = 0.1
_PR_SET_PDEATHSIG = 1

_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "1.0.0"
description = "A scenario of decai_sim"
license = "Apache-2.0"
dependencies = []

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "decai-sim"

[tool.flwr.app.components]
serverapp = "{package}.server_app:app"
clientapp = "{package}.client_app:app"
"""
_CONNECTION = """\
[superlink]
default = "deployment"

[superlink.deployment]
address = "{address}"
insecure = true
"""
# The kernel ends what we have started when we are gone, however that came.
_LAUNCH = (
    "import ctypes, os, sys; "
    f"ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGTERM)}); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass(frozen=True)
class Site:
    """Where the processes run, and how they reach each other.

    Attributes:
        host: the SuperLink's address, for SuperNodes.
        server: what the server's commands are preceded by, such as ``ip netns exec NAME``.
        nodes: likewise for each node; empty: nothing for any.
    """

    host: str = "127.0.0.1"
    server: tuple[str, ...] = ()
    nodes: tuple[tuple[str, ...], ...] = ()

    def of(self, node: int) -> tuple[str, ...]:
        """What a node's commands are preceded by."""
        return self.nodes[node] if self.nodes else ()


@dataclass
class Job:
    """A client's process, as seen from outside.

    Attributes:
        node: whose.
        began_s: when it was seen first, Unix seconds,
        ended_s: and last.
        waited_s: for how long its main thread could have gone on, but others had the processors; seconds. 0 where the system
            does not say.
    """

    node: int
    began_s: float
    ended_s: float
    waited_s: float


LOOPBACK = Site()
"""All on this machine, at the speed of its memory."""


def write_app(folder: Path, server_app: str, client_app: str) -> Path:
    """Write a Flower app.

    Args:
        folder: where to; made if missing.
        server_app: the text of a module with the ``ServerApp`` as ``app``.
        client_app: the text of a module with the ``ClientApp`` as ``app``.

    Example:
        >>> folder = write_app(Path(tempfile.mkdtemp()), "app = None", "app = None")
        >>> sorted(path.name for path in folder.rglob("*.*"))
        ['__init__.py', 'client_app.py', 'pyproject.toml', 'server_app.py']
    """
    package = folder / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(_PYPROJECT.format(package=PACKAGE), encoding="utf-8")
    (package / "__init__.py").write_text('"""A scenario of decai_sim."""\n', encoding="utf-8")
    (package / "server_app.py").write_text(server_app, encoding="utf-8")
    (package / "client_app.py").write_text(client_app, encoding="utf-8")
    return folder


def run_app(
    app: Path,
    nodes: int,
    *,
    logs: Path,
    threads: int | None = None,
    site: Site = LOOPBACK,
    stop: threading.Event | None = None,
    watch: Callable[[], object] = lambda: None,
    jobs: dict[int, Job] | None = None,
) -> None:
    """Run a Flower app on a SuperLink with SuperNodes of this machine, to its end; no process is left behind.

    SuperNode ``i`` has ``partition-id=i num-partitions=nodes`` in its configuration.

    Args:
        app: its folder.
        nodes: how many SuperNodes.
        logs: a folder for what the processes print.
        threads: how many threads PyTorch uses in a client; None: the processors, shared among the nodes.
        site: where the processes run.
        stop: ends the run when set.
        watch: called every now and then while it runs.
        jobs: takes up what is seen of clients' processes, by their ids; None: nobody looks.

    Raises:
        DecaiError: a process could not be started, or has ended before its time; one line says which and why.
        RunStoppedError: ``stop`` was set.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // nodes)
    with tempfile.TemporaryDirectory(prefix="decai_sim_deploy_") as home, Processes(Path(home), logs) as processes:
        port, *own = _free_ports(nodes + 1)
        address = f"{site.host}:{port}"
        superlink = ["flower-superlink", "--insecure", "--host", site.host, "--port", str(port)]
        processes.start("superlink", superlink, within=site.server)
        processes.until_listening("superlink", site.host, port, site.server)
        for node in range(nodes):
            config = f"partition-id={node} num-partitions={nodes}"
            command = [
                "flower-supernode",
                "--insecure",
                "--superlink",
                address,
                "--port",
                str(own[node]),
                "--node-config",
                config,
            ]
            processes.start(f"supernode-{node}", command, threads=threads, within=site.of(node))
        (processes.home_of("run") / "config.toml").write_text(_CONNECTION.format(address=address), encoding="utf-8")
        processes.start("run", ["flwr", "run", str(app), "deployment", "--stream"], within=site.server)
        while processes.alive("run"):
            if stop is not None and stop.is_set():
                raise RunStoppedError("the deployment was stopped")
            processes.check(except_for="run")
            watch()
            if jobs is not None:
                processes.see(jobs)
            time.sleep(_POLL_S)
        processes.check(ended_well="run")


class Processes:
    """Processes of a deployment; leaving the context ends them and all that they have started.

    Args:
        home: a folder that is theirs; each has a Flower home of its own in it, since they would install an app at one time.
        logs: a folder for what they print.
    """

    def __init__(self, home: Path, logs: Path) -> None:
        self._home, self._logs = home, logs
        self._mark = uuid.uuid4().hex
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[BinaryIO] = []
        self._looked_at: set[int] = set()
        self._stack = contextlib.ExitStack()
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Processes:
        self._stack.enter_context(_terminated_as_interrupted())
        return self

    def __exit__(self, *of_what: object) -> None:
        try:
            self.stop()
        finally:
            self._stack.close()

    def home_of(self, name: str) -> Path:
        """The Flower home of a process."""
        home = self._home / name
        home.mkdir(parents=True, exist_ok=True)
        return home

    def start(self, name: str, command: Sequence[str], *, threads: int = 1, within: Sequence[str] = ()) -> None:
        """Start a process of our environment.

        Args:
            name: what errors call it.
            command: a program of the environment that we run in, and its arguments.
            threads: how many threads PyTorch uses in it.
            within: what precedes it.

        Raises:
            DecaiError: there is no such program.
        """
        programs = Path(sys.executable).parent
        path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])
        program, first = shutil.which(command[0], path=path), shutil.which(within[0], path=path) if within else None
        if program is None or (within and first is None):
            raise DecaiError(f"deploy: {(command if program is None else within)[0]!r} is not to be found")
        full = [*([str(first), *within[1:]] if within else []), program, *command[1:]]
        environment = os.environ | {
            "PATH": path,
            "FLWR_HOME": str(self.home_of(name)),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "NO_PROXY": "*",
            "no_proxy": "*",
            MARK: self._mark,
        }
        if sys.platform == "linux":
            full = [sys.executable, "-c", _LAUNCH, *full]
        log = (self._logs / f"{name}.log").open("wb")
        self._files.append(log)
        self._started[name] = subprocess.Popen(
            full, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def alive(self, name: str) -> bool:
        """Whether a process goes on."""
        return self._started[name].poll() is None

    def until_listening(self, name: str, host: str, port: int, within: Sequence[str] = ()) -> None:
        """Wait until a process accepts connections; they are tried ``within`` what its command is preceded by.

        Raises:
            DecaiError: it ends before, or does not within a minute.
        """
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            self.check()
            connect = f"import socket; socket.create_connection(({host!r}, {port}), timeout=1)"
            if subprocess.run([*within, sys.executable, "-c", connect], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(_POLL_S)
        raise DecaiError(
            f"deploy: {name} does not listen on {host}:{port} after {_START_S:.0f} s: {said(self._logs / f'{name}.log')}"
        )

    def check(self, except_for: str = "", ended_well: str = "") -> None:
        """Find out whether all go on.

        Args:
            except_for: one that may end.
            ended_well: one that must have ended, and without an error.

        Raises:
            DecaiError: one has ended.
        """
        for name, process in self._started.items():
            code = process.poll()
            if code is not None and name != except_for and not (name == ended_well and code == 0):
                raise DecaiError(f"deploy: {name} ended with code {code}: {said(self._logs / f'{name}.log')}")

    def see(self, jobs: dict[int, Job]) -> None:
        """Note which clients' processes there are, at little cost: each process is looked into once."""
        now = time.time()
        try:
            there = {int(name) for name in os.listdir("/proc") if name.isdecimal()}
        except OSError:  # not Linux
            return
        for process_id in sorted(there - self._looked_at):
            with contextlib.suppress(OSError):
                if _parent(process_id) in jobs:  # not yet what it is to become: it looks like its parent
                    continue
                if "flwr-clientapp" in Path(f"/proc/{process_id}/cmdline").read_text(encoding="utf-8", errors="replace"):
                    environment = Path(f"/proc/{process_id}/environ").read_text(encoding="utf-8", errors="replace").split("\0")
                    home = next((entry for entry in environment if entry.startswith("FLWR_HOME=")), "")
                    if f"{MARK}={self._mark}" in environment:
                        jobs[process_id] = Job(int(home.rpartition("-")[2]), now, now, 0.0)
        self._looked_at = there
        for process_id in there & jobs.keys():
            waited = waited_s(process_id)
            if waited >= jobs[process_id].waited_s:  # a process that has ended waits for nothing
                jobs[process_id].ended_s, jobs[process_id].waited_s = now, waited

    def stop(self) -> None:
        """End all, those that have ended themselves and left others behind included."""
        roots = [process for process in self._started.values() if process.poll() is None]
        for process in roots:
            process.terminate()
        until = time.monotonic() + _GRACE_S
        for process in roots:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        for _ in range(100):
            left = _marked(self._mark)
            for process_id in left:
                with contextlib.suppress(OSError):
                    os.kill(process_id, signal.SIGKILL)
            if not left:
                break
            time.sleep(_POLL_S)
        for process in self._started.values():
            process.wait()
        for file in self._files:
            file.close()


def said(log: Path) -> str:
    r"""What a process said that tells best why it failed, in one line.

    Example:
        >>> log = Path(tempfile.mkdtemp()) / "server.log"
        >>> _ = log.write_text("all is well\nValueError: no such port\nbye\n")
        >>> said(log)
        'ValueError: no such port'
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    boxed = [line.strip("│ ") for line in lines if line.startswith("│")]  # how Flower's command line shows errors
    if boxed:
        return " ".join(" ".join(boxed).split())[:300]
    plain = [" ".join(line.split()) for line in lines]
    telling = [line for line in plain if "rror:" in line] or [line for line in plain if line] or ["it has said nothing"]
    return telling[-1][-300:]


def waited_s(process_id: int | str = "self") -> float:
    """For how long the main thread of a process has waited for a processor, seconds; 0 where the system does not say.

    Source: the Linux kernel's documentation, scheduler/sched-stats, on ``/proc/<pid>/schedstat``: its second number, nanoseconds.

    Example:
        >>> waited_s() >= 0
        True
    """
    try:
        return int(Path(f"/proc/{process_id}/schedstat").read_text(encoding="utf-8").split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _parent(process_id: int) -> int:
    """Whose child a process is.

    Raises:
        OSError: it has gone.
    """
    after_name = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    return int(after_name.split()[1])


def _marked(mark: str) -> list[int]:
    """Processes that carry the mark and still run."""
    import psutil

    found = []
    for process in psutil.process_iter():  # type: ignore[no-untyped-call]
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let a request to terminate unwind us as Ctrl-C does, so that nothing is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
