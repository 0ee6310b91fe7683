"""The Flower app of the notebooks: unmodified, and the same on any network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import decai_sim as ds

APP = Path(__file__).parents[2] / "notebooks" / "apps" / "digits-pytorch"
WORLD = ds.Scenario(nodes=6, seed=3, network="ideal", devices={"kind": "mix", "phone": 0.5, "gpu": 0.5})


def run(folder: Path, scenario: ds.Scenario, **config: Any) -> tuple[ds.Run, list[float]]:
    history = folder / "history.json"
    config = {"num-server-rounds": 3, "local-epochs": 2, "results": str(history)} | config
    found = ds.flower.run(str(APP), scenario, run_config=config, work_flops=2e11)
    return found, [one["accuracy"] for one in json.loads(history.read_text()).values()]


def test_the_app_names_nothing_of_ours() -> None:
    files = [*APP.rglob("*.py"), APP / "pyproject.toml"]
    assert len(files) == 5
    assert not any("decai" in path.read_text() for path in files)


def test_a_network_costs_time_and_changes_no_model(tmp_path: Path) -> None:
    (ideal, before), (internet, after) = (run(tmp_path, WORLD.but(network=network)) for network in ("ideal", "internet"))
    assert after == before
    assert after[-1] > 0.5
    assert ideal.rounds["t_s"].iloc[0] == pytest.approx(2e11 / ds.devices.PROFILES["phone"].flops_per_s, rel=1e-3)
    assert (internet.rounds["t_s"] > ideal.rounds["t_s"]).all()


def test_its_timeout_is_virtual(tmp_path: Path) -> None:
    found, _ = run(tmp_path, WORLD, **{"round-timeout": 5.0, "fraction-train": 1.0})
    assert found.rounds["t_s"].tolist() == pytest.approx([5.0, 10.0, 15.0])
    gpus = set(found.nodes.loc[found.nodes["device"] == "gpu", "node"])
    assert 0 < found.rounds["n_replied"].iloc[0] == len(gpus) < 6
