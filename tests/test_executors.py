"""Executors do every job, wherever, and outlive jobs that do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decai_sim.errors import ScenarioError
from decai_sim.executors import Executor, OnRay, Processes, Serial, executor_of


def square(x: int) -> int:
    if x == 13:
        raise RuntimeError("unlucky")
    return x * x


def fatal(x: int) -> int:
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def pid(_: int) -> int:
    time.sleep(0.2)
    return os.getpid()


@pytest.mark.parametrize("executor", [Serial(), Processes(2), OnRay(2)])
def test_every_job_is_done_and_errors_stay_with_their_job(executor: Executor) -> None:
    found = dict(executor.each(square, [1, 13, 3, 4]))
    error = found.pop(1)
    assert found == {0: 1, 2: 9, 3: 16}
    assert isinstance(error, Exception)
    assert "unlucky" in str(error)


@pytest.mark.parametrize("executor", [Processes(2), OnRay(2)])
def test_a_process_that_dies_takes_its_own_job_with_it(executor: Executor) -> None:
    found = dict(executor.each(fatal, [0, 1, 2, 3, 4]))
    assert isinstance(found.pop(2), Exception)
    assert found == {0: 0, 1: 1, 3: 3, 4: 4}


def test_one_process_that_dies_is_not_this_one() -> None:
    found = dict(Processes(1).each(fatal, [2, 5]))
    assert "ended before its time" in str(found[0])
    assert found[1] == 5


def test_processes_are_others_and_are_kept() -> None:
    first, second = (set(dict(Processes(2).each(pid, range(4))).values()) for _ in range(2))
    assert os.getpid() not in first
    assert len(first) == 2
    assert first == second


def test_what_cannot_be_sent_is_a_failure_of_that_job() -> None:
    generator = (x for x in range(3))
    found = dict(Processes(2).each(str, [1, generator, 3]))
    assert isinstance(found.pop(1), Exception)
    assert found == {0: "1", 2: "3"}


def test_executors_by_what_people_write() -> None:
    assert executor_of(None) == executor_of("serial") == executor_of(1) == Serial()
    assert executor_of(3) == Processes(3)
    assert executor_of("processes") == Processes()
    assert executor_of("ray") == OnRay()
    mine = OnRay(2, "auto")
    assert executor_of(mine) is mine


@pytest.mark.parametrize("value", ["threads", 0, -2, True, 1.5, Serial, object()])
def test_what_is_no_executor_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(ScenarioError, match=r"executor: .* is not allowed") as caught:
        executor_of(value)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_workers_are_at_least_one() -> None:
    for make in (Processes, OnRay):
        with pytest.raises(ScenarioError, match=r"executor\.workers: 0 is not allowed"):
            make(0)


CLUSTER = """
import socket, sys
from ray.cluster_utils import Cluster
from decai_sim.executors import OnRay
from decai_sim.errors import ScenarioError
from tests_of_executors import node

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
found = dict(OnRay(address=cluster.address).each(node, range(4)))
print("NODES", len(set(found.values())), len(found))
cluster.shutdown()
"""
NODE = """
import time

def node(_):
    import ray
    time.sleep(2)
    return ray.get_runtime_context().get_node_id()
"""


def test_ray_on_several_machines(tmp_path: Path) -> None:
    (tmp_path / "tests_of_executors.py").write_text(NODE)
    (tmp_path / "main.py").write_text(CLUSTER)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert "NODES 2 4" in done.stdout, done.stdout + done.stderr


def test_no_cluster_at_the_address_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def nobody(**options: object) -> None:
        raise ConnectionError("ray client\nconnection timeout")  # as Ray does, after half a minute

    monkeypatch.setattr(ray, "init", nobody)
    assert not ray.is_initialized()
    with pytest.raises(ScenarioError, match=r"executor\.address: 'ray://127\.0\.0\.1:1' is not allowed") as caught:
        list(OnRay(address="ray://127.0.0.1:1").each(square, [1]))
    assert "\n" not in str(caught.value)
