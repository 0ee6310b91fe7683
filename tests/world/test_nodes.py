"""Online and offline, by churn and by what holds a node."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.errors import ScenarioError
from decai_sim.seeding import Streams
from decai_sim.trace import Trace
from decai_sim.world import Exponential, Weibull
from decai_sim.world.clock import Clock
from decai_sim.world.nodes import Nodes
from tests.world.worlds import Absences


def nodes_of(n: int, churn: Any = None, seed: int = 0) -> tuple[Nodes, Clock, Trace]:
    clock, trace = Clock(), Trace()
    return Nodes(n, churn, clock, Streams(seed), trace), clock, trace


def events(trace: Trace) -> list[tuple[float, int, str, str]]:
    return list(trace.events()[["t_s", "node", "kind", "detail"]].itertuples(index=False, name=None))


def test_two_faults_may_hold_a_node() -> None:
    nodes, clock, trace = nodes_of(2)
    for t, call, reason in ((1, nodes.hold, "a"), (2, nodes.hold, "b"), (3, nodes.release, "a"), (4, nodes.release, "b")):
        clock.at(float(t), call, 1, reason)
    clock.run(3)
    assert nodes.online == [True, False, True]
    assert nodes.left_s == [-math.inf, 1.0, -math.inf]
    clock.run()
    assert nodes.online == [True, True, True]
    assert events(trace)[2:] == [(1.0, 1, "offline", "a"), (4.0, 1, "online", "b")]
    assert nodes.session == [0, 1, 0]
    assert nodes.ended_s == [{}, {0: 1.0}, {}]
    assert nodes.online_s() == [4.0, 1.0]


def test_the_same_reason_twice_needs_two_releases() -> None:
    nodes, _, _ = nodes_of(1)
    nodes.hold(0, "a")
    nodes.hold(0, "a")
    nodes.release(0, "a")
    assert not nodes.online[0]
    nodes.release(0, "a")
    assert nodes.online[0]
    with pytest.raises(ValueError, match="nothing holds it for 'a'"):
        nodes.release(0, "a")


def test_churn_goes_on_underneath() -> None:
    # By itself there 0-2, 5-9, and from 20 on.
    churn = Absences({0: [2.0, 3.0, 4.0, 11.0, math.inf]})
    nodes, clock, trace = nodes_of(1, churn)
    clock.at(1.0, nodes.hold, 0, "x")
    clock.at(6.0, nodes.release, 0, "x")  # churn says it is there
    clock.at(7.0, nodes.hold, 0, "y")
    clock.at(12.0, nodes.release, 0, "y")  # churn says it is away
    clock.run()
    assert [(t, kind, why) for t, _, kind, why in events(trace)] == [
        *[(0.0, "online", ""), (1.0, "offline", "x"), (6.0, "online", "x"), (7.0, "offline", "y"), (20.0, "online", "")],
    ]


def test_departed_is_departed() -> None:
    nodes, clock, trace = nodes_of(2, Absences({0: [2.0, 1.0, 2.0, 1.0], 1: [2.0, 8.0]}))
    clock.at(1.0, nodes.depart, 0, "order")
    clock.at(5.0, nodes.depart, 1)  # while it is away
    clock.at(6.0, nodes.hold, 0, "x")
    clock.at(7.0, nodes.release, 0, "x")
    clock.run()
    assert nodes.online == [False, False, True]
    assert [(t, node, why) for t, node, kind, why in events(trace) if kind == "offline"] == [(1.0, 0, "order"), (2.0, 1, "")]
    assert nodes.online_s() == [1.0, 2.0]


def test_the_server_can_be_held_and_counts_for_itself() -> None:
    nodes, clock, trace = nodes_of(2)
    seen: list[Any] = []
    nodes.on_offline.append(lambda node, began: seen.append((node, began)))
    nodes.on_online.append(seen.append)
    clock.at(3.0, nodes.hold, -1, "crash")
    clock.at(5.0, nodes.release, -1, "crash")
    clock.run()
    assert seen == [(-1, 0.0), -1]
    assert nodes.left_s[-1] == 3.0
    assert nodes.online_s() == [5.0, 5.0]  # the server's absence is not its neighbour's in the list
    assert events(trace)[2:] == [(3.0, -1, "offline", "crash"), (5.0, -1, "online", "crash")]


def test_lists_are_changed_in_place() -> None:
    nodes, clock, _ = nodes_of(5, Exponential(mean_online_s=10, mean_offline_s=10))
    online, left = nodes.online, nodes.left_s
    clock.run(100)
    assert online is nodes.online
    assert left is nodes.left_s
    assert max(left) > 0


@given(
    st.lists(st.lists(st.floats(0.0, 20.0), max_size=12), min_size=1, max_size=8),
)
def test_the_order_is_that_of_all_changes_sorted(periods: list[list[float]]) -> None:
    churn = Absences(dict(enumerate(periods)))
    _, clock, trace = nodes_of(len(periods), churn)
    clock.run()
    wanted = []
    for node, listed in enumerate(periods):
        away = bool(listed) and listed[0] == 0
        t, here = 0.0, not away
        for length in listed[1:] if away else listed:
            t, here = t + length, not here
            wanted.append((t, node, "online" if here else "offline"))
    found = [(t, node, kind) for t, node, kind, _ in events(trace) if not (t == 0.0 and kind == "online")]
    assert sorted(found) == sorted(change for change in wanted if not (change[0] == 0.0 and change[2] == "online"))
    assert [t for t, *_ in events(trace)] == sorted(t for t, *_ in events(trace))


def test_one_change_waits_on_the_clock_whatever_the_number_of_nodes() -> None:
    nodes, clock, _ = nodes_of(20_000, Exponential())
    assert nodes.online.count(True) > 10_000
    waiting = len(clock.env._queue)
    assert waiting <= 1
    clock.run(60)
    assert sum(nodes.session) > 50
    assert len(clock.env._queue) <= 1


def test_memory_does_not_grow_with_the_changes_made() -> None:
    n = 500
    nodes, clock, _ = nodes_of(n, Weibull(measured="redhat"))
    longest = 0
    for t in range(0, 200_000, 10_000):
        clock.run(float(t))
        longest = max(longest, len(nodes._ahead._times))
    assert sum(nodes.session) > 10 * n
    assert longest < 30 * n


def test_periods_are_asked_for_with_the_times_they_begin_at() -> None:
    asked: dict[int, np.ndarray] = {}

    class Watched(Exponential, kind="watched", abstract=True):
        """Remembers what it was asked."""

        def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
            lengths = super().periods(k, online, began_s, streams)
            known = asked.setdefault(k, np.zeros(len(online)))
            known[:] = np.maximum(known, began_s)
            return lengths

    churn = Watched(mean_online_s=10, mean_offline_s=10)
    _, clock, trace = nodes_of(50, churn)
    clock.run(200)
    changes = trace.events().query("t_s > 0").groupby("node").t_s.apply(list)
    assert sum(map(len, changes)) > 500
    for node, times in changes.items():
        for k, t in enumerate(times, 1):
            assert asked[k][node] == t


@pytest.mark.parametrize("length", [-1.0, math.nan])
def test_periods_that_are_no_times_are_refused(length: float) -> None:
    with pytest.raises(ScenarioError, match="a period is 0 s or longer"):
        nodes_of(2, Absences({0: [length]}))
