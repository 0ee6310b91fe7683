"""The record of events and messages."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.trace import DELIVERED, LOST, OFFLINE, OUTCOMES, Trace


def filled(trace: Trace | None = None) -> Trace:
    trace = trace or Trace()
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
    ],
)
def test_any_change_of_history_changes_the_digest(change: Callable[[Trace], object]) -> None:
    trace = filled()
    change(trace)
    assert trace.digest() != filled().digest()


def test_every_column_counts_in_the_digest() -> None:
    def one(
        t_s: float = 1.0, src: int = 1, dst: int = 2, kind: str = "a", nbytes: int = 3, end_s: float = 2.0, how: str = "lost"
    ) -> str:
        trace = Trace()
        trace.event(0.5, 7, "b")
        trace.settle(trace.message(t_s, src=src, dst=dst, kind=kind, nbytes=nbytes), end_s, how)
        return trace.digest()

    here = "delivered"
    others = [one(t_s=1.5), one(src=2), one(dst=1), one(kind="b"), one(nbytes=4), one(how=here), one(how="offline")]
    digests = [one(), *others, one(how=here, end_s=math.nextafter(2.0, 3))]
    assert len(set(digests)) == len(digests)


def test_it_does_not_matter_to_the_digest_who_taught_the_trace_a_word_first() -> None:
    taught = Trace()
    for word in ("never used", "train_reply", "train", "job_start", "online"):
        taught.code(word)
    assert filled(taught).digest() == filled().digest()


def test_a_message_ends_once() -> None:
    with pytest.raises(KeyError):
        filled().settle(0, 2.0, "lost")


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


# -- what is kept of very many messages ---------------------------------------------------------------------------------------

KINDS = "block", "inv", "getdata"
messages = st.lists(
    st.tuples(
        *(st.floats(0, 1e6), st.integers(-1, 9), st.integers(-1, 9), st.sampled_from(KINDS), st.integers(0, 2**40)),
        *(st.floats(0, 1e6), st.sampled_from([*OUTCOMES, None])),
    ),
    max_size=60,
)


def recorded(trace: Trace, history: list[Any], order: list[int]) -> Trace:
    """One by one: all sent, then ended in some order."""
    numbers = [trace.message(t, src=src, dst=dst, kind=kind, nbytes=size) for t, src, dst, kind, size, *_ in history]
    assert numbers == list(range(len(history)))
    for i in order:
        t_s, *_, takes_s, outcome = history[i]
        if outcome is not None:
            trace.settle(i, t_s + takes_s, outcome)
    return trace


def recorded_at_once(trace: Trace, history: list[Any], batch: int) -> Trace:
    """The same in arrays, ends in between."""
    for begin in range(0, len(history), batch):
        part = history[begin : begin + batch]
        code = np.array([trace.code(kind) for _, _, _, kind, *_ in part])
        t_s, src, dst, size, takes_s = (np.array([row[i] for row in part]) for i in (0, 1, 2, 4, 5))
        number = trace.many_out(t_s, src, dst, code, size) + np.arange(len(part))
        for outcome in (DELIVERED, LOST, OFFLINE, 0):
            mine = np.array([row[6] == OUTCOMES[outcome] for row in part])
            trace.many_settled(number[mine], (t_s + takes_s)[mine], outcome, code[mine], size[mine], t_s[mine])
    return trace


@given(messages, st.integers(1, 20), st.integers(1, 60), st.randoms(use_true_random=False))
def test_what_is_counted_does_not_depend_on_how_many_rows_are_kept(history: Any, max_rows: int, batch: int, random: Any) -> None:
    order = random.sample(range(len(history)), len(history))
    every, few = recorded(Trace(), history, order), recorded(Trace(max_rows), history, order)
    assert few.n_messages == len(history)
    pd.testing.assert_frame_equal(few.traffic(), every.traffic(), check_exact=True)
    rows = few.messages()
    assert rows.attrs["every"] == few.every == 2 ** max(0, math.ceil(math.log2(max(1, len(history)) / max_rows)))
    assert len(rows) <= max_rows
    pd.testing.assert_frame_equal(
        rows.astype({"kind": str, "outcome": str}),
        every.messages()[:: few.every].reset_index(drop=True).astype({"kind": str, "outcome": str}),
    )

    arrays = recorded_at_once(Trace(max_rows), history, batch)
    pd.testing.assert_frame_equal(arrays.traffic(), every.traffic(), rtol=1e-12)
    assert arrays.digest() == few.digest()
    assert recorded_at_once(Trace(), history, batch).digest() == every.digest()


@given(messages)
def test_totals_are_those_of_the_rows(history: Any) -> None:
    trace = recorded(Trace(), history, list(range(len(history))))
    frame, traffic = trace.messages(), trace.traffic()
    assert traffic.kind.tolist() == sorted(set(frame.kind))
    for row in traffic.itertuples():
        mine = frame[frame.kind == row.kind]
        delivered = mine[mine.outcome == "delivered"]
        assert [row.messages, row.bytes, row.bytes_delivered] == [len(mine), mine.bytes.sum(), delivered.bytes.sum()]
        assert [getattr(row, name) for name in OUTCOMES] == [(mine.outcome == name).sum() for name in OUTCOMES]
        delays = delivered.t_delivered_s - delivered.t_sent_s
        assert row.mean_delay_s == pytest.approx(delays.mean(), rel=1e-12, nan_ok=True)


def test_waiting_is_counted_by_message_and_by_queue() -> None:
    trace = Trace()
    a, b = trace.code("a"), trace.code("b")
    trace.many_out(np.zeros(4), np.zeros(4), np.ones(4), np.array([a, a, b, b]), np.ones(4, dtype=np.int64))
    trace.many_waited(np.array([a, b, a]), np.array([1.0, 5.0, 3.0]))
    trace.waited(a, 0, 2.0, 2.0)  # in another queue
    assert trace.traffic()[["mean_queued_s", "max_queued_s"]].to_numpy().tolist() == [[3.0, 3.0], [5.0, 5.0]]


def test_rowless_messages_count_in_the_digest() -> None:
    def one(nbytes: int, outcome: int) -> str:
        trace = Trace(max_rows=1)
        code = trace.code("x")
        trace.out(0.0, 0, 1, code, 5)
        number = trace.out(1.0, 0, 1, code, nbytes)
        trace.settled(number, 2.0, outcome, code, nbytes, 1.0)
        return trace.digest()

    assert len({one(5, DELIVERED), one(6, DELIVERED), one(5, LOST), one(5, OFFLINE)}) == 4


def test_ten_million_messages_take_the_memory_of_the_rows_that_are_kept() -> None:
    trace = Trace(max_rows=100_000)
    m = 100_000
    columns = np.arange(m), np.arange(m) + 1, np.full(m, trace.code("x")), np.full(m, 100)
    tracemalloc.start()
    for batch in range(100):
        t_s = np.full(m, float(batch))
        number = trace.many_out(t_s, *columns) + np.arange(m)
        trace.many_settled(number, t_s + 1, DELIVERED, *columns[2:], t_s)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trace.n_messages == 10_000_000
    assert trace.traffic().delivered.tolist() == [10_000_000]
    assert 50_000 <= len(trace.messages()) <= 100_000
    assert peak < 20e6  # 37 bytes a row, and the batch at hand


def test_less_than_a_row_is_not_allowed() -> None:
    with pytest.raises(ValueError, match="max_rows: 0 is not allowed"):
        Trace(max_rows=0)
