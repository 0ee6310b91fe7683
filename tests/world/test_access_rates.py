"""Access rates of nodes: by a law, and from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

import decai_sim as ds
from decai_sim.errors import ScenarioError, explain
from decai_sim.seeding import Streams
from decai_sim.world import Internet
from decai_sim.world.access_rates import Lognormal


def rates_of(network: Internet, n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    caps = np.full(n, 1e3)  # devices that could do far less: what is given is given
    paths = network.paths(caps, caps, Streams(seed))
    assert paths.upload_bps[-1] == paths.download_bps[-1] == 1e9
    return paths.upload_bps[:-1], paths.download_bps[:-1]


def test_nodes_rates_follow_their_law_each_direction_by_itself() -> None:
    law = Lognormal(median_bps=4e6, sigma=0.7)
    up, down = rates_of(Internet(upload_bps=law, download_bps=law), 4000)
    for rates in (up, down):
        assert stats.kstest(np.log(rates / 4e6) / 0.7, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(np.log(up), np.log(down))[0, 1]) < 0.05
    assert (rates_of(Internet(upload_bps=law), 4000)[0] == up).all()  # whatever the other direction is
    assert (rates_of(Internet(upload_bps=law), 100)[0] == up[:100]).all()
    assert (rates_of(Internet(upload_bps=law), 4000, seed=2)[0] != up).all()


def test_rates_of_a_file_and_of_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text("node,bps\n2,3e6\n0,1e6\n")
    scenario = ds.Scenario(
        nodes=3,
        network={"kind": "internet", "upload_bps": {"kind": "table", "path": str(path), "default_bps": 9e6}, "download_bps": 2e6},
    )
    scenario.check()
    up, down = rates_of(scenario.network, 3)  # type: ignore[arg-type]
    assert (up.tolist(), down.tolist()) == ([1e6, 9e6, 3e6], [2e6] * 3)
    assert ds.Scenario.model_validate(scenario.to_config()) == scenario


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "No such file or directory"),
        ("bps\n1e6\n", "line 1 must be node,bps"),
        ("node,bps\n0,1e6\n1,fast\n", "line 3: '1,fast' is not a node's number and bits per second above 0"),
        ("node,bps\n0,0\n", "line 2: '0,0' is not"),
        ("node,bps\n0,1,2\n", "line 2: '0,1,2' is not"),
        ("node,bps\n3,1e6\n", "line 2: there is no node 3 among 3"),
        ("node,bps\n0,1e6\n0,1e6\n", "line 3: node 0 is there already"),
        ("node,bps\n0,1e6\n2,1e6\n", "there is no line for node 1, and no default_bps"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_a_run(tmp_path: Path, text: str | None, complaint: str) -> None:
    path = tmp_path / "nodes.csv"
    if text is not None:
        path.write_text(text)
    for direction in ("upload_bps", "download_bps"):
        scenario = ds.Scenario(nodes=3, network={"kind": "internet", direction: {"kind": "table", "path": str(path)}})
        with pytest.raises(ScenarioError) as caught:
            scenario.check()
        assert str(caught.value).startswith(f"network.{direction}.path: {str(path)!r} is not allowed: {complaint}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "lognormal", "median_bps": 0}, "network.upload_bps.median_bps: 0 is not allowed"),
        ({"kind": "lognormol"}, "network.upload_bps.kind: 'lognormol' is not allowed: choose one of lognormal, table (did you"),
        ([1e6, -1], "network.upload_bps.1: -1 is not allowed"),
        (0, "network.upload_bps: 0 is not allowed"),
    ],
)
def test_what_is_wrong_with_a_law_is_said_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ds.Scenario(network={"kind": "internet", "upload_bps": value})
    assert explain(caught.value).startswith(message)
