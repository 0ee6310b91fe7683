"""A scenario's apps on Flower's own engine: the model is the simulator's, nothing is left behind, errors are one line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import decai_sim as ds
from decai_sim import deployment
from decai_sim.flower import deploy as engine
from decai_sim.flower import namespaces
from decai_sim.flower.deploy import Processes
from decai_sim.flower.engine_model import EngineModel, next_poll_s, pulled_s
from decai_sim.papers.sim_to_real import models_rows
from tests.flower.test_parity import processes_with

PROTOCOL = {"kind": "federated", "rounds": 2, "fraction": 1, "local_steps": 20, "scaffold": True}
SCENARIO = ds.Scenario(nodes=2, seed=5, task="digits", protocol=PROTOCOL)


FAILING_SERVER = """
from decai_sim.flower.apps import server_app

def fail(grid):
    raise ValueError("this server fails")

app = server_app(fail)  # {config} {results}
"""
REFUSED = """
╭─ Error ─────────────────────────────────╮
│ Invalid Flower App configuration:       │
│ - Unable to find attribute app          │
│                                         │
╰─────────────────────────────────────────╯
"""


@pytest.fixture(autouse=True)
def left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[int]]]:
    """Says which processes there are that a test has started, directly or not."""
    mark = f"DECAI_TEST_{uuid.uuid4().hex}"
    monkeypatch.setenv(mark, "1")
    yield lambda: processes_with(mark)
    assert processes_with(mark) == []


def test_a_deployment_learns_what_the_simulator_learns_and_leaves_no_process_behind(tmp_path: Path) -> None:
    # Control variates: both sides must remember theirs from one round to the next.
    rows: list[dict[str, Any]] = []
    real = deployment.deploy(SCENARIO, logs=tmp_path / "logs", on_round=rows.append)
    simulated = ds.run(SCENARIO, progress=False, device="cpu")
    assert real.complete
    assert real.model is not None
    np.testing.assert_allclose(real.model, simulated.model, atol=1e-5)
    columns = ["round", "accuracy", "n_selected", "n_replied", "n_byzantine", "bytes_up", "bytes_down", "passed_over"]
    assert real.rounds[columns].equals(simulated.rounds[columns])
    assert list(real.rounds.columns) == list(simulated.rounds.columns)
    assert [row["t_s"] for row in rows] == real.rounds["t_s"].tolist()
    assert (real.round_s() > 0).all()
    # A process a message, which is gone soon after its round.
    assert sorted(real.jobs["node"]) == [0, 0, 1, 1]
    assert (real.jobs["t_end_s"] > real.jobs["t_start_s"]).all()
    assert (real.waited_s() >= 0).all()
    assert (real.waited_s() < real.round_s()).all()
    assert [row.meets for row in models_rows(real, simulated)] == [True, True, True]
    folder = real.save(tmp_path / "saved")
    assert {"rounds.parquet", "jobs.parquet", "model.npy", "provenance.json"} <= {path.name for path in folder.iterdir()}
    other = ds.run(SCENARIO.but(protocol__scaffold=False), progress=False, device="cpu")
    assert next(models_rows(real, other)).meets is False


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": "fedbuff"}, "protocol.kind: 'fedbuff'"),
        ({"protocol": "broadcast"}, "protocol.kind: 'broadcast'"),
        ({"churn": "exponential"}, "churn: 'exponential'"),
        ({"attack": "sign_flip"}, "attack: 'sign_flip'"),
        ({"faults": [{"kind": "crash", "nodes": [0]}]}, "faults: 'crash'"),
        ({"adversaries": [{"kind": "drop", "nodes": [0]}]}, "adversaries: 'drop'"),
        ({"nodes": 1000}, "nodes: 1000"),
    ],
)
def test_what_is_not_real_is_refused_before_anything_starts(
    changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(ds.ScenarioError, match=said) as caught:
        deployment.deploy(SCENARIO.but(**changes))
    assert "\n" not in str(caught.value)


def test_what_lives_in_this_python_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with torch.random.fork_rng():
        model = nn.Linear(64, 10)
    x, y = np.random.default_rng(0).normal(size=(40, 64)), np.arange(40) % 2
    task = ds.tasks.Custom(model, (x[:30], y[:30], x[30:], y[30:]), partition="iid")
    with pytest.raises(ds.ScenarioError, match="task: 'custom' is not allowed in a deployment"):
        deployment.deploy(ds.Scenario(nodes=2, task=task))
    digits = {"kind": "digits", "model": ds.models.Module(model)}
    with pytest.raises(ds.ScenarioError, match="task: 'module' is not allowed in a deployment"):
        deployment.deploy(ds.Scenario(nodes=2, task=digits))


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "attacked.yaml"
    path.write_text(SCENARIO.but(attack="sign_flip").to_yaml())
    command = [sys.executable, "-m", "decai_sim.cli", "deploy", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "attack: 'sign_flip'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_error_in_a_box_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(REFUSED)
    assert engine.said(log) == "Invalid Flower App configuration: - Unable to find attribute app"
    log.write_text("")
    assert engine.said(log) == "it has said nothing"


def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path / "home", tmp_path / "logs")


def test_processes_are_ended_with_all_they_have_started(left_behind: Callable[[], list[int]], tmp_path: Path) -> None:
    # One that does not care to be terminated, in a session of its own, whose parent is gone: Flower has such.
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)"
    with processes(tmp_path) as started:
        started.start("parent", ["python", "-c", code])
        while started.alive("parent"):
            time.sleep(0.05)
        assert len(left_behind()) == 1
        with pytest.raises(ds.DecaiError, match="deploy: parent ended with code 0: it has said nothing"):
            started.check()


def test_a_process_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    with processes(tmp_path) as started:
        started.start("server", ["python", "-c", "print('all is well'); raise ValueError('no such\\n port')"])
        with pytest.raises(ds.DecaiError, match="deploy: server ended with code 1: ValueError: no such") as caught:
            started.until_listening("server", "127.0.0.1", 1)
        assert "\n" not in str(caught.value)
        with pytest.raises(ds.DecaiError, match="'no-such-program' is not to be found"):
            started.start("other", ["no-such-program"])


def test_a_deployment_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    stop.set()
    result = deployment.deploy(SCENARIO, stop=stop)
    assert (result.complete, len(result.rounds), result.model) == (False, 0, None)

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_app", interrupted)
    assert not deployment.deploy(SCENARIO).complete


def test_a_server_that_fails_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "_SERVER_APP", FAILING_SERVER)
    with pytest.raises(ds.DecaiError, match=r"the server ended after 0 of 2 rounds: ValueError: this server fails") as caught:
        deployment.deploy(SCENARIO.but(nodes=1), logs=tmp_path / "logs")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not namespaces.possible(), reason="network namespaces are not to be had here")
def test_links_of_namespaces_carry_what_they_are_given() -> None:
    from decai_sim.flower import calibration

    with namespaces.shaped(2, 4e6, 8e6) as site:
        found = calibration.wires(2, site, 100_000)
    # The filter lets the first 16 kB through at once.
    assert 4e6 * 0.9 < found.up_bps < 4e6 * 1.25
    assert 8e6 * 0.9 < found.down_bps < 8e6 * 1.25
    assert f"decai{os.getpid()}" not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_polls_come_at_regular_times() -> None:
    assert [next_poll_s(now, 10.0, 3.0) for now in (9.0, 10.0, 10.1, 13.0, 30.5)] == [10.0, 10.0, 13.0, 13.0, 31.0]
    assert [pulled_s(0.0, complete) for complete in (0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5)] == [0, 1, 3, 7, 15, 25, 35]


def timed(engine_model: EngineModel | None, **changes: Any) -> np.ndarray:
    # One step is enough: how long work takes in virtual time is the model's to say.
    scenario = ds.Scenario(
        nodes=2, task="digits", protocol={"kind": "federated", "rounds": 8, "fraction": 1, "local_steps": 1}
    ).but(**changes)
    t_s: np.ndarray = np.diff(ds.run(scenario, progress=False, engine=engine_model).rounds["t_s"].to_numpy())
    return t_s


def test_rounds_on_the_model_of_the_engine_are_whole_polls() -> None:
    # The server looks every 3 s, and works 0.25 s in between: 3k + 0.25.
    lengths = timed(EngineModel(start_s=2.0, server_s=0.25))
    np.testing.assert_allclose((lengths - 0.25) % 3 % 2.999999, 0, atol=1e-6)
    # At most 3 s until the node looks, 1 s until the process starts, 2 s, 0.55 s for the reply, 3 s until the server looks.
    assert (lengths >= 3).all()
    assert (lengths <= 9.8 + 0.25).all()


def test_the_model_of_the_engine_without_polls_is_the_simulator() -> None:
    none = {"grid_poll_s": 1e-3, "node_poll_s": 1e-3, "task_poll_s": 1e-3, "reply_poll_s": 1e-3}
    work = {"protocol__rounds": 3, "protocol__local_steps": 200, "protocol__batch_size": 1}
    plain_s = timed(EngineModel(start_s=0, end_s=0, server_s=0, flops_per_s=1e6, **none), **work)
    np.testing.assert_allclose(plain_s, 200 * 3 * 2 * 640 / 1e6, atol=0.01)


def test_a_content_that_is_on_its_way_is_asked_for_again() -> None:
    # 2,964 bytes of a reply take 2.4 s up; who finds it announced asks again after 1 and 3 s, then looks every 3 s.
    model = EngineModel(start_s=0, end_s=0, server_s=0)
    slow = timed(model, network={"kind": "internet", "upload_bps": 1e4, "download_bps": 1e9, "latency": {"kind": "constant"}})
    fast = timed(model)
    assert slow.sum() > fast.sum()
    assert np.allclose(slow % 1.0 % 0.999999, 0, atol=1e-6)


def test_computing_takes_as_long_as_measured_on_the_model_of_the_engine() -> None:
    model = EngineModel(start_s=1.0, flops_per_s=1e6)
    scenario = ds.Scenario(nodes=2, task="digits", protocol={"kind": "federated", "fraction": 1})
    run = ds.run(scenario.but(protocol__rounds=2), progress=False, engine=model)
    jobs = run.events[run.events["kind"].isin(["job_start", "job_end"])]
    length_s = jobs[jobs["node"] == 0]["t_s"].diff().iloc[1]
    assert length_s == pytest.approx(3 * 2 * 650 * run.nodes["n_samples"][0] / 1e6, rel=0.02)
    assert run.provenance["engine"]["start_s"] == 1.0
    with pytest.raises(ds.ScenarioError, match=r"engine: .* is not allowed with protocol 'dpsgd'"):
        ds.run(scenario.but(protocol="dpsgd"), progress=False, engine=model)
