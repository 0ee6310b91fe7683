"""Virtual time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.world.clock import Clock


def drain(clock: Clock) -> None:
    while clock.step():
        pass


def test_calls_run_at_their_time_and_in_the_order_they_were_made() -> None:
    clock, seen = Clock(), []
    for t, name in ((2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")):
        clock.at(t, lambda name=name: seen.append((clock.now, name)))
    drain(clock)
    assert seen == [(1.0, "a"), (1.0, "b"), (2.0, "c"), (2.0, "d")]


@given(st.lists(st.floats(0, 1e9), max_size=30), st.floats(0, 1e9))
def test_at_means_exactly_at_from_wherever_it_was_said(times: list[float], start: float) -> None:
    clock, seen = Clock(), []
    clock.after(start, lambda: [clock.at(t, lambda i=i: seen.append((clock.now, i))) for i, t in enumerate(times)])
    drain(clock)
    assert seen == sorted((max(t, start), i) for i, t in enumerate(times))


def test_calls_made_by_a_call_of_the_same_instant_come_after_those_waiting() -> None:
    clock, seen = Clock(), []
    clock.at(1.0, lambda: (seen.append("first"), clock.after(0.0, seen.append, "third")))
    clock.at(1.0, seen.append, "second")
    drain(clock)
    assert seen == ["first", "second", "third"]


def test_what_is_past_happens_at_once_and_time_never_goes_back() -> None:
    clock, seen = Clock(), []
    clock.at(5.0, lambda: clock.at(1.0, lambda: seen.append(clock.now)))
    drain(clock)
    assert seen == [5.0]


@pytest.mark.parametrize("delay", [-1e-9, -math.inf, math.nan])
def test_negative_delays_are_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="delay_s"):
        Clock().after(delay, print)


def test_simpy_processes_run_beside_the_calls() -> None:
    clock, seen = Clock(), []

    def process() -> Iterator[Any]:
        seen.append(("process", clock.now))
        yield clock.env.timeout(2.0)
        seen.append(("process", clock.now))
        done = clock.env.event()
        clock.after(1.5, done.succeed, "value")
        value = yield done
        seen.append((value, clock.now))

    clock.env.process(process())
    clock.at(1.0, lambda: seen.append(("call", clock.now)))
    clock.at(2.0, lambda: seen.append(("call", clock.now)))
    drain(clock)
    # At 2 s the call comes first: it was made before the process asked for its time-out.
    assert seen == [("process", 0.0), ("call", 1.0), ("call", 2.0), ("process", 2.0), ("value", 3.5)]


def test_an_error_in_a_call_reaches_whoever_steps() -> None:
    clock = Clock()
    clock.at(1.0, lambda: 1 / 0)
    clock.at(2.0, print)
    with pytest.raises(ZeroDivisionError):
        clock.step()
    assert clock.now == 1.0
    assert clock.step()


def test_idle_says_whether_anything_is_left() -> None:
    clock = Clock()
    assert clock.idle
    assert not clock.step()
    clock.at(1.0, int)
    assert not clock.idle
    assert clock.step()
    assert clock.idle
    assert clock.now == 1.0


def test_run_goes_up_to_its_time_and_on_from_there() -> None:
    clock, seen = Clock(), []
    for t in (1.0, 2.0, 2.0, 3.0):
        clock.at(t, lambda: seen.append(clock.now))
    clock.run(2.0)
    assert (seen, clock.now) == ([1.0, 2.0, 2.0], 2.0)
    clock.run(2.5)
    assert clock.now == 2.0
    clock.run()
    assert (seen, clock.now) == ([1.0, 2.0, 2.0, 3.0], 3.0)


def test_running_and_stepping_may_be_nested() -> None:
    clock, seen = Clock(), []

    def inner() -> None:
        assert clock.until_s == 10.0
        clock.run(2.0)
        assert clock.until_s == 10.0
        clock.step()
        assert clock.until_s == 10.0

    clock.at(1.0, inner)
    for t in (2.0, 3.0, 4.0):
        clock.at(t, lambda: seen.append((clock.now, clock.until_s)))
    clock.run(10.0)
    assert seen == [(2.0, 2.0), (3.0, -math.inf), (4.0, 10.0)]


def test_an_error_while_running_leaves_the_clock_usable() -> None:
    clock, seen = Clock(), []
    clock.at(1.0, lambda: 1 / 0)
    clock.at(2.0, seen.append, "two")
    with pytest.raises(ZeroDivisionError):
        clock.run()
    assert (clock.now, clock.until_s) == (1.0, -math.inf)
    clock.run()
    assert seen == ["two"]


def test_simpy_itself_may_run_the_calls() -> None:
    clock, seen = Clock(), []
    clock.at(1.0, seen.append, "one")
    clock.at(2.0, seen.append, "two")
    clock.env.run(until=1.5)
    assert (seen, clock.now) == (["one"], 1.5)
    clock.env.run()
    assert seen == ["one", "two"]
