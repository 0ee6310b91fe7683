"""One app, several engines, one model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

import decai_sim as ds
from decai_sim.flower import hosting
from decai_sim.flower.executors import MessageExecutor
from tests.flower.flower_engine import LOST, complete

N = 4
OURS = {"kind": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}}
SEED = 3


def processes_with(mark: str) -> list[int]:
    """Processes with ``mark`` in their environment, Ray's own included."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # gone meanwhile, or not ours
    return found


@pytest.fixture
def flower_engine(digits_app: Path, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Trains an app under Flower's own simulation engine, in a process of its own; returns its final model."""
    mark = f"DECAI_TEST_{uuid.uuid4().hex}"
    out = tmp_path / "theirs.npz"

    def run(app: str) -> Any:
        here = Path(__file__)
        path = os.pathsep.join([str(digits_app), str(here.parents[2])])
        environment = os.environ | {"PYTHONPATH": path, mark: "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        command = [sys.executable, str(here.with_name("flower_engine.py")), app, str(out), str(N)]
        for _ in range(3):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
            if LOST not in done.stderr:
                break
        assert done.returncode == 0, done.stderr[-3000:]
        return np.load(out)

    yield run
    for _ in range(100):
        if not processes_with(mark):
            return
        time.sleep(0.1)
    left = processes_with(mark)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []


def assert_same_models(ours: Any, theirs: Any) -> None:
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


class LateGrid:
    """A grid whose nodes are registered after the server has begun, and of whose replies some may be missing."""

    def __init__(self, missing: int = 0) -> None:
        self.asked_before, self.missing = 0, missing

    def get_node_ids(self) -> list[int]:
        self.asked_before += 1
        return list(range(N)) if self.asked_before > 2 else []

    def send_and_receive(self, messages: list[Any]) -> list[Any]:
        def reply(node: int) -> Any:
            content = RecordDict({"metrics": MetricRecord({"num-examples": 1})})
            metadata = SimpleNamespace(src_node_id=node)
            return SimpleNamespace(metadata=metadata, content=content, has_content=lambda: True, has_error=lambda: False)

        return [reply(node) for node in messages[self.missing :]]


@pytest.mark.parametrize(("missing", "lost"), [(0, False), (1, True)])
def test_the_reference_begins_with_all_nodes_and_notices_when_one_is_missing(missing: int, lost: bool) -> None:
    server_app, replied = ServerApp(), []

    @server_app.main()
    def main(grid: Any, context: Context) -> None:
        replied.extend(grid.send_and_receive(grid.get_node_ids()))  # at once, as FedAvg counts them

    run = complete(server_app, N)
    with pytest.raises(RuntimeError, match=LOST) if lost else nullcontext():
        run(LateGrid(missing), Context(0, 0, {}, RecordDict(), {}))  # type: ignore[arg-type]
    assert len(replied) == (0 if lost else N)


@pytest.mark.flower_engine
def test_a_foreign_app_learns_the_same_model_here_and_under_flowers_engine(
    flower_engine: Callable[[str], Any], digits_app: Path, tmp_path: Path
) -> None:
    theirs = flower_engine(str(digits_app))

    def ours(rounds: int) -> Any:
        config = {"save-as": str(tmp_path / f"{rounds}.npz"), "num-rounds": rounds}
        run = ds.flower.run(digits_app, ds.Scenario(nodes=N), run_config=config)
        assert run.rounds.n_replied.tolist() == [N] * rounds
        return np.load(config["save-as"])

    assert_same_models(ours(3), theirs)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_same_models(ours(2), theirs)


@pytest.mark.flower_engine
def test_our_client_app_learns_the_same_in_a_cohort_by_message_and_under_flowers_engine(
    flower_engine: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = ds.Scenario(nodes=N, seed=SEED, task=OURS)
    client_app = ds.flower.TaskClientApp(scenario.task, SEED)

    def learn() -> tuple[ds.Run, dict[str, np.ndarray]]:
        server_app, found = ServerApp(), {}

        @server_app.main()
        def main(grid: Grid, context: Context) -> None:
            result = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=N).start(
                grid,
                initial_arrays=ds.flower.initial_model(scenario.task, SEED, N),
                num_rounds=2,
                train_config=ConfigRecord({"lr": 0.1, "batch-size": 10, "local-epochs": 2}),
            )
            found.update({name: array.numpy() for name, array in result.arrays.items()})

        return ds.flower.run(server_app, client_app, scenario), found

    in_cohorts, cohort = learn()
    calls = []
    begin = MessageExecutor.begin
    monkeypatch.setattr(MessageExecutor, "begin", lambda self, exchange: calls.append(exchange) or begin(self, exchange))
    monkeypatch.setattr(hosting, "CohortExecutor", lambda trainer, others: others)
    by_message, message = learn()

    assert len(calls) == 2 * N
    assert_same_models(message, cohort)
    assert_same_models(flower_engine("ours"), cohort)
    assert in_cohorts.rounds[["bytes_up", "bytes_down"]].equals(by_message.rounds[["bytes_up", "bytes_down"]])
    assert sorted(in_cohorts.messages.bytes) == sorted(by_message.messages.bytes)


def test_the_folder_runs_with_its_own_configuration_and_overrides(digits_app: Path) -> None:
    scenario = ds.Scenario(nodes=N)
    assert len(ds.flower.run(str(digits_app), scenario).rounds) == 3
    run = ds.flower.run(str(digits_app), scenario.but(nodes=6), run_config={"num-rounds": 1})
    assert run.rounds.n_selected.tolist() == [6]


def test_an_edited_folder_and_another_one_of_the_same_name_are_loaded_afresh(tmp_path: Path) -> None:
    def write(folder: Path, rounds: int) -> Path:
        (folder / "sameapp").mkdir(parents=True, exist_ok=True)
        (folder / "pyproject.toml").write_text(
            '[project]\nname = "sameapp"\nversion = "1.0.0"\ndescription = ""\nlicense = "MIT"\n'
            '[tool.flwr.app]\npublisher = "me"\n'
            '[tool.flwr.app.components]\nserverapp = "sameapp.apps:server"\nclientapp = "sameapp.apps:client"\n'
        )
        (folder / "sameapp" / "__init__.py").write_text("")
        (folder / "sameapp" / "apps.py").write_text(
            "from time import sleep\nfrom flwr.clientapp import ClientApp\nfrom flwr.serverapp import ServerApp\n"
            f"server, client = ServerApp(), ClientApp()\n@server.main()\ndef main(grid, context):\n    sleep({rounds})\n"
        )
        return folder

    def virtual_s(folder: Path) -> float:
        return ds.flower.run(folder, ds.Scenario(nodes=1)).provenance["virtual_s"]

    first, second = write(tmp_path / "one", 100), write(tmp_path / "two", 2000)
    assert (virtual_s(first), virtual_s(second)) == (100, 2000)
    assert virtual_s(write(first, 30000)) == 30000


@pytest.mark.parametrize(
    ("pyproject", "reason"),
    [
        ("[project]", "tool.flwr.app"),
        ("not toml at all", "Expected"),
        (
            '[project]\nname = "x"\nversion = "1.0.0"\ndescription = ""\nlicense = "MIT"\n[tool.flwr.app]\npublisher = "me"\n'
            '[tool.flwr.app.components]\nserverapp = "no_such_app.s:app"\nclientapp = "no_such_app.c:app"\n',
            "no_such_app",
        ),
    ],
)
def test_a_folder_without_a_flower_app_is_refused_in_one_line(tmp_path: Path, pyproject: str, reason: str) -> None:
    (tmp_path / "pyproject.toml").write_text(pyproject)
    with pytest.raises(ds.ScenarioError, match=reason) as caught:
        ds.flower.run(tmp_path)
    assert "\n" not in str(caught.value)
