"""What the claim on Flower's own engine predicts, without the engine; tests/flower/test_deploy.py deploys."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import decai_sim as ds
from decai_sim.deployment import Deployed
from decai_sim.papers.sim_to_real import _round_s, _scenario, models_rows

NO_JOBS = pd.DataFrame(columns=["run_id", "node", "t_start_s", "t_end_s", "waited_s"])


def test_the_prediction_is_the_work_and_what_the_engine_adds_to_it() -> None:
    scenario = _scenario(rounds=2, task="digits")
    idle_s, busy_s = _round_s(scenario, 4.0, 0.0), _round_s(scenario, 4.0, 60.0)
    # Measured for an app that does nothing, with processes that take 4 to 6 s to start: 9.3 s.
    assert 6 <= idle_s <= 13
    assert busy_s - idle_s == pytest.approx(60, abs=3)  # whole polls
    assert _round_s(scenario, 10.0, 60.0) - busy_s == pytest.approx(6, abs=3)


def test_the_prediction_knows_of_slow_links() -> None:
    scenario = _scenario(rounds=2, task="digits")
    network = {"kind": "internet", "latency": {"kind": "constant", "delay_s": 1e-4}, "upload_bps": 2e3, "download_bps": 1e9}
    seconds = 8 * 3164 / 2e3  # of an upload
    assert _round_s(scenario.but(network=network), 4.0, 0.0) - _round_s(scenario, 4.0, 0.0) == pytest.approx(seconds, abs=6)


@pytest.mark.parametrize(("moved", "meets"), [(0.0, True), (1e-6, True), (1e-3, False)])
def test_models_that_differ_are_noticed(moved: float, meets: bool) -> None:
    simulated = ds.run(_scenario(rounds=1, task="digits").but(protocol__local_steps=1), progress=False)
    assert simulated.model is not None
    model = simulated.model + np.float32(moved) * np.abs(simulated.model).max()
    rounds: pd.DataFrame = simulated.rounds
    found = list(models_rows(Deployed(simulated.scenario, rounds, NO_JOBS, True, {}, model), simulated))
    assert [row.meets for row in found] == [meets, True, True]
    fewer = Deployed(simulated.scenario, rounds.assign(n_replied=1), NO_JOBS, True, {}, model)
    assert list(models_rows(fewer, simulated))[-1].meets is False
