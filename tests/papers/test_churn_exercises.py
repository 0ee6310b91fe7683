"""What the notebook on churn measures, against runs worked out by hand; each exercise can be failed and solved."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import decai_sim as ds
from decai_sim.papers import churn_exercises as ex


@pytest.fixture
def three(tmp_path: Path) -> ds.Run:
    """Node 0 is there to 100 s and from 400 s on, node 1 from 50 s to 350 s, node 2 always."""
    table = tmp_path / "there.csv"
    table.write_text("node,t_online,t_offline\n0,0,100\n0,400,inf\n1,50,350\n2,0,inf\n")
    return ex.lives(ds.churn.TraceReplay(path=str(table)), hours=600 / 3600, nodes=3)


def test_sessions_are_those_of_the_trace(three: ds.Run) -> None:
    found = ex.sessions(three)
    assert found["node"].tolist() == [0, 2, 1, 0]
    assert found["began_s"].tolist() == [0, 0, 50, 400]
    np.testing.assert_array_equal(found["length_s"], [100, np.nan, 300, np.nan])


def test_who_is_there_and_stays(three: ds.Run) -> None:
    here = ex.there(three, 60.0)
    assert here["node"].tolist() == [0, 1, 2]
    assert here["uptime_s"].tolist() == [60, 10, 60]
    assert ex.share_staying(three, here["node"], 60.0, for_s=30) == 1
    assert ex.share_staying(three, here["node"], 60.0, for_s=100) == pytest.approx(2 / 3)
    assert ex.share_staying(three, [0], 60.0, for_s=400) == 0  # it is back by then, but was away


def test_delays_are_those_of_the_spread(three: ds.Run) -> None:
    delays = ex.delays_s(three, 0)
    assert delays[0] == 0
    assert delays.tolist() == sorted(delays)
    assert np.isinf(delays).sum() == 3 - three.propagation()["reached"].iloc[0]


@pytest.fixture(scope="module")
def measured() -> ds.Run:
    return ex.lives(ds.churn.Weibull(measured="kad", mean_offline_s=10_000), hours=72, nodes=300)


def test_the_crew_of_those_there_longest_solves_the_first_exercise(measured: ds.Run) -> None:
    here = ex.there(measured, ex.NOON_S)
    assert ex.check_crew(measured, here.nlargest(50, "uptime_s")["node"]).startswith("Solved")
    assert ex.check_crew(measured, here.nsmallest(50, "uptime_s")["node"]).startswith("Not yet")
    absent = sorted(set(range(300)) - set(here["node"]))[0]
    assert f"node {absent} is not online" in ex.check_crew(measured, [*here["node"][:49], absent])
    assert "50 different nodes, not 49" in ex.check_crew(measured, here["node"][:49])


@pytest.mark.parametrize(("per_hour", "verdict"), [(300, "Not yet: 1"), (600, "Solved")])
def test_littles_law_solves_the_second_exercise(per_hour: float, verdict: str) -> None:
    churn = ds.churn.Permanent(present=0, arrivals_per_hour=per_hour, mean_stay_s=1800)
    assert ex.check_size(ex.lives(churn, hours=4, nodes=4000)).startswith(verdict)


def test_mean_size_is_weighted_by_time(three: ds.Run) -> None:
    # 2 nodes to 50 s, 3 to 100 s, 2 to 350 s, 1 to 400 s, 2 to 600 s.
    assert ex._mean_online(three, 0, 600) == pytest.approx((100 + 150 + 500 + 50 + 400) / 600)
    assert ex._mean_online(three, 75, 125) == pytest.approx(2.5)


@pytest.mark.parametrize(("interval_s", "timeout_s", "verdict"), [(2, 11, "Solved"), (2, 15, "Not yet: 0 false alarms")])
def test_five_lost_heartbeats_in_a_row_solve_the_third_exercise(interval_s: float, timeout_s: float, verdict: str) -> None:
    assert ex.check_detector(interval_s, timeout_s).startswith(verdict)


def test_more_heartbeats_than_allowed() -> None:
    assert "at most one every 2 s" in ex.check_detector(1.9, 11)


def test_the_allowed_rate_lies_between_four_and_five_lost_in_a_row() -> None:
    per_day = [ex.DAY_S / ex.LEAST_INTERVAL_S * (1 - ex.LOSS) * ex.LOSS**m for m in (4, 5)]
    assert per_day[1] < 1 < per_day[0]
    assert math.isclose(ex.NODES * ex.HALF_HOUR_S / ex.DAY_S, 2, rel_tol=0.05)
