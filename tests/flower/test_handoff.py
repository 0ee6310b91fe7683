"""Exactly one runs at a time, and in a known order."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from decai_sim.errors import RunStoppedError, StalledError
from decai_sim.flower.handoff import AppStrand, Director
from decai_sim.world.clock import Clock


def test_apps_and_the_world_take_turns_in_the_order_of_virtual_time() -> None:
    clock, log = Clock(), []
    director = Director(clock)

    def app(name: str, naps: list[float]) -> Callable[[], None]:
        def work() -> None:
            for nap in naps:
                threads[name].sleep(nap)
                log.append((name, clock.now))

        return work

    threads = {name: AppStrand(name, director, app(name, naps)) for name, naps in (("a", [2, 2]), ("b", [1, 3]))}
    clock.at(3, lambda: log.append(("world", clock.now)))
    director.run()
    # Both wake at 4; b went to sleep first.
    assert log == [("b", 1), ("a", 2), ("world", 3), ("b", 4), ("a", 4)]


def test_never_do_two_threads_run_at_once() -> None:
    clock = Clock()
    director, running, most = Director(clock), set(), []

    def busy(name: str) -> None:
        running.add(name)
        most.append(set(running))
        for _ in range(2_000):  # long enough for the interpreter to switch threads, if another one were ready
            assert running == {name}
        running.discard(name)

    def app(name: str) -> Callable[[], None]:
        def work() -> None:
            for _ in range(20):
                busy(name)
                threads[name].sleep(1.0)

        return work

    threads = {name: AppStrand(name, director, app(name)) for name in "abc"}
    for at in range(20):
        clock.at(at + 0.5, busy, "world")
    director.run()
    assert len(most) == 80
    assert all(len(together) == 1 for together in most)


def test_a_ticket_ends_only_the_wait_it_was_made_for() -> None:
    clock, woken = Clock(), []
    director = Director(clock)

    def work() -> None:
        first = app.ticket()
        clock.at(1, app.wake, first)
        clock.at(2, app.wake, first)  # stale by then
        app.wait("the first ticket")
        woken.append(clock.now)
        app.wait("time 5", until_s=5)
        woken.append(clock.now)

    app = AppStrand("app", director, work)
    director.run()
    assert woken == [1, 5]


def test_wait_event_ends_at_the_next_event_of_the_world() -> None:
    clock, woken = Clock(), []
    director = Director(clock)

    def work() -> None:
        for _ in range(2):
            app.wait_event("anything")
            woken.append(clock.now)

    app = AppStrand("app", director, work)
    clock.at(3, lambda: None)
    clock.at(7, lambda: None)
    director.run()
    assert woken == [3, 7]


def test_a_wait_without_any_event_left_says_who_waits_for_what() -> None:
    director = Director(Clock())
    app = AppStrand("Anna", director, lambda: app.wait("Godot"))
    with pytest.raises(StalledError, match="Anna waits for Godot"):
        director.run()
    assert app.done


def test_what_an_app_raises_comes_out_as_it_is_and_ends_the_others() -> None:
    clock, ended = Clock(), []
    director, failure = Director(clock), KeyError("mine")

    def waits() -> None:
        try:
            waiter.wait("nothing")
        finally:
            ended.append("waiter")

    def fails() -> None:
        raise failure

    waiter = AppStrand("waiter", director, waits)
    AppStrand("failing", director, fails)
    with pytest.raises(KeyError) as caught:
        director.run()
    assert caught.value is failure
    assert ended == ["waiter"]
    assert waiter.done


def test_stop_reaches_an_app_that_catches_every_exception() -> None:
    clock, stop, caught = Clock(), threading.Event(), []
    director = Director(clock, stop)

    def work() -> None:
        for _ in range(10):
            stop.set()
            try:
                app.sleep(1)
            except Exception as error:
                caught.append(error)

    app = AppStrand("app", director, work)
    with pytest.raises(RunStoppedError):
        director.run()
    assert caught == []
    assert app.done


def test_a_thread_that_never_started_needs_no_end() -> None:
    app = AppStrand("app", Director(Clock()), lambda: None)
    app.end()
    assert not app.done


def test_whoever_waits_without_gradients_keeps_none_from_others() -> None:
    clock, modes = Clock(), []
    director = Director(clock)

    def mode() -> tuple[bool, bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")

    def work() -> None:
        for at, context in enumerate((torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16))):
            with context:
                before = mode()
                clock.at(at + 0.5, lambda: modes.append(mode()))
                app.sleep(1.0)
                assert mode() == before

    app = AppStrand("app", director, work)
    director.run()
    assert modes == [(True, False, False)] * 3


def test_all_of_it_is_in_the_callers_thread() -> None:
    clock, threads = Clock(), []
    director = Director(clock)

    def work() -> None:
        threads.append(threading.get_ident())
        app.sleep(1.0)

    app = AppStrand("app", director, work)
    clock.at(0.5, lambda: threads.append(threading.get_ident()))
    director.run()
    assert threads == [threading.get_ident()] * 2


def test_an_interruption_while_an_app_computes_ends_the_run() -> None:
    director, ended = Director(Clock()), []

    def waits() -> None:
        try:
            waiter.sleep(5.0)
        finally:
            ended.append("waiter")

    def interrupted() -> None:
        raise KeyboardInterrupt

    waiter = AppStrand("waiter", director, waits)
    AppStrand("busy", director, interrupted)
    with pytest.raises(KeyboardInterrupt):
        director.run()
    assert ended == ["waiter"]
