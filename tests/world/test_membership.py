"""What the server believes, through heartbeats every 30 s with a patience of two."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.world import Exponential, Internet
from decai_sim.world.world import World
from tests.world.worlds import Absences, Wires, run_until, world


def delayed(n: int, delay_s: float, periods: dict[int, list[float]]) -> World:
    return world(n, network=Wires([math.inf] * (n + 1), [math.inf] * (n + 1), delay_s), churn=Absences(periods))


def listed_from_to(w: World, node: int, until_s: float, step_s: float = 0.25) -> list[float]:
    """Times at which ``node`` appeared on or vanished from the list, to within ``step_s``."""
    changes, before = [], None
    for i in range(int(until_s / step_s) + 1):
        t = i * step_s
        w.clock.at(t, int)
        run_until(w, t)
        now = w.membership.lists(node)
        assert now == (node in w.membership.listed().tolist())
        if now != before and not (before is None and not now):
            changes.append(t)
        before = now
    return changes


def test_a_node_that_comes_is_listed_once_its_heartbeat_has_arrived() -> None:
    w = delayed(1, 2.0, {0: [0, 10.0]})
    assert listed_from_to(w, 0, 100) == [12.0]


def test_a_node_that_vanishes_is_struck_off_two_intervals_after_its_last_heartbeat() -> None:
    # Comes at 10, beats at 10, 40, 70; leaves at 85: struck off at 70 + 60, plus the 2 s that a heartbeat travels.
    w = delayed(1, 2.0, {0: [0, 10.0, 75.0]})
    assert listed_from_to(w, 0, 300) == [12.0, 132.0]
    assert w.membership.lapses_s(0) == 132.0


@given(stay=st.floats(0.0, 500.0))
def test_a_vanished_node_stays_listed_for_30_to_60_seconds(stay: float) -> None:
    w = delayed(1, 0.0, {0: [0, 1.0, stay]})
    run_until(w, 1000)
    left = 1.0 + stay
    assert 30.0 - 1e-9 <= w.membership.lapses_s(0) - left <= 60.0 + 1e-9


def test_a_node_that_was_there_before_time_0_has_beaten_before() -> None:
    w = world(200, churn=Absences({node: [40.0] for node in range(200)}))
    assert w.membership.listed().tolist() == list(range(200))
    run_until(w, 40)
    spans = [w.membership.lapses_s(node) - 40.0 for node in range(200)]
    assert all(30.0 <= span <= 60.0 for span in spans)
    assert max(spans) - min(spans) > 25.0  # they do not all beat at once


def test_a_node_that_returns_before_it_is_struck_off_was_never_missed() -> None:
    w = delayed(1, 1.0, {0: [100.0, 20.0, math.inf]})
    assert listed_from_to(w, 0, 300) == [0.0]
    assert w.membership.lapses_s(0) == math.inf


def test_a_node_that_returns_after_it_was_struck_off_is_listed_again() -> None:
    w = delayed(1, 1.0, {0: [0, 5.0, 10.0, 100.0, math.inf]})  # there 5-15, back at 115
    assert listed_from_to(w, 0, 300) == [6.0, 66.0, 116.0]


def test_a_node_that_is_never_there_is_never_listed() -> None:
    w = delayed(2, 0.0, {0: [0, math.inf]})
    run_until(w, 1000)
    assert w.membership.listed().tolist() == [1]


def test_the_last_heartbeat_of_a_short_visit_still_arrives() -> None:
    w = delayed(1, 5.0, {0: [0, 10.0, 1.0]})  # there 10-11, its only heartbeat arrives at 15
    assert listed_from_to(w, 0, 200) == [15.0, 75.0]


@pytest.mark.parametrize("seed", range(3))
def test_the_list_is_late_but_never_wrong_for_long(seed: int) -> None:
    w = world(60, network=Internet(), churn=Exponential(mean_online_s=200, mean_offline_s=100), seed=seed)
    for t in range(0, 2000, 7):
        w.clock.at(float(t), int)
        run_until(w, float(t))
        for node in range(60):
            for_s = w.clock.now - w.nodes.since_s[node]
            if w.nodes.online[node] and for_s > 5:
                assert w.membership.lists(node)
            if not w.nodes.online[node] and for_s > 65:
                assert not w.membership.lists(node)


def test_a_muted_node_is_struck_off_and_heard_again_with_its_next_heartbeat() -> None:
    # Comes at 10, beats at 10, 40, 70, ...; the last to arrive is that of 70; from 200 on, that of 220.
    w = delayed(2, 2.0, {0: [0, 10.0]})
    w.clock.at(85.0, w.membership.mute, [0])
    w.clock.at(200.0, w.membership.unmute, [0])
    assert listed_from_to(w, 0, 300) == [12.0, 132.0, 222.0]
    assert w.membership.lists(1)


def test_a_node_muted_for_a_moment_is_not_missed() -> None:
    w = delayed(1, 2.0, {0: [0, 10.0]})
    w.clock.at(85.0, w.membership.mute, [0])
    w.clock.at(120.0, w.membership.unmute, [0])
    assert listed_from_to(w, 0, 300) == [12.0]


def test_a_node_that_comes_while_it_is_muted_is_listed_afterwards() -> None:
    w = delayed(1, 2.0, {0: [0, 10.0]})
    w.clock.at(5.0, w.membership.mute, [0])
    w.clock.at(8.0, w.membership.mute, [0])
    w.clock.at(20.0, w.membership.unmute, [0])
    w.clock.at(45.0, w.membership.unmute, [0])
    assert listed_from_to(w, 0, 200) == [72.0]


def test_a_node_that_leaves_while_it_is_muted_lapses_once() -> None:
    w = delayed(1, 2.0, {0: [0, 10.0, 100.0]})
    w.clock.at(85.0, w.membership.mute, [0])
    w.clock.at(300.0, w.membership.unmute, [0])
    assert listed_from_to(w, 0, 400) == [12.0, 132.0]


def test_nobody_hears_heartbeats_while_the_server_is_down() -> None:
    w = delayed(1, 2.0, {0: [0, 10.0]})
    w.clock.at(85.0, w.nodes.hold, -1, "crash")
    w.clock.at(200.0, w.nodes.release, -1, "crash")
    assert listed_from_to(w, 0, 300) == [12.0, 132.0, 222.0]
