"""What the server believes, through heartbeats every 30 s with a patience of two or otherwise, and who else watches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import decai_sim as ds
from decai_sim.seeding import Streams
from decai_sim.world import SWIM, Crash, Exponential, Heartbeat, Internet, Membership, Mix, Partition
from decai_sim.world.heartbeats import Heartbeats
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


# -- as a component ---------------------------------------------------------------------------------------------------------


def watched(n: int, membership: Membership | None, *faults: Any, seed: int = 1, churn: Any = None, **options: Any) -> World:
    w = World(n, Internet(**options), churn, Mix(laptop=1), Streams(seed), None, membership)
    for number, fault in enumerate(faults):
        fault.install(w, number)
    w.watch()
    return w


@pytest.mark.parametrize(("period_s", "patience"), [(30.0, 2), (10.0, 3), (5.0, 1)])
def test_period_and_patience_say_how_long_the_vanished_stay_listed(period_s: float, patience: int) -> None:
    w = watched(300, Heartbeat(period_s=period_s, patience=patience), Crash(share=1.0, at_s=100))
    w.run(100)
    spans = [w.membership.lapses_s(node) - 100 for node in range(300)]
    # Up to the 0.4 s that the slowest heartbeat travels.
    assert (patience - 1) * period_s <= min(spans) < (patience - 0.9) * period_s + 0.4
    assert (patience - 0.1) * period_s < max(spans) <= patience * period_s + 0.4
    w.run(100 + patience * period_s + 0.4)
    assert not len(w.membership.listed())
    found = w.watch().detections()
    assert sorted(found["delay_s"].round(9)) == sorted(np.round(spans, 9))


def test_the_default_is_that_of_flower() -> None:
    lists = []
    for membership in (None, Heartbeat(), Heartbeat(period_s=30, patience=2)):
        w = watched(50, membership, churn=Exponential(mean_online_s=200, mean_offline_s=100))
        w.run(1000)
        lists.append((w.membership.listed().tolist(), w.watch().detections().values.tolist()))
        assert not len(w.trace.messages())
    assert lists[0] == lists[1] == lists[2]
    assert ds.Scenario().membership == Heartbeat()


def test_lapses_are_found_when_they_happen_and_told_right_from_wrong() -> None:
    # Comes at 10, beats at 10, 40, 70. Gone from 85 on: struck off at 132. Back at 150; silenced at 160: its last beat is that of
    # 150, struck off at 212 while it is there. Heard again, gone for 20 s that nobody notices.
    w = delayed(2, 2.0, {0: [0, 10.0, 75.0, 65.0, 250.0, 20.0, math.inf]})
    w.clock.at(160.0, w.membership.mute, [0])
    w.clock.at(250.0, w.membership.unmute, [0])
    for until_s, rows in ((131.0, 0), (132.0, 1), (211.0, 1), (212.0, 2), (2000.0, 2)):
        run_until(w, until_s)
        w.clock.env._now = until_s
        assert len(w.membership.detections()) == rows
    found = w.membership.detections()
    assert found[["t_s", "observer", "node", "state", "wrong"]].values.tolist() == [
        [132.0, -1, 0, "suspect", False],
        [212.0, -1, 0, "suspect", True],
    ]
    assert found["delay_s"].tolist()[0] == 132.0 - 85.0
    assert found["first"].tolist() == [True, False]


def test_whom_a_partition_silences_is_suspected_wrongly() -> None:
    w = watched(20, Heartbeat(period_s=10), Partition(by="groups", groups=[list(range(5))], at_s=50, for_s=100))
    w.run(149)
    found = w.watch().detections()
    assert sorted(found["node"]) == [0, 1, 2, 3, 4]
    assert found["wrong"].all()
    w.run(170)
    assert [w.watch().trust(node) for node in range(20)] == [1.0] * 20


# -- heartbeats that are messages -------------------------------------------------------------------------------------------


def test_heartbeats_of_some_size_are_sent_and_counted() -> None:
    w = watched(40, Heartbeat(period_s=10, nbytes=100))
    w.run(200)
    assert isinstance(w.membership, Heartbeats)
    (row,) = w.trace.traffic().to_dict("records")
    assert (row["kind"], row["messages"], row["bytes"]) == ("heartbeat", 40 * 20, 40 * 20 * 100)
    assert w.membership.listed().tolist() == list(range(40))
    assert not len(w.watch().detections())


def test_without_losses_they_say_what_the_free_ones_say() -> None:
    free, sent = (
        watched(60, Heartbeat(period_s=10, nbytes=nbytes), churn=Exponential(mean_online_s=100, mean_offline_s=60))
        for nbytes in (0, 64)
    )
    for t_s in range(30, 400, 10):
        for w in (free, sent):
            w.run(float(t_s))
        # Heartbeats of those that were there at first are not at the same moments; so who has just gone may differ.
        for node in set(free.membership.listed().tolist()) ^ set(sent.membership.listed().tolist()):
            assert free.clock.now - free.nodes.since_s[node] < 21
    assert not sent.watch().detections()["wrong"].any()


def test_lost_heartbeats_strike_off_the_living_as_often_as_the_closed_form_says() -> None:
    # One that arrives and then one that does not; the second one after it is lost too, or just misses the end of the patience,
    # which jitter decides, evenly: (1 − p)·p·(p + (1 − p)/2) a heartbeat. The list has them again with the next that arrives.
    w = watched(100, Heartbeat(period_s=10, patience=2, nbytes=64), loss=0.3, jitter=0.01)
    w.run(1500)
    found = w.watch().detections()
    wanted, sent = 0.7 * 0.3 * (0.3 + 0.7 / 2), 100 * 148  # the last two of each have not had the time
    assert found["wrong"].all()
    assert abs(len(found) / sent - wanted) < 4 * math.sqrt(wanted / sent)
    assert len(w.membership.listed()) > 75


def test_who_comes_is_heard_at_once_and_who_goes_falls_silent() -> None:
    gone = {0: [5.0, 100.0, 50.0]}
    w = World(1, Internet(), Absences(gone), Mix(laptop=1), Streams(1), None, Heartbeat(period_s=10, nbytes=64))
    w.watch()
    w.run(104.9)
    assert not w.membership.lists(0)
    w.run(106)
    assert w.membership.lists(0)
    w.run(400)
    assert not w.membership.lists(0)
    sent = w.trace.messages()["t_sent_s"]
    assert sent[sent >= 105].tolist() == pytest.approx([105, 115, 125, 135, 145])


def test_a_federation_runs_on_heartbeats_that_get_lost() -> None:
    run = ds.run(
        ds.Scenario(
            nodes=12,
            task="digits",
            seed=3,
            network={"kind": "internet", "loss": 0.1, "retransmit": 3},
            churn={"kind": "exponential", "mean_online_s": 3, "mean_offline_s": 1},
            membership={"kind": "heartbeat", "period_s": 0.5, "nbytes": 64},
            protocol={"kind": "federated", "rounds": 3, "fraction": 0.5, "deadline_s": 60},
        ),
        progress=False,
    )
    assert run.complete
    assert {"heartbeat", "train"} <= set(run.traffic["kind"])
    assert (run.detections["observer"] == -1).all()
    assert len(run.detections)


# -- SWIM -------------------------------------------------------------------------------------------------------------------


def test_swim_watches_beside_the_server() -> None:
    w = watched(30, SWIM(period_s=2), Crash(nodes=[4], at_s=50))
    w.run(200)
    assert w.watch().trust(4) == 0
    assert w.watch().trust(5) == 1
    found = w.watch().detections()
    assert set(found["node"]) == {4}
    assert set(found["observer"]) <= set(range(30)) - {4}
    assert not w.membership.lists(4)  # by the heartbeats to the server, which are there all the same
    assert set(w.trace.traffic()["kind"]) == {"swim_ping", "swim_ack", "swim_ping_req"}


def test_swim_rests_while_nobody_is_there() -> None:
    w = World(5, Internet(), Absences({node: [10.5, 90.0, 20.0] for node in range(5)}), Mix(laptop=1), Streams(1), None, SWIM())
    w.watch()
    w.run()  # comes to an end
    sent = w.trace.messages()["t_sent_s"]
    assert sent.max() < 125
    pings = w.trace.messages().query("kind == 'swim_ping' and t_sent_s > 20")["t_sent_s"]
    assert pings.min() == 101.0  # on with the whole periods


def test_a_timeout_must_fit_in_a_period() -> None:
    with pytest.raises(ValueError, match="timeout_s = 2 must be below period_s = 1"):
        SWIM(timeout_s=2.0)
