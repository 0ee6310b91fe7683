"""The collector looks at a run's own objects only, and leaves none of them behind."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

import decai_sim as ds
from decai_sim import garbage


class Knot:
    """Refers to itself, so that only the collector can take it."""

    def __init__(self) -> None:
        self.itself = self


def test_older_objects_are_left_alone_and_own_ones_taken() -> None:
    old = Knot()
    before = weakref.ref(old)
    del old
    with garbage.its_own():
        inside = weakref.ref(Knot())
        gc.collect()
        assert inside() is None
        assert before() is not None
        at_the_end = weakref.ref(Knot())
    assert at_the_end() is None
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert before() is None


def test_the_last_to_come_out_lets_go() -> None:
    def other() -> None:
        with garbage.its_own():
            entered.set()
            leave.wait(10)

    entered, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(10)
    with pytest.raises(ZeroDivisionError), garbage.its_own():
        raise ZeroDivisionError
    assert gc.get_freeze_count() > 0
    leave.set()
    thread.join()
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_has_frozen_stays_so() -> None:
    gc.freeze()
    try:
        with garbage.its_own():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    with garbage.its_own():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_nothing_is_done_where_the_collector_is_off() -> None:
    gc.disable()
    try:
        with garbage.its_own():
            assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


def test_a_run_leaves_no_models_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.learning import store

    stores: list[weakref.ref[store.Store]] = []

    class Watched(store.Store):
        def __init__(self, *at: int | str, **options: int) -> None:
            super().__init__(*at, **options)  # type: ignore[arg-type]
            stores.append(weakref.ref(self))

    monkeypatch.setattr(store, "Store", Watched)
    for protocol in ("federated", "dpsgd"):
        ds.run(ds.Scenario.model_validate({"nodes": 20, "protocol": {"kind": protocol, "rounds": 2}}), progress=False)
    assert stores
    assert [found() for found in stores] == [None] * len(stores)
    assert gc.get_freeze_count() == 0


def test_warnings_point_at_who_called_run() -> None:
    faults = [{"kind": "crash", "nodes": [-1]}]  # the server, for good
    with pytest.warns(RuntimeWarning) as told:
        ds.run(ds.Scenario.model_validate({"nodes": 20, "faults": faults}), progress=False)
    assert {warning.filename for warning in told} == {__file__}
