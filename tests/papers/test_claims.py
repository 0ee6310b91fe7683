"""Claims: the cheap ones as they are, the dear ones by their parts, and that each can fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.errors import DecaiError
from decai_sim.papers import (
    bitcoin_propagation,
    client_drift,
    fedbuff,
    gossip_rounds,
    percolation,
    rows,
    swim_detection,
    weibull_sessions,
)
from decai_sim.papers.claims import Claim, claims
from decai_sim.papers.max_min_fairness import transfer_ends_s
from decai_sim.papers.one_peer_exponential import error_after
from decai_sim.papers.queueing_delay import waiting_times
from decai_sim.papers.rows import Row, median_interval, named, report
from decai_sim.papers.spectral_gap import consensus

NAMES = {
    *("spectral-gap", "one-peer-exponential", "percolation", "swim-detection", "weibull-sessions"),
    *("max-min-fairness", "queueing-delay", "gossip-rounds", "bitcoin-propagation", "sim-to-real"),
}


def test_the_names_fixed_by_the_design_are_there_and_say_their_source() -> None:
    assert set(claims()) >= NAMES
    for name, one in claims().items():
        assert isinstance(one, Claim)
        assert one.name == name
        assert min(len(one.paper), len(one.where)) > 10
        assert one.statement.endswith(".")


CHEAP = {
    "spectral-gap": 20,
    "one-peer-exponential": 5,
    "percolation": 5,
    "max-min-fairness": 5,
    "gossip-rounds": 6,
    "swim-detection": 5,
    "weibull-sessions": 12,
    "queueing-delay": 4,
    "bitcoin-propagation": 2,
}
"""Claims that take seconds, and how many figures of each are judged at least."""


@pytest.mark.parametrize("name", CHEAP)
def test_cheap_claims_hold(name: str) -> None:
    found = claims()[name].rows("smoke")
    assert [row.name for row in found if row.meets is False] == []
    judged = [row for row in found if row.meets is not None]
    assert len(judged) >= CHEAP[name]
    assert len({row.name for row in found}) == len(found)
    for row in judged:
        assert row.source
        assert row.target
        assert row.name.startswith(f"{name}: ")
        assert math.isfinite(row.value)


def test_consensus_notices_a_gap_that_is_too_large() -> None:
    from decai_sim.world import Ring
    from decai_sim.world.graphs import metropolis

    weights, gap = metropolis(Ring().csr(16, 0)), 2 / 3 * (1 - math.cos(2 * math.pi / 16))
    assert consensus(weights, gap)[0] <= 1
    assert consensus(weights, 1.2 * gap)[0] > 1


def test_one_peer_graphs_need_all_their_rounds() -> None:
    assert error_after(16, 4, first=3) < 1e-12 < 1e-3 < error_after(16, 3, first=3)
    assert error_after(12, 4, first=0) > 1e-3


def test_the_plain_preferential_attachment_is_that_of_networkx() -> None:
    # With preference by degree the largest degrees are alike; by degree + 1 hubs are smaller.
    import networkx as nx

    def largest(appeal: float, seed: int) -> int:
        return int(np.diff(percolation.barabasi_albert(2000, 2, appeal, np.random.default_rng(seed)).indptr).max())

    hubs = {appeal: np.mean([largest(appeal, seed) for seed in range(8)]) for appeal in (0.0, 1.0)}
    theirs = np.mean([max(dict(nx.barabasi_albert_graph(2000, 2, seed=s).degree()).values()) for s in range(8)])
    assert abs(hubs[0.0] / theirs - 1) < 0.3
    assert hubs[1.0] < 0.8 * theirs


@pytest.mark.parametrize("degree", [1.05, 1.5, 3.0])
def test_the_giant_component_solves_its_equation(degree: float) -> None:
    share = percolation.giant_share(degree)
    assert 0 < share < 1
    assert abs(share - (1 - math.exp(-degree * share))) < 1e-9


def test_a_crash_is_detected_in_whole_periods() -> None:
    delays = swim_detection.first_detections(seed=3, nodes=20, crashes=25)
    assert len(delays) == 25
    assert all(abs(delay - round(delay)) < 1e-3 and delay >= 1 - 1e-3 for delay in delays)
    assert 1.2 < sum(delays) / 25 < 2.2


def test_without_proxies_probes_fail_as_often_as_ping_or_ack_is_lost() -> None:
    assert abs(swim_detection.false_suspicions(1, 0.3, 0) - (1 - 0.7**2)) < 0.05


def test_sessions_of_a_world_are_those_that_churn_draws() -> None:
    from decai_sim.seeding import Streams
    from decai_sim.world import Weibull

    churn, n = Weibull(shape=0.8, scale_s=600, mean_offline_s=900), 50
    lengths, rests = weibull_sessions.sessions(churn, n, seed=5)
    streams, began = Streams(5), np.zeros(n)
    here = churn.start(n, streams)
    first, second, third = (churn.periods(k, here ^ bool(k % 2), began, streams) for k in range(3))
    assert np.allclose(rests, first[here])
    assert np.allclose(lengths, np.where(here, third, second))


def test_hand_solved_transfers_end_when_they_should() -> None:
    ends = transfer_ends_s()
    assert {name: round(end, 6) for name, end in ends.items()} == {"A": 3.0, "B": 4.0, "C": 1.0, "D": 2.0, "E": 1.0}


def test_waiting_times_are_lindley_s() -> None:
    # An outside reference: W(k + 1) = max(0, W(k) + 1 - gap), by hand.
    from decai_sim.seeding import Streams

    waits = waiting_times(0.6, 300, seed=2)
    transmission_s = 0.01
    gaps = Streams(2).of("queueing-delay").exponential(transmission_s / 0.6, 300) / transmission_s
    wanted = [0.0]
    for gap in gaps[1:]:
        wanted.append(max(0.0, wanted[-1] + 1 - gap))
    assert np.allclose(waits, wanted, atol=1e-4)
    assert waits.max() > 1


@pytest.mark.parametrize(("kind", "least", "most"), [("push", 12, 18), ("push_pull", 5, 10)])
def test_a_rumour_needs_so_many_rounds(kind: str, least: int, most: int) -> None:
    # No sooner than doubling allows, log2 200 = 7.6, or trebling; towards the end push needs ln 200 rounds more.
    assert least - 2 <= gossip_rounds.rounds_to_all(kind, 200, seed=1) <= most


def test_blocks_reach_everybody_and_sooner_over_shorter_links() -> None:
    slow = bitcoin_propagation.spread_s(1, {"EU": 1, "NA": 1}, nodes=300)
    quick = bitcoin_propagation.spread_s(1, {"EU": 1, "NA": 1}, nodes=300, halved=True)
    for region in slow:
        half, most, share = slow[region][0]
        assert 1 < half < most < 60
        assert share == 1.0
        assert quick[region][0][0] < half


def test_control_variates_help_where_data_differ_and_nowhere_else() -> None:
    size = client_drift.Size(nodes=10, rounds=8, task="digits", target=0.3, many=20, alphas=(0.1,))
    found = {row.name: row for row in client_drift.drift_rows(size, range(1, 2))}
    for steps in (client_drift.FEW, 20):
        ahead = found[f"final accuracy, {steps} local steps: SCAFFOLD less FedAvg"]
        assert ahead.meets
        assert ahead.value > 0.03
    assert found["equal data, final accuracy, 20 local steps: SCAFFOLD less FedAvg"].meets
    assert found["FedAvg, final accuracy: equal data less alpha 0.1"].meets


def test_nobody_is_ahead_who_does_not_arrive() -> None:
    size = client_drift.Size(nodes=10, rounds=2, task="digits", target=1.1, many=6, alphas=())
    assert {row.meets for row in client_drift.drift_rows(size, range(1)) if row.name.startswith("rounds to")} == {False}
    race = fedbuff.Size(nodes=10, rounds=2, task="digits", model=(), target=1.1, buffer=2)
    judged = [row for row in fedbuff.stragglers_rows(race, range(1), fedbuff.WAYS[:3]) if row.name.startswith("time to")]
    assert {row.meets for row in judged if row.target} == {False}


def test_nobody_waits_for_stragglers_without_rounds() -> None:
    size = fedbuff.Size(nodes=20, rounds=20, task="digits", model=(32,), target=0.4, buffer=2)
    judged = [row for row in fedbuff.stragglers_rows(size, range(1), fedbuff.WAYS[:3]) if row.meets is not None]
    assert len(judged) == 4
    assert all(row.meets for row in judged)
    faster = next(row.value for row in judged if row.name.endswith("FedAvg over FedBuff"))
    assert faster > 2


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_the_interval_of_the_median_holds_it(values: list[float]) -> None:
    middle, low, high, probability = median_interval(values)
    assert low <= middle <= high
    assert middle == pytest.approx(np.median(values))
    assert 0 <= probability <= 1
    if len(values) >= 5:
        assert probability >= 0.9


def test_the_interval_of_the_median_is_scipy_s() -> None:
    from scipy import stats

    values = list(map(float, np.random.default_rng(0).permutation(25)))
    _, low, high, probability = median_interval(values)
    interval = stats.quantile_test(values, q=np.median(values), p=0.5).confidence_interval(0.9)
    assert (low, high) == (interval.low, interval.high)
    assert probability >= 0.9


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row.within("x", 8.0, "s", 10.0, 0.2, ""), True),
        (Row.within("x", 7.9, "s", 10.0, 0.2, ""), False),
        (Row.near("x", 1.1, "", 1.0, 0.2, ""), True),
        (Row.near("x", 1.3, "", 1.0, 0.2, ""), False),
        (Row.between("x", 0.13, "", 0.14, 0.18, ""), False),
        (Row.at_most("x", 1.0, 1.0, ""), True),
        (Row.at_least("x", 0.9, 1.0, ""), False),
        (Row.within("x", math.nan, "", 1.0, 0.5, ""), False),
        (Row("x", 1.0), None),
    ],
)
def test_targets_are_met_or_not(row: Row, met: bool | None) -> None:
    assert row.meets is met


def test_a_report_is_plain_json() -> None:
    import json

    one = Row.at_most("a", np.float64(np.inf), 1.0, "s").of("whole")  # type: ignore[arg-type]
    found = json.loads(json.dumps(report([one, Row("b", 1.5, "s").of("whole")])))
    assert list(found) == ["rows", "machine"]
    assert found["rows"][0] == {"name": "whole: a", "value": None, "unit": "", "target": "≤ 1", "meets": False, "source": "s"}
    assert list(found["rows"][1]) == ["name", "value", "unit", "target", "meets", "source"]
    assert "node" not in str(rows.machine()).lower()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(DecaiError, match="did you mean 'percolation'"):
        named(["percolatoin"], claims(), "claim")
