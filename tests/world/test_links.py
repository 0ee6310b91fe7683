"""Sending: queues, rates, latency, loss, deaths and the bytes of it all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decai_sim.world import Exponential, Internet, topologies
from decai_sim.world.link_rates import Rates
from decai_sim.world.loss import Bernoulli
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
    w = world(3, network=Wires([math.inf] * 4, [math.inf] * 4, lambda src, dst: 1.0 if dst == 2 else 2.0))
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
    w = world(2, network=Wires([8e6] * 3, [math.inf] * 3, loss=Bernoulli(p=0.5)))
    arrivals: list[Any] = []
    for _ in range(20):
        send(w, 0.0, 0, 1, 1_000_000, arrivals)
    run_until(w, 100)
    assert set(outcomes(w)) == {"lost", "delivered"}
    assert [t for *_, t in arrivals] == [i + 1.0 for i, outcome in enumerate(outcomes(w)) if outcome == "delivered"]
    assert w.links.bytes_up[0] == 20_000_000
    assert w.links.bytes_down[1] == 1_000_000 * len(arrivals)


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


# -- the receiver's queue, chunks, repetition, faults -------------------------------------------------------------------------


def test_the_receiver_has_a_queue_in_order_of_arrival() -> None:
    # A megabyte a second everywhere. 1 is nearer to 2 than 0 is: what it sends later arrives sooner.
    w = world(3, network=Wires([8e6] * 4, [8e6] * 4, lambda src, dst: 2.0 if src == 0 else 0.5, queueing="both"))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 2, 1_000_000, arrivals)  # its first byte is there at 2.0
    send(w, 1.0, 1, 2, 1_000_000, arrivals)  # at 1.5; passed at 2.5. The other one waits from 2.0, and is through at 3.5
    run_until(w, 100)
    assert arrivals == [(1, 2, 2.5), (0, 2, 3.5)]
    assert w.trace.traffic()[["mean_queued_s", "max_queued_s"]].to_numpy().tolist() == [[0.25, 0.5]]


def test_a_slow_sender_does_not_hold_up_the_receivers_queue() -> None:
    # 0 sends at a tenth of the rate at which 2 receives: its message takes 10 s to come in, but only 1 s of 2's queue.
    w = world(3, network=Wires([8e5, 8e6, 8e6, 8e6], [8e6] * 4, queueing="both"))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 2, 1_000_000, arrivals)
    send(w, 2.0, 1, 2, 1_000_000, arrivals)
    run_until(w, 100)
    assert arrivals == [(1, 2, 3.0), (0, 2, 10.0)]


def test_a_link_may_be_narrower_than_its_ends() -> None:
    for queueing in ("uplink", "both"):
        w = world(3, network=Wires([8e6] * 4, [8e6] * 4, link_bps=2e6, queueing=queueing))
        arrivals: list[Any] = []
        send(w, 0.0, 0, 1, 1_000_000, arrivals)  # 4 s at the link's rate; the sender's queue is busy for one
        send(w, 0.0, 0, 2, 1_000_000, arrivals)
        run_until(w, 100)
        assert arrivals == [(0, 1, 4.0), (0, 2, 5.0)]


class Given(Rates):
    """Capacities of some links, by their ends; of the others: none."""

    def __init__(self, bps: dict[tuple[int, int], float]) -> None:
        self.given = bps

    def bps(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        return np.array([self.given.get(ends, math.inf) for ends in zip(src.tolist(), dst.tolist(), strict=True)])


def on_links(queueing: str, bps: dict[tuple[int, int], float], **options: Any) -> World:
    """Four nodes of a megabyte a second, half a second from each other."""
    return world(4, network=Wires([8e6] * 5, [8e6] * 5, 0.5, queueing=queueing, link_bps=Given(bps)), **options)


@pytest.mark.parametrize("queueing", ["uplink", "both"])
def test_messages_on_one_link_wait_for_each_other(queueing: str) -> None:
    # A quarter of a megabyte a second from 0 to 1, the other way round as much as the ends.
    w, arrivals = on_links(queueing, {(0, 1): 2e6}), list[Any]()
    send(w, 0.0, 0, 1, 1_000_000, arrivals)  # at the sender 0-1, on the link 0-4
    send(w, 0.0, 0, 1, 1_000_000, arrivals)  # at the sender 1-2, on the link 4-8
    send(w, 0.0, 0, 2, 1_000_000, arrivals)  # at the sender 2-3: another link, which holds nobody up
    send(w, 0.0, 1, 0, 1_000_000, arrivals)  # another direction: 0-1
    send(w, 9.0, 0, 1, 500_000, arrivals)  # the link is free again: 9-11
    run_until(w, 100)
    assert arrivals == [(1, 0, 1.5), (0, 2, 3.5), (0, 1, 4.5), (0, 1, 8.5), (0, 1, 11.5)]


def test_who_waits_at_the_link_does_not_wait_at_the_receiver_too() -> None:
    # 0's second message reaches 1 at 4.5, when 2's (2.0 - 3.5 there) has long passed.
    w, arrivals = on_links("both", {(0, 1): 2e6}), list[Any]()
    send(w, 0.0, 0, 1, 1_000_000, arrivals)
    send(w, 0.0, 0, 1, 1_000_000, arrivals)
    send(w, 1.5, 2, 1, 1_000_000, arrivals)
    run_until(w, 100)
    assert arrivals == [(2, 1, 3.0), (0, 1, 4.5), (0, 1, 8.5)]


def test_what_is_on_a_link_dies_with_its_sender_and_leaves_it_free() -> None:
    w, arrivals = on_links("uplink", {(0, 1): 1e6, (2, 1): 1e6}, churn=Absences({0: [3.0, 1.0, math.inf]})), list[Any]()
    send(w, 0.0, 0, 1, 1_000_000, arrivals)  # 8 s on the link
    send(w, 0.0, 2, 1, 1_000_000, arrivals)
    send(w, 5.0, 0, 1, 125_000, arrivals)  # a second
    send(w, 5.0, 2, 1, 125_000, arrivals)  # after the first
    run_until(w, 100)
    assert arrivals == [(0, 1, 6.5), (2, 1, 8.5), (2, 1, 9.5)]
    assert sorted(outcomes(w)) == ["delivered"] * 3 + ["offline"]


def test_a_link_is_one_whoever_uses_it() -> None:
    # By mailbox along a wiring, by mailbox to anybody, and one by one: 2 s each.
    import networkx as nx

    w, got = on_links("uplink", {(0, 1): 4e6}, topology=topologies.Given.of(nx.path_graph(4))), list[Any]()
    box = w.bulk.open(lambda arrivals: got.extend(zip(arrivals.item.tolist(), arrivals.t_s.tolist(), strict=True)))
    zeros = np.zeros(1)
    w.bulk.along(box, zeros, w.wiring.link(np.array([0]), np.array([1])), w.wiring, 1_000_000, "x", np.array([0]))
    w.bulk.send(box, zeros, [0], [1], 1_000_000, "x", [1])
    w.links.send(0, 1, 1_000_000, "x", lambda: got.append((2, w.clock.now)))
    w.bulk.along(box, zeros, w.wiring.link(np.array([0]), np.array([1])), w.wiring, 1_000_000, "x", np.array([3]))
    w.run()
    assert got == [(0, 2.5), (1, 4.5), (2, 6.5), (3, 8.5)]


def test_others_come_between_the_chunks_of_a_large_message() -> None:
    # Chunks of a quarter of a megabyte, a megabyte a second.
    w = world(3, network=Wires([8e6] * 4, [math.inf] * 4, 0.5, chunk_bytes=250_000))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 1, 1_000_000, arrivals)
    send(w, 0.125, 0, 2, 250_000, arrivals)  # out 0.25 - 0.5, after the first chunk
    run_until(w, 100)
    assert arrivals == [(0, 2, 1.0), (0, 1, 1.75)]
    assert w.links.bytes_up == [1_250_000, 0, 0, 0]
    assert w.trace.traffic().messages.tolist() == [2]


def test_chunks_do_not_outrun_a_slow_receiver() -> None:
    # A hundred times the receiver's rate: the message takes as long as it would in one piece.
    w = world(2, network=Wires([8e8] * 3, [8e6] * 3, chunk_bytes=100_000))
    arrivals: list[Any] = []
    send(w, 0.0, 0, 1, 1_000_000, arrivals)
    run_until(w, 100)
    assert [t for *_, t in arrivals] == [pytest.approx(1.0)]


def lossy(lost: list[int], **options: Any) -> World:
    """A world whose link from 0 to 1 loses the messages of these numbers, counted from 0."""
    w = world(2, network=Wires([8e6] * 3, [math.inf] * 3, 0.25, loss=Bernoulli(p=0.5), **options))
    w.links.lost[:] = False
    w.links.start_at(0, 1, -1, 0.25)
    w.links.lost[lost] = True
    return w


def test_what_is_lost_is_sent_again_after_a_time_that_doubles() -> None:
    # A second to send. The timeout is 3 round trips of 0.5 s. Lost at 1; sent again 2.5 - 3.5, lost; again 6.5 - 7.5: there 7.75.
    w, arrivals = lossy([0, 1], retransmit=2), list[Any]()
    send(w, 0.0, 0, 1, 1_000_000, arrivals)
    run_until(w, 100)
    assert arrivals == [(0, 1, 7.75)]
    assert w.links.bytes_up[0] == 3_000_000
    w = lossy([0, 1], retransmit=1)
    send(w, 0.0, 0, 1, 1_000_000, arrivals)
    run_until(w, 100)
    assert outcomes(w) == ["lost"]


def test_only_the_chunk_that_was_lost_is_sent_again() -> None:
    # Half a second a chunk: out at 0.5 (lost), 1.0, 1.5. The first again 2.0 - 2.5.
    w, arrivals = lossy([0], retransmit=1, chunk_bytes=500_000), list[Any]()
    send(w, 0.0, 0, 1, 1_500_000, arrivals)
    run_until(w, 100)
    assert arrivals == [(0, 1, 2.75)]
    assert w.links.bytes_up[0] == 2_000_000


def test_full_queues_drop() -> None:
    # The queue holds 1.5 MB: the third message finds 2 MB before it.
    w = world(2, network=Wires([8e6] * 3, [math.inf] * 3, queue_bytes=1.5e6))
    arrivals: list[Any] = []
    for _ in range(3):
        send(w, 0.0, 0, 1, 1_000_000, arrivals)
    run_until(w, 100)
    assert outcomes(w) == ["delivered", "delivered", "lost"]
    w = world(4, network=Wires([8e6] * 5, [8e6] * 5, queue_bytes=1.5e6, queueing="both"))
    for src in range(3):
        send(w, 0.0, src, 3, 1_000_000, arrivals)
    run_until(w, 100)
    assert outcomes(w) == ["delivered", "delivered", "lost"]


def test_what_a_full_queue_dropped_is_sent_again() -> None:
    # A megabyte a second, 0.25 s away. The third finds 2 MB before it, and tries again 3 round trips after: at 1.5, when 0.5 MB
    # are left.
    w, arrivals = world(2, network=Wires([8e6] * 3, [math.inf] * 3, 0.25, queue_bytes=1.5e6, retransmit=1)), list[Any]()
    for _ in range(3):
        send(w, 0.0, 0, 1, 1_000_000, arrivals)
    run_until(w, 100)
    assert arrivals == [(0, 1, 1.25), (0, 1, 2.25), (0, 1, 3.25)]
    assert w.links.bytes_up[0] == 4_000_000
    # At the receiver all come in at 0.25, when there is room for one. The others' last bytes are out at 1: again at 1 + 1.5, and
    # one of them is there at 2.75.
    w = world(4, network=Wires([8e6] * 5, [8e6] * 5, 0.25, queue_bytes=0.5e6, retransmit=1, queueing="both"))
    arrivals = []
    for src in range(3):
        send(w, 0.0, src, 3, 1_000_000, arrivals)
    run_until(w, 100)
    assert [t_s for *_, t_s in arrivals] == [1.25, 3.75]
    assert outcomes(w).count("lost") == 1


def test_partitions_cut_what_is_sent_across_them_until_they_heal() -> None:
    w, arrivals = world(3, network=Wires([math.inf] * 4, [math.inf] * 4, 1.0)), list[Any]()
    w.clock.at(1.0, w.links.partition, [0, 0, 1, 1])
    w.clock.at(3.0, w.links.partition, None)
    for t_s, src, dst in ((0.5, 0, 2), (2.0, 0, 2), (2.0, 0, 1), (2.0, SERVER, 0), (2.0, SERVER, 2), (3.5, 0, 2)):
        send(w, t_s, src, dst, 1, arrivals)
    run_until(w, 100)
    assert [(src, dst, t) for src, dst, t in arrivals] == [(0, 2, 1.5), (0, 1, 3.0), (SERVER, 2, 3.0), (0, 2, 4.5)]
    assert sorted(outcomes(w)) == ["delivered"] * 4 + ["lost"] * 2


def test_slowed_lagging_and_occupied_nodes() -> None:
    w, arrivals = world(2, network=Wires([8e6] * 3, [8e6] * 3, 0.5)), list[Any]()
    w.clock.at(0.0, w.links.slow, 0, 3.0)
    send(w, 0.0, 0, 1, 1_000_000, arrivals)  # 3 s + 0.5
    w.clock.at(4.0, w.links.slow, 0, 1.0)
    w.clock.at(4.0, w.links.lag, 1, 4.0)
    send(w, 4.0, 0, 1, 1_000_000, arrivals)  # 1 s + 2
    w.clock.at(10.0, w.links.lag, 1, 1.0)
    w.clock.at(10.0, w.links.occupy, 0, 2_000_000)
    send(w, 10.5, 0, 1, 1_000_000, arrivals)  # waits until 12, there 13.5
    run_until(w, 100)
    assert [t for *_, t in arrivals] == [3.5, 7.0, 13.5]
    assert w.links.up_s.tolist() == (8 / w.paths.upload_bps).tolist()
    with pytest.raises(ValueError, match=r"factor: 0\.5 is not allowed: at least 1"):
        w.links.lag(0, 0.5)


def test_who_tampers_with_messages_holds_them_up_or_drops_them() -> None:
    def tamper(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
        assert kind == "data"
        return np.where(dst == 2, np.inf, np.where(src == 0, 2.0, 0.0))

    w, arrivals = world(3, network=Wires([math.inf] * 4, [math.inf] * 4, 1.0)), list[Any]()
    w.links.tamper.append(tamper)
    for src, dst in ((0, 1), (1, 0), (0, 2), (SERVER, 1)):
        send(w, 0.0, src, dst, 1, arrivals)
    run_until(w, 100)
    assert arrivals == [(1, 0, 1.0), (SERVER, 1, 1.0), (0, 1, 3.0)]
    assert outcomes(w).count("lost") == 1


def test_foreign_traffic_fills_a_queue_of_limited_size_and_no_more() -> None:
    # A megabyte a second, queues of two megabytes: of ten megabytes of junk two are held, and delay by 2 s.
    w = world(2, network=Wires([8e6] * 3, [math.inf] * 3, queue_bytes=2e6))
    arrivals: list[Any] = []
    w.links.occupy(0, 10_000_000)
    send(w, 1.0, 0, 1, 1_000_000, arrivals)  # out 2-3
    run_until(w, 100)
    assert arrivals == [(0, 1, 3.0)]
    w.links.occupy(0, 1_000_000)
    w.links.occupy(0, 500_000)
    w.links.send(0, 1, 1_000_000, "data", lambda: arrivals.append(w.clock.now))
    w.run()
    assert arrivals[1:] == [100 + 1.5 + 1]
