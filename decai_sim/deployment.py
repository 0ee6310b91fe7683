"""Deployments: a scenario's own Flower apps on a real SuperLink, with SuperNodes on this machine."""

from __future__ import annotations

import json
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decai_sim.component import Component
from decai_sim.errors import DecaiError, RunStoppedError, ScenarioError
from decai_sim.files import whole
from decai_sim.protocols import Federated
from decai_sim.runs import provenance_of, writable
from decai_sim.scenario import Scenario

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from flwr.app import ArrayRecord
    from flwr.serverapp import Grid, ServerApp

    from decai_sim.flower.deploy import Job, Site

MOST_NODES = 64
"""More SuperNodes than this are not started on one machine: each is a few processes, and its client loads PyTorch."""
_COLUMNS = (
    *("round", "t_s", "accuracy", "loss", "n_selected", "n_replied", "n_byzantine", "bytes_up", "bytes_down", "attack_success"),
    "passed_over",
)
_JOBS = ("node", "t_start_s", "t_end_s", "waited_s")
_ROUNDS, _MODEL = "rounds.jsonl", "model.npy"
_PLAIN = {"churn": None, "attack": None, "faults": (), "adversaries": ()}

_SERVER_APP = '''"""The server."""

from decai_sim.deployment import server_app

app = server_app({config!r}, {results!r})
'''
# It starts for every message, so that it imports no more than it needs.
_CLIENT_APP = '''"""A node."""

import json

import decai_sim.learning.tasks
from decai_sim.component import parse
from decai_sim.flower.apps import TaskClientApp

app = TaskClientApp(parse("tasks", json.loads({task!r})), {seed!r})
'''


@dataclass(eq=False)
class Deployed:
    """What a deployment gave.

    Attributes:
        scenario: what was deployed.
        rounds: as :attr:`Run.rounds <decai_sim.Run.rounds>`, but ``t_s`` are wall-clock seconds since the first instructions were
            sent; bytes are those of the messages' content, for instructions and replies as the simulator counts them.
        jobs: the clients' processes, one a message: ``node, t_start_s, t_end_s, waited_s``; the last is for how long others had
            the processors that it wanted. To a tenth of a second, and only on Linux.
        complete: False if it was stopped before its end.
        provenance: scenario, seed, versions, git state, wall time.
        model: the final model's parameters ``(d,)``; None if there is none.
    """

    scenario: Scenario
    rounds: pd.DataFrame
    jobs: pd.DataFrame
    complete: bool
    provenance: dict[str, Any] = field(repr=False)
    model: np.ndarray | None = field(default=None, repr=False)

    def round_s(self) -> np.ndarray:
        """``(rounds,)`` how long each round took, wall-clock seconds."""
        import numpy as np

        lengths: np.ndarray = np.diff(self.rounds["t_s"].to_numpy(dtype=float), prepend=0.0)
        return lengths

    def waited_s(self) -> np.ndarray:
        """``(rounds,)`` for how long the process that was the last to end each round had waited for a processor, seconds."""
        import numpy as np

        ends, waited = self.rounds["t_s"].to_numpy(dtype=float), np.zeros(len(self.rounds))
        for number, (since_s, until_s) in enumerate(zip([0.0, *ends], ends, strict=False)):
            mine = self.jobs[self.jobs["t_end_s"].between(since_s, until_s, inclusive="right")]
            if len(mine):
                waited[number] = mine.sort_values("t_end_s")["waited_s"].iloc[-1]
        return waited

    def save(self, folder: str | Path) -> Path:
        """Write ``rounds.parquet``, ``jobs.parquet``, ``model.npy`` and ``provenance.json``.

        Raises:
            ScenarioError: the folder cannot be written to.
        """
        import numpy as np

        folder = writable(folder)
        for name in ("rounds", "jobs"):
            with whole(folder / f"{name}.parquet") as part:
                getattr(self, name).to_parquet(part, index=False)
        if self.model is not None:
            with whole(folder / _MODEL) as part:
                np.save(part, self.model, allow_pickle=False)
        with whole(folder / "provenance.json") as part:
            part.write_text(json.dumps(self.provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return folder


def check(scenario: Scenario) -> None:
    """Find out before anything is started whether a scenario can be deployed.

    Raises:
        ScenarioError: it cannot; one line says why.
    """
    if not isinstance(scenario.protocol, Federated):
        raise ScenarioError(f"protocol.kind: {scenario.protocol.kind!r} is not allowed in a deployment: only 'federated' is")
    for name, none in _PLAIN.items():
        value = getattr(scenario, name)
        if value != none:
            kind = (value[0] if isinstance(value, tuple) else value).kind
            raise ScenarioError(f"{name}: {kind!r} is not allowed in a deployment: what goes wrong there is real")
    if scenario.nodes > MOST_NODES:
        raise ScenarioError(
            f"nodes: {scenario.nodes} is not allowed in a deployment: at most {MOST_NODES} SuperNodes run on one machine; "
            "say how many with --nodes"
        )
    parts = {"task": scenario.task, "protocol": scenario.protocol, "defense": scenario.defense}
    for name, part in parts.items():
        for one in _components(part):
            if not type(one).__module__.startswith("decai_sim.") or hasattr(one, "_kept"):
                raise ScenarioError(
                    f"{name}: {one.kind!r} is not allowed in a deployment: it lives in this Python, and nodes are processes of "
                    "their own"
                )
    scenario.check()


def _components(part: Any) -> Iterator[Component]:
    if isinstance(part, Component):
        yield part
        for name in type(part).model_fields:
            yield from _components(getattr(part, name))
    elif isinstance(part, tuple | list):
        for one in part:
            yield from _components(one)


def deploy(
    scenario: Scenario,
    *,
    nodes: int | None = None,
    logs: str | Path | None = None,
    on_round: Callable[[dict[str, Any]], object] | None = None,
    stop: threading.Event | None = None,
    threads: int | None = None,
    site: Site | None = None,
) -> Deployed:
    """Run a scenario's own Flower apps on a real SuperLink, with a SuperNode a node, all on this machine and in real time.

    The apps and the strategy are those of :func:`decai_sim.run`, and so is the model that comes out, up to the order in which
    replies are added, where all nodes are asked. Of a ``fraction`` Flower draws others than the simulator does. The scenario's
    ``network`` and ``devices`` are not used: links and processors are this machine's. A round of Flower's engine takes some eight
    seconds beside the work: most of it is waiting for polls, and starting a process for every message.

    Args:
        scenario: protocol ``federated``, without churn, attack, faults and adversaries.
        nodes: how many there are, instead of ``scenario.nodes``.
        logs: where what the processes print is kept; None: nowhere.
        on_round: called after each round with its row of ``rounds``.
        stop: ends the deployment when set.
        threads: how many threads PyTorch uses in a client; None: the processors, shared among the nodes.
        site: where the processes run; None: on the loopback interface.

    Returns:
        What came of it; after Ctrl-C or ``stop``, what there is of it, with ``complete`` False.

    Raises:
        ScenarioError: the scenario cannot be deployed; nothing has been started then.
        DecaiError: Flower's engine failed.
    """
    from decai_sim.flower.deploy import LOOPBACK, Job, run_app, said, write_app

    scenario = scenario if nodes is None else scenario.but(nodes=nodes)
    check(scenario)
    began, complete = time.perf_counter(), True
    with tempfile.TemporaryDirectory(prefix="decai_sim_app_") as folder:
        results = Path(folder) / "results"
        results.mkdir()
        app = write_app(
            Path(folder) / "app",
            _SERVER_APP.format(config=json.dumps(scenario.to_config()), results=str(results)),
            _CLIENT_APP.format(task=json.dumps(scenario.task.to_config()), seed=scenario.seed),
        )
        shown, jobs = 0, dict[int, Job]()

        def watch() -> None:
            nonlocal shown
            rows = _rows(results)
            for row in rows[shown:]:
                if on_round is not None:
                    on_round({name: row[name] for name in _COLUMNS})
            shown = len(rows)

        try:
            kept = Path(folder) / "logs" if logs is None else Path(logs)
            run_app(app, scenario.nodes, logs=kept, threads=threads, site=site or LOOPBACK, stop=stop, watch=watch, jobs=jobs)
            watch()
            if shown < scenario.protocol.rounds or not (results / _MODEL).exists():
                raise DecaiError(
                    f"deploy: the server ended after {shown} of {scenario.protocol.rounds} rounds: {said(kept / 'run.log')}"
                )
        except (KeyboardInterrupt, RunStoppedError):
            complete = False
        return _collected(scenario, results, list(jobs.values()), complete, time.perf_counter() - began)


def _rows(results: Path) -> list[dict[str, Any]]:
    """The rounds that the server has written down so far."""
    try:
        lines = (results / _ROUNDS).read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _collected(scenario: Scenario, results: Path, seen: list[Job], complete: bool, wall_s: float) -> Deployed:
    import numpy as np
    import pandas as pd

    rows = _rows(results)
    began_s = rows[0]["began_s"] if rows else math.nan
    rounds = pd.DataFrame(rows, columns=list(_COLUMNS))
    jobs = pd.DataFrame(
        [(job.node, job.began_s - began_s, job.ended_s - began_s, job.waited_s) for job in seen], columns=list(_JOBS)
    )
    for frame in (rounds, jobs):
        frame.insert(0, "run_id", scenario.id)
    file = results / _MODEL
    model = np.load(file, allow_pickle=False) if file.exists() else None
    provenance = {**provenance_of(scenario), "complete": complete, "wall_s": round(wall_s, 3), "engine": "flower"}
    return Deployed(scenario, rounds, jobs, complete, provenance, model)


# -- what runs in the processes -------------------------------------------------------------------------------------------------


def server_app(config: str, results: str) -> ServerApp:
    """The app of the server, in its process: ``config`` is the scenario in JSON, ``results`` the folder for what comes out."""
    from decai_sim.flower import apps

    scenario = Scenario.model_validate(json.loads(config))
    return apps.server_app(lambda grid: _serve(scenario, grid, Path(results)))


def _serve(scenario: Scenario, grid: Grid, results: Path) -> None:
    import numpy as np

    from decai_sim.flower import apps, arrays
    from decai_sim.flower.recorded import Recorded
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.server_data import ServerData
    from decai_sim.seeding import Streams

    problem = Problem(scenario.task, scenario.nodes, Streams(scenario.seed))
    while len(list(grid.get_node_ids())) < scenario.nodes:
        time.sleep(0.1)
    watched, began, passed_over = Recorded(grid), time.time(), 0

    def on_passed_over() -> None:
        nonlocal passed_over
        passed_over += 1

    def on_model(server_round: int, model: ArrayRecord) -> None:
        nonlocal passed_over
        t_s = time.time() - began
        accuracy, loss = problem.evaluate(arrays.to_vector(model))
        row = {"round": server_round, "t_s": t_s, "accuracy": accuracy, "loss": loss, "n_byzantine": 0, **watched.counts()}
        row |= {"attack_success": math.nan, "passed_over": passed_over, "began_s": began}
        passed_over = 0
        with (results / _ROUNDS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        with whole(results / _MODEL) as part:
            np.save(part, arrays.to_vector(model).numpy(), allow_pickle=False)

    protocol, how = scenario.protocol, dict[str, Any]()
    if scenario.defense is not None:
        how |= {"senders": scenario.nodes, "on_passed_over": on_passed_over}
    if scenario.defense is not None and {"server", "loss"} & scenario.defense.needs:
        how["own_data"] = ServerData(problem, protocol.server_samples, protocol.plan())
    strategy = protocol.strategy(scenario.nodes, scenario.defense, **how)
    protocol.federate(watched, apps.initial_record(problem), strategy, on_model)
