"""Sending: queues, rates, latency, loss, deaths and the bytes of it all."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from decai_sim.world import Exponential, Internet
from decai_sim.world.world import World
from tests.world.worlds import Absences, Wires, run_until, world

SERVER = -1


def send(w: World, at_s: float, src: int, dst: int, nbytes: int, arrivals: list[Any]) -> None:
    w.clock.at(at_s, w.links.send, src, dst, nbytes, "data", lambda: arrivals.append((src, dst, w.clock.now)))


def outcomes(w: World) -> list[str]:
    return w.trace.messages().outcome.tolist()


def test_uploads_wait_their_turn() -> None:
    # Node 0 sends 8 Mbit/s: a megabyte a second. Latency 0.5 s. By hand:
    w = world(3, network=Wires([8e6] * 4, [math.inf] * 4, 0.5))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 1, 2_000_000, arrivals)  # out 0-2, there 2.5
    send(w, 0.0, 0, 2, 1_000_000, arrivals)  # out 2-3, there 3.5
    send(w, 1.0, 1, 2, 1_000_000, arrivals)  # a queue of its own: out 1-2, there 2.5
    send(w, 5.0, 0, 1, 1_000_000, arrivals)  # the queue is empty again: out 5-6, there 6.5
    run_until(w, 100)
    assert arrivals == [(0, 1, 2.5), (1, 2, 2.5), (0, 2, 3.5), (0, 1, 6.5)]
    assert outcomes(w) == ["delivered"] * 4


def test_a_message_moves_at_the_rate_of_its_slower_end() -> None:
    # The server sends 80 Mbit/s to receivers of 8 and 160: the slow one does not hold up the fast one.
    w = world(2, network=Wires([1e6, 1e6, 80e6], [8e6, 160e6, 80e6]))
    arrivals: list[Any] = []
    send(w, 0.0, SERVER, 0, 10_000_000, arrivals)  # its queue is busy for 1 s; the receiver needs 10 s
    send(w, 0.0, SERVER, 1, 10_000_000, arrivals)  # out 1-2
    send(w, 0.0, 0, SERVER, 1_000_000, arrivals)  # 1 Mbit/s up: 8 s
    run_until(w, 100)
    assert arrivals == [(SERVER, 1, 2.0), (0, SERVER, 8.0), (SERVER, 0, 10.0)]


def test_messages_over_different_links_may_overtake_each_other() -> None:
    w = world(3, network=Wires([math.inf] * 4, [math.inf] * 4, lambda src, dst, k: 1.0 if dst == 2 else 2.0))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 1, 1, arrivals)
    send(w, 0.0, 0, 2, 1, arrivals)
    run_until(w, 10)
    assert [dst for _, dst, _ in arrivals] == [2, 1]


def test_a_message_dies_when_its_sender_leaves_before_the_last_byte_is_out() -> None:
    # A megabyte a second; node 0 leaves at 2 s.
    w = world(2, network=Wires([8e6] * 3, [math.inf] * 3, 5.0), churn=Absences({0: [2.0]}))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 1, 1_500_000, arrivals)  # out at 1.5, arrives at 6.5 although the sender has gone
    send(w, 0.0, 0, 1, 1_000_000, arrivals)  # would be out at 2.5
    run_until(w, 100)
    assert arrivals == [(0, 1, 6.5)]
    assert outcomes(w) == ["delivered", "offline"]


def test_a_message_dies_when_its_receiver_is_not_there_on_arrival() -> None:
    w = world(2, network=Wires([math.inf] * 3, [math.inf] * 3, 1.0), churn=Absences({1: [2.0, 3.0, math.inf]}))
    arrivals: list[Any] = []
    send(w, 0.5, 0, 1, 1, arrivals)  # arrives at 1.5
    send(w, 1.5, 0, 1, 1, arrivals)  # 2.5: gone
    send(w, 4.5, 0, 1, 1, arrivals)  # sent to nobody, but 5.5 finds it back
    run_until(w, 100)
    assert [t for *_, t in arrivals] == [1.5, 5.5]
    assert outcomes(w) == ["delivered", "offline", "delivered"]
    assert w.links.bytes_down == [0, 2, 0]


def test_a_node_that_is_not_there_sends_nothing() -> None:
    w = world(2, churn=Absences({0: [1.0, 5.0, math.inf]}))
    arrivals: list[Any] = []
    send(w, 2.0, 0, 1, 10, arrivals)
    run_until(w, 100)
    assert arrivals == []
    assert outcomes(w) == ["offline"]


def test_what_was_queued_when_a_node_left_does_not_hold_it_up_on_return() -> None:
    w = world(2, network=Wires([8e6] * 3, [math.inf] * 3), churn=Absences({0: [1.0, 1.0, math.inf]}))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 1, 100_000_000, arrivals)  # 100 s of upload
    send(w, 3.0, 0, 1, 1_000_000, arrivals)
    run_until(w, 1000)
    assert arrivals == [(0, 1, 4.0)]
    assert outcomes(w) == ["offline", "delivered"]


def test_a_lost_message_uses_its_senders_queue_and_reaches_nobody() -> None:
    w = world(2, network=Wires([8e6] * 3, [math.inf] * 3, loses=lambda src, dst, k: k == 0))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 1, 1_000_000, arrivals)
    send(w, 0.0, 0, 1, 1_000_000, arrivals)
    run_until(w, 100)
    assert arrivals == [(0, 1, 2.0)]
    assert outcomes(w) == ["lost", "delivered"]
    assert w.links.bytes_up[0] == 2_000_000
    assert w.links.bytes_down[1] == 1_000_000


def test_the_share_of_lost_messages_is_the_one_asked_for() -> None:
    n, p = 20_000, 0.07
    w = world(2, network=Internet(loss=p))
    for _ in range(n):
        w.links.send(0, 1, 1, "data", int)
    run_until(w, math.inf)
    lost = outcomes(w).count("lost")
    assert abs(lost - n * p) < 4 * math.sqrt(n * p * (1 - p))  # four standard deviations
    assert outcomes(w).count("delivered") == n - lost


def test_a_message_on_its_way_when_the_run_ends_is_expired() -> None:
    w = world(2, network=Wires([math.inf] * 3, [math.inf] * 3, 10.0))
    w.links.send(0, 1, 1, "data", int)
    run_until(w, 5.0)
    assert outcomes(w) == ["expired"]


traffic = st.lists(
    st.tuples(st.floats(0, 2000), st.integers(-1, 5), st.integers(-1, 5), st.integers(0, 10**7)).filter(lambda m: m[1] != m[2]),
    max_size=60,
)


@settings(max_examples=40)
@given(messages=traffic, seed=st.integers(0, 1000), loss=st.sampled_from([0.0, 0.3]), churn=st.booleans())
def test_every_byte_is_accounted_for(messages: list[Any], seed: int, loss: float, churn: bool) -> None:
    away = Exponential(mean_online_s=300, mean_offline_s=200) if churn else None
    w = world(6, network=Internet(upload_bps=1e6, loss=loss), churn=away, seed=seed)
    arrivals: list[Any] = []
    for at, src, dst, nbytes in messages:
        send(w, at, src, dst, nbytes, arrivals)
    run_until(w, 50_000)

    frame = w.trace.messages()
    delivered = frame[frame.outcome == "delivered"]

    def total(rows: pd.DataFrame, end: str) -> list[int]:
        return [int(rows.loc[rows[end] == node, "bytes"].sum()) for node in (*range(6), SERVER)]

    assert len(frame) == len(messages)
    assert total(frame, "src") == w.links.bytes_up
    assert total(delivered, "dst") == w.links.bytes_down
    assert [t for *_, t in arrivals] == sorted(delivered.t_delivered_s)
    assert (delivered.t_delivered_s > delivered.t_sent_s).all()
    assert set(frame.outcome) <= {"delivered", "lost", "offline"}
    if not churn:
        assert "offline" not in set(frame.outcome)


def test_a_message_of_no_bytes_takes_the_latency_alone() -> None:
    w = world(2, network=Wires([1e-9] * 3, [1e-9] * 3, 0.25))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 1, 0, arrivals)
    run_until(w, 1)
    assert arrivals == [(0, 1, 0.25)]
