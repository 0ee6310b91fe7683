"""What the simulator must know of a machine to say how long Flower's own engine takes on it, measured."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from decai_sim.errors import DecaiError
from decai_sim.flower import apps
from decai_sim.flower.deploy import LOOPBACK, Site, run_app, waited_s, write_app

if TYPE_CHECKING:
    from decai_sim.learning.tasks import Task

_RESULTS = "noop.json"
_PORT = 40_177


@dataclass(frozen=True)
class Idle:
    """What Flower's engine takes for an app that does nothing.

    Attributes:
        start_s: from the start of a client's process until its app is called, without waiting for a processor; median over
            nodes and rounds.
        round_s: length of each round, seconds.
    """

    start_s: float
    round_s: tuple[float, ...]


@dataclass(frozen=True)
class Speed:
    """How fast a client's process is, as many being at work as there are nodes; medians over them.

    What it waits while others have the processors is not counted, where the system tells.

    Attributes:
        load_s: from the call of the app until its first step is done: the data are read, the model is made.
        flops_per_s: what it does from then on.
    """

    load_s: float
    flops_per_s: float


@dataclass(frozen=True)
class Wires:
    """What the links between nodes and server carry; medians over the nodes.

    Attributes:
        up_bps: from a node, bits per second.
        down_bps: to a node.
        delay_s: one way.
    """

    up_bps: float
    down_bps: float
    delay_s: float


# -- the engine -----------------------------------------------------------------------------------------------------------------


def idle(nodes: int, rounds: int, *, logs: Path, site: Site = LOOPBACK, threads: int | None = None) -> Idle:
    """Run an app that does nothing, on Flower's own engine.

    Args:
        nodes: how many SuperNodes.
        rounds: how many rounds count; one more goes before, in which processes and connections are new.
        logs: a folder for what the processes print.
        site: where they run.
        threads: as for :func:`~decai_sim.flower.deploy.run_app`.

    Raises:
        DecaiError: the engine failed.
    """
    home = "from decai_sim.flower import calibration\n\napp = calibration."
    with tempfile.TemporaryDirectory(prefix="decai_sim_noop_") as folder:
        server, client = f"{home}noop_server({nodes}, {rounds + 1}, {folder!r})\n", f"{home}noop_client()\n"
        run_app(write_app(Path(folder) / "app", server, client), nodes, logs=logs, site=site, threads=threads)
        try:
            found = json.loads((Path(folder) / _RESULTS).read_text(encoding="utf-8"))
        except OSError:
            raise DecaiError("calibration: the app that does nothing has not come to its end") from None
    return Idle(statistics.median(found["start_s"][nodes:]), tuple(found["round_s"][1:]))


def noop_client() -> ClientApp:
    """An app that replies at once with what it got, and with how old its process is."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1, "age-s": _age_s() - waited_s()})
        return Message(RecordDict({apps.MODEL: apps.model_of(message.content), apps.METRICS: metrics}), reply_to=message)

    return app


def noop_server(nodes: int, rounds: int, results: str) -> ServerApp:
    """An app that sends something small to all nodes, ``rounds`` times, and writes down how long that took."""

    def work(grid: Grid) -> None:
        import numpy as np

        round_s: list[float] = []
        start_s: list[float] = []
        while len(list(grid.get_node_ids())) < nodes:
            time.sleep(0.1)
        for _ in range(rounds):
            began = time.time()
            content = RecordDict({apps.MODEL: ArrayRecord([np.zeros(1, np.float32)])})
            replies = list(grid.send_and_receive([Message(content, node, MessageType.TRAIN) for node in grid.get_node_ids()]))
            round_s.append(time.time() - began)
            start_s += [float(reply.content[apps.METRICS]["age-s"]) for reply in replies]  # type: ignore[arg-type]
        (Path(results) / _RESULTS).write_text(json.dumps({"round_s": round_s, "start_s": start_s}), encoding="utf-8")

    return apps.server_app(work)


def _age_s() -> float:
    """For how long this process has been there."""
    try:
        after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    except OSError:  # not Linux
        import psutil

        return time.time() - float(psutil.Process().create_time())  # type: ignore[no-untyped-call]


# -- computing ------------------------------------------------------------------------------------------------------------------


def speed(task: Task, nodes: int, batch_size: int, *, least_s: float = 8.0, threads: int | None = None) -> Speed:
    """Train in as many processes as there are nodes, at the same time, each with its node's data.

    Args:
        task: what is trained.
        nodes: how many.
        batch_size: samples a step.
        least_s: for how long each trains, at least.
        threads: how many threads each uses; None: the processors, shared.

    Raises:
        DecaiError: a process failed.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // nodes)
    code = "import sys; from decai_sim.flower import calibration; calibration.train_here(*sys.argv[1:])"
    values = [json.dumps(value) for value in (task.to_config(), nodes, batch_size, least_s)]
    commands = [[sys.executable, "-c", code, str(node), *values] for node in range(nodes)]
    found = [json.loads(said) for said in _together(commands, {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)})]
    return Speed(*(statistics.median(one[name] for one in found) for name in ("load_s", "flops_per_s")))


def train_here(node: str, task: str, nodes: str, batch_size: str, least_s: str) -> None:
    """Train a node in this process and print how fast that goes; called by :func:`speed`."""
    import torch

    import decai_sim.learning.tasks  # noqa: F401  (registers them)
    from decai_sim.component import parse
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.training import Plan, train_alone, work_flops
    from decai_sim.seeding import Streams

    def clock_s() -> float:
        return time.perf_counter() - waited_s()

    began = clock_s()
    problem = Problem(parse("tasks", json.loads(task)), json.loads(nodes), Streams(0))
    row = problem.initial()

    def train(steps: int) -> float:
        since = clock_s()
        train_alone(problem, row, int(node), 1, plan(steps))
        return clock_s() - since

    def plan(steps: int) -> Plan:
        return Plan(steps=steps, batch_size=json.loads(batch_size), lr=1e-3)

    torch.manual_seed(0)
    train(1)
    load_s, steps, took_s = clock_s() - began, 1, 0.0
    while took_s < json.loads(least_s):
        steps = 2 * steps if took_s < 0.5 else int(1.2 * steps * json.loads(least_s) / took_s) + 1
        took_s = train(steps)
    print(json.dumps({"load_s": load_s, "flops_per_s": work_flops(problem, int(node), plan(steps)) / took_s}))


def _together(commands: Sequence[Sequence[str]], more: dict[str, str]) -> list[str]:
    """What processes that run at the same time print at last."""
    environment: Any = os.environ | more
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        said = [process.communicate() for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
    for process, (_, error) in zip(started, said, strict=True):
        if process.returncode:
            raise DecaiError(f"calibration: a process ended with code {process.returncode}: {error.strip()[-300:]}")
    return [out.strip().splitlines()[-1] for out, _ in said]


# -- links ----------------------------------------------------------------------------------------------------------------------

_LISTEN = """
import socket, sys
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.create_server((host, port)) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    with connection:
        for _ in range(20):
            connection.sendall(connection.recv(1))
        left = size
        while left:
            left -= len(connection.recv(min(left, 65536)))
        connection.sendall(b"!")
        connection.sendall(bytes(size))
        connection.recv(1)
"""
_PROBE = """
import json, socket, statistics, sys, time
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def clocked(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
def receive():
    left = size
    while left:
        left -= len(connection.recv(min(left, 65536)))
with socket.create_connection((host, port), timeout=120) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    both_s = statistics.median(clocked(lambda: (connection.sendall(b"?"), connection.recv(1))) for _ in range(20))
    up_s = clocked(lambda: (connection.sendall(bytes(size)), connection.recv(1)))
    down_s = clocked(receive)
    connection.sendall(b"!")
print(json.dumps([8 * size / up_s, 8 * size / down_s, both_s / 2]))
"""


def wires(nodes: int, site: Site = LOOPBACK, nbytes: int = 1_000_000) -> Wires:
    """Send bytes over a TCP connection between each node's place and the server's, one node after the other.

    Args:
        nodes: how many.
        site: where they are.
        nbytes: how many bytes, each way.

    Raises:
        DecaiError: no connection came about.
    """
    found = []
    for node in range(nodes):
        where = [site.host, str(_PORT + node), str(nbytes)]
        with subprocess.Popen([*site.server, sys.executable, "-c", _LISTEN, *where], stdout=subprocess.PIPE) as listening:
            try:
                assert listening.stdout is not None
                listening.stdout.readline()
                (said,) = _together([[*site.of(node), sys.executable, "-c", _PROBE, *where]], {})
            finally:
                listening.kill()
        found.append(json.loads(said))
    return Wires(*(statistics.median(values) for values in zip(*found, strict=True)))
