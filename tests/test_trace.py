"""The record of events and messages."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from decai_sim.trace import OUTCOMES, Trace


def filled() -> Trace:
    trace = Trace()
    trace.event(0.0, 3, "online")
    trace.event(1.5, 3, "job_start", "train")
    first = trace.message(0.5, src=-1, dst=3, kind="train", nbytes=100)
    second = trace.message(0.7, src=3, dst=-1, kind="train_reply", nbytes=2**40)
    trace.message(0.9, src=3, dst=-1, kind="train_reply", nbytes=7)
    trace.settle(second, 0.8, "lost")
    trace.settle(first, 1.25, "delivered")
    return trace


def test_events_come_back_as_they_were_recorded() -> None:
    frame = filled().events()
    assert list(frame.columns) == ["t_s", "node", "kind", "detail"]
    assert frame.to_numpy().tolist() == [[0.0, 3, "online", ""], [1.5, 3, "job_start", "train"]]


def test_messages_come_back_with_how_they_ended() -> None:
    frame = filled().messages()
    assert list(frame.columns) == ["t_sent_s", "t_delivered_s", "src", "dst", "kind", "bytes", "outcome"]
    assert frame.outcome.tolist() == ["delivered", "lost", "expired"]
    assert frame.bytes.tolist() == [100, 2**40, 7]
    assert frame.t_delivered_s.iloc[0] == 1.25
    assert frame.t_delivered_s.iloc[1:].isna().all()  # a time of delivery is one of what was delivered


def test_a_trace_can_be_looked_at_while_it_grows() -> None:
    trace = filled()
    trace.events(), trace.messages(), trace.digest()
    trace.event(2.0, 1, "offline")
    trace.message(2.0, src=0, dst=1, kind="x", nbytes=0)
    assert len(trace.events()) == 3
    assert len(trace.messages()) == trace.n_messages == 4


def test_an_empty_trace_has_frames_and_a_digest() -> None:
    assert len(Trace().events()) == len(Trace().messages()) == 0
    assert Trace().messages().outcome.tolist() == []
    assert Trace().digest() == Trace().digest()


def test_unknown_outcomes_are_refused() -> None:
    trace = filled()
    with pytest.raises(ValueError, match="not in tuple"):
        trace.settle(0, 1.0, "vanished")
    assert set(OUTCOMES) == {"delivered", "lost", "offline", "expired"}


def test_equal_histories_have_equal_digests() -> None:
    assert filled().digest() == filled().digest()
    assert len(filled().digest()) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.event(2.0, 3, "offline"),
        lambda t: t.message(2.0, src=0, dst=1, kind="train", nbytes=0),
        lambda t: t.settle(2, 1.0, "delivered"),
        lambda t: t.settle(2, 1.0, "offline"),
        lambda t: t.settle(0, math.nextafter(1.25, 2), "delivered"),
        lambda t: t.settle(1, 0.8, "offline"),
    ],
)
def test_any_change_of_history_changes_the_digest(change: Callable[[Trace], object]) -> None:
    trace = filled()
    change(trace)
    assert trace.digest() != filled().digest()


def test_decisions_stand_among_the_events_in_the_order_of_their_recording() -> None:
    trace = Trace()
    trace.decision(0.0, 9, "rejected", "round 0")
    trace.event(0.0, 3, "online")
    trace.decision(1.0, 5, "rejected", "round 1")
    trace.decision(1.0, 4, "rejected", "round 1")
    trace.event(1.0, 3, "offline", "of its own accord")
    trace.decision(2.0, 3, "offline", "of its own accord")  # words that events use too
    assert trace.events().to_numpy().tolist() == [
        [0.0, 9, "rejected", "round 0"],
        [0.0, 3, "online", ""],
        [1.0, 5, "rejected", "round 1"],
        [1.0, 4, "rejected", "round 1"],
        [1.0, 3, "offline", "of its own accord"],
        [2.0, 3, "offline", "of its own accord"],
    ]
    assert set(trace.events().kind.cat.categories) == {"rejected", "online", "offline"}
    assert set(trace.events().detail.cat.categories) == {"", "round 0", "round 1", "of its own accord"}


def test_events_keep_their_types_whatever_was_decided() -> None:
    only, neither, both = Trace(), Trace(), filled()
    only.decision(1.0, 2, "rejected")
    both.decision(1.0, 2, "rejected")
    for trace, n in ((only, 1), (neither, 0), (both, 3)):
        assert len(trace.events()) == n
        assert [str(dtype) for dtype in trace.events().dtypes] == ["float64", "int64", "category", "category"]


def test_decisions_change_neither_the_digest_nor_the_messages() -> None:
    trace = Trace()
    trace.decision(0.0, 1, "rejected", "round 1")
    assert trace.digest() == Trace().digest()
    trace = filled()
    trace.decision(2.0, 1, "rejected", "round 1")
    trace.decision(2.0, 1, "online", "a new word")
    trace.events()  # must not teach the trace the words of decisions
    assert trace.digest() == filled().digest()
    assert trace.messages().equals(filled().messages())
    trace.event(3.0, 1, "rejected", "round 1")
    plain = filled()
    plain.event(3.0, 1, "rejected", "round 1")
    assert trace.digest() == plain.digest() != filled().digest()


def test_the_digest_tells_names_apart() -> None:
    def one(kind: str, detail: str) -> str:
        trace = Trace()
        trace.event(0.0, 0, kind, detail)
        return trace.digest()

    assert len({one("a", "b"), one("b", "a"), one("a", ""), one("ab", "")}) == 4
