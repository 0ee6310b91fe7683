"""On a GPU, where there is one: the same training as on the processor."""

from __future__ import annotations

from pathlib import Path as File

import numpy as np
import pytest
import torch

import decai_sim as ds
from decai_sim.learning import MLP, Digits, paths
from decai_sim.learning.cohort import train_together
from decai_sim.learning.paths import Path
from decai_sim.learning.problem import Problem
from decai_sim.learning.store import Store
from decai_sim.learning.training import Plan, train_alone
from decai_sim.seeding import Streams

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
N = 6


def problem(device: str) -> Problem:
    return Problem(Digits(model=MLP(hidden=(8,))), N, Streams(1), device)


@pytest.mark.parametrize("kind", ["stacked", "vmap", "compiled"])
def test_training_there_equals_training_here(kind: str) -> None:
    here, there = problem("cpu"), problem("cuda")
    who = [(node, 1) for node in range(N)]
    rows = there.initial().to("cuda").expand(N, -1)
    done = train_together(there, rows, who, Plan(epochs=2, prox_mu=0.1), path=Path.of(f"{kind}:{N}")).rows.cpu()
    for node, server_round in who:
        alone = train_alone(here, here.initial(), node, server_round, Plan(epochs=2, prox_mu=0.1)).row
        torch.testing.assert_close(done[node], alone, rtol=1e-3, atol=1e-5)


def test_bfloat16_is_near() -> None:
    there = problem("cuda")
    start = there.initial().to("cuda")
    exact, rough = (
        train_together(there, start[None], [(0, 1)], Plan(epochs=2, precision=precision)).rows[0]
        for precision in ("float32", "bfloat16")
    )
    assert 0 < float((exact - rough).norm() / (exact - start).norm()) < 0.05


def test_a_run_there_is_the_run_here() -> None:
    scenario = ds.Scenario(nodes=N, task="digits", network="internet", protocol={"kind": "federated", "rounds": 4, "fraction": 1})
    here, there = (ds.run(scenario, device=device, progress=False) for device in ("cpu", "cuda"))
    assert here.trace_digest == there.trace_digest
    np.testing.assert_allclose(here.model, there.model, rtol=1e-3, atol=1e-5)


def test_what_it_has_no_room_for_is_kept_by_the_host() -> None:
    store = Store(3, "cuda", device_bytes=20 * 12)
    handles = [row for at in range(10) for row in store.put(torch.full((10, 3), float(at)))]
    assert 0 < store.spilled_bytes < store.nbytes
    assert store.gather(handles[::10])[:, 0].tolist() == [float(at) for at in range(10)]


def test_paths_are_measured_for_the_device(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(paths.ENVIRONMENT, raising=False)
    monkeypatch.setattr(paths, "_cache_file", lambda: tmp_path / "paths.json")
    best = paths.chosen(problem("cuda"), Plan(), 1e13)
    assert best in paths.candidates("cuda", 1e13)
    assert torch.cuda.get_device_name() in (tmp_path / "paths.json").read_text(encoding="utf-8")
