"""Max–min fair sharing: solved by hand, and by its defining property."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decai_sim.world.clock import Clock
from decai_sim.world.fair import FairShare, max_min
from tests.world.worlds import Absences, Wires, world

INF = math.inf


@pytest.mark.parametrize(
    ("up", "down", "src", "dst", "rates"),
    [
        # Three uploads of 1 into one download of 2; then two resources that are the narrowest at once.
        ([1.0, 1.0, 1.0, INF], [INF, INF, INF, 2.0], [0, 1, 2], [3, 3, 3], [2 / 3] * 3),
        ([3.0, 1.0, 9.0], [9.0, 9.0, 9.0], [0, 0, 0, 1], [1, 2, 1, 2], [1.0, 1.0, 1.0, 1.0]),
        # 0 sends to 2 and 3, 1 to 3: 3's download of 6 is shared evenly; 0's upload of 10 leaves 7 for 2, who can take 5.
        ([10.0, 8.0, 1.0, 1.0], [1.0, 1.0, 5.0, 6.0], [0, 0, 1], [2, 3, 3], [5.0, 3.0, 3.0]),
        # A chain, each taking what the one before cannot: 0's upload of 2: 1 + 1; 1's download of 4: 3; 2's upload of 10: 7.
        ([2.0, INF, 10.0, INF], [INF, 4.0, INF, INF], [0, 0, 2, 2], [3, 1, 1, 3], [1.0, 1.0, 3.0, 7.0]),
        ([INF, INF], [INF, 5.0], [0, 1, 0], [0, 1, 1], [INF, 2.5, 2.5]),
        ([4.0], [3.0], [], [], []),
    ],
)
def test_rates_solved_by_hand(up: Any, down: Any, src: Any, dst: Any, rates: Any) -> None:
    ends = np.array(src, dtype=int), np.array(dst, dtype=int)
    assert max_min(np.array(up), np.array(down), *ends).tolist() == pytest.approx(rates)


@pytest.mark.parametrize(
    ("src", "dst", "link", "rates"),
    [
        # Of 12, one transfer takes the 2 its receiver can take, each of the others the 4 that its link carries.
        ([0, 0, 0], [1, 2, 3], 4.0, [2.0, 4.0, 4.0]),
        # Two on one link share its 4; the third, on a link of its own that carries 9, has the rest of its sender's 12.
        ([0, 0, 0], [2, 2, 3], [4.0, 4.0, 9.0], [2.0, 2.0, 8.0]),
        # The other way round is another link; node 2 sends no more than 1.
        ([0, 2, 0], [2, 0, 3], [4.0, 4.0, INF], [4.0, 1.0, 8.0]),
    ],
)
def test_a_link_is_shared_by_the_transfers_on_it(src: Any, dst: Any, link: Any, rates: Any) -> None:
    up, down = np.array([12.0, 1, 1, 1]), np.array([9.0, 2, 9, 9])
    assert max_min(up, down, np.array(src), np.array(dst), np.array(link)).tolist() == pytest.approx(rates)


transfers = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25)
capacities = st.lists(st.floats(0.1, 1000), min_size=6, max_size=6)


@given(capacities, capacities, transfers, st.none() | st.lists(st.floats(0.1, 200), min_size=36, max_size=36))
def test_nobody_can_get_more_without_taking_it_from_one_who_has_no_more(up: Any, down: Any, pairs: Any, links: Any) -> None:
    src, dst = (np.array([pair[i] for pair in pairs]) for i in range(2))
    link, carries = 6 * src + dst, np.array(links or [INF] * 36)
    rates = max_min(np.array(up), np.array(down), src, dst, carries[link])
    sent, received, carried = np.bincount(src, rates, 6), np.bincount(dst, rates, 6), np.bincount(link, rates, 36)
    assert (sent <= np.array(up) * (1 + 1e-9)).all()
    assert (received <= np.array(down) * (1 + 1e-9)).all()
    assert (carried <= carries * (1 + 1e-9)).all()
    for s, d, rate in zip(src, dst, rates, strict=True):
        # A bottleneck: full, and nobody on it has more (Bertsekas & Gallager, section 6.5.2).
        at_source = sent[s] >= up[s] * (1 - 1e-9) and rates[src == s].max() <= rate * (1 + 1e-9)
        at_end = received[d] >= down[d] * (1 - 1e-9) and rates[dst == d].max() <= rate * (1 + 1e-9)
        mine = link == 6 * s + d
        on_link = carried[6 * s + d] >= carries[6 * s + d] * (1 - 1e-9) and rates[mine].max() <= rate * (1 + 1e-9)
        assert at_source or at_end or on_link


def ends_of(up: Any, down: Any, schedule: Any, also: Any = None) -> dict[str, tuple[float, str]]:
    """When and how each of ``(name, at_s, src, dst, nbytes)`` ends."""
    clock, ended = Clock(), dict[str, tuple[float, str]]()
    share = FairShare(clock, np.array(up), np.array(down))

    def end(name: str, how: str) -> None:
        assert name not in ended
        ended[name] = clock.now, how

    for name, at_s, src, dst, nbytes in schedule:
        ends = partial(end, name, "done"), partial(end, name, "broken")
        clock.at(at_s, share.start, src, dst, nbytes, *ends)
    if also is not None:
        also(clock, share)
    clock.run()
    return ended


def test_transfers_that_come_and_go_by_hand() -> None:
    # A megabyte a second from node 0. a: 1 MB at 0. b: 1 MB at 0.5. c, to a node that takes 0.25 MB/s: 0.25 MB at 1.
    # 0 - 0.5: a alone, half of it sent. Then a and b with 0.5 each. From 1 on c gets 0.25, a and b 0.375 each.
    # At 1: a has 0.25 left, b 0.75. a ends at 1 + 0.25/0.375 = 5/3; b has 0.5 left, then gets 0.75.
    # c ends at 2: b has 0.25 left there, gets 1.0, and ends at 2.25.
    schedule = [("a", 0.0, 0, 1, 1e6), ("b", 0.5, 0, 1, 1e6), ("c", 1.0, 0, 2, 2.5e5)]
    ended = ends_of([8e6, 8e6, 8e6], [8e9, 8e9, 2e6], schedule)
    assert {name: how for name, (_, how) in ended.items()} == {"a": "done", "b": "done", "c": "done"}
    assert [ended[name][0] for name in "abc"] == pytest.approx([5 / 3, 2.25, 2.0])


def test_transfers_break_with_their_ends_and_leave_their_share_to_others() -> None:
    # b breaks at 1, when both have half a megabyte left; a then has all to itself, and ends at 1.5.
    schedule = [("a", 0.0, 0, 1, 1e6), ("b", 0.0, 0, 2, 1e6), ("d", 0.0, 2, 1, 0)]
    ended = ends_of([8e6] * 3, [8e9] * 3, schedule, lambda clock, share: clock.at(1.0, share.leave, 2))
    assert ended == {"a": (pytest.approx(1.5), "done"), "b": (1.0, "broken"), "d": (0.0, "done")}


def test_a_slowed_node_gets_its_rates_back() -> None:
    # 0.5 s at a megabyte a second, 1 s at a quarter of it, the rest at the full rate again.
    def also(clock: Clock, share: FairShare) -> None:
        clock.at(0.5, share.slow, 0, 4.0)
        clock.at(1.5, share.slow, 0, 1.0)

    assert ends_of([8e6] * 2, [INF] * 2, [("a", 0.0, 0, 1, 1e6)], also) == {"a": (pytest.approx(1.75), "done")}


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.integers(0, 3), st.integers(0, 3), st.floats(0, 1e6)).filter(lambda row: row[1] != row[2]),
        max_size=12,
    )
)
def test_every_byte_is_carried_and_no_faster_than_the_rates_allow(rows: Any) -> None:
    rate = 1e5  # bytes a second
    schedule = [(str(i), *row) for i, row in enumerate(rows)]
    ended = ends_of([8 * rate] * 4, [8 * rate] * 4, schedule)
    assert set(ended) == {row[0] for row in schedule}
    for name, at_s, *_, nbytes in schedule:
        assert ended[name][0] >= at_s + nbytes / rate - 1e-9
    for node in range(4):
        for end in (2, 3):
            mine = [row for row in schedule if row[end] == node]
            if mine:
                took = max(ended[row[0]][0] for row in mine) - min(row[1] for row in mine)
                assert sum(row[4] for row in mine) <= rate * took + 1e-3
    if schedule:  # work conservation: somebody is sending at full rate as long as anything is under way
        last = max(t_s for t_s, _ in ended.values())
        assert last <= max(row[1] for row in schedule) + sum(row[4] for row in schedule) / rate + 1e-6


def test_messages_share_rates_where_the_network_says_so() -> None:
    # 0 sends a megabyte each to 1 and 2, at a megabyte a second in all: both are out after 2 s and there after 2.5.
    w = world(3, network=Wires([8e6] * 4, [INF] * 4, 0.5, queueing="fair"), churn=Absences({2: [1.0]}))
    got: list[Any] = []
    w.links.send(0, 1, 1_000_000, "x", lambda: got.append((1, w.clock.now)))
    w.links.send(0, 2, 1_000_000, "x", lambda: got.append((2, w.clock.now)))  # leaves at 1; the rest of the first then has it all
    w.links.send(1, 0, 0, "empty", lambda: got.append((0, w.clock.now)))
    w.run(10)
    assert got == [(0, 0.5), (1, pytest.approx(2.0))]
    assert w.trace.messages().outcome.tolist() == ["delivered", "offline", "delivered"]


def test_messages_on_one_link_share_what_it_carries() -> None:
    # Two of a megabyte each on a link of half a megabyte a second; the third has all the rest of the sender's megabyte.
    w = world(3, network=Wires([8e6] * 4, [INF] * 4, 0.5, queueing="fair", link_bps=4e6))
    got: list[Any] = []
    for dst, nbytes in ((1, 500_000), (1, 500_000), (2, 1_000_000)):
        w.links.send(0, dst, nbytes, "x", lambda dst=dst: got.append((dst, w.clock.now)))
    w.links.occupy(1, 1_000_000)  # foreign traffic is on no link of ours
    w.run()
    # The first two have a quarter each and end at 2, the third a half and ends there as well.
    assert [dst for dst, _ in got] == [1, 1, 2]
    assert [t_s for _, t_s in got] == pytest.approx([2.5] * 3)


def test_mailboxes_work_where_rates_are_shared() -> None:
    w = world(3, network=Wires([8e6] * 4, [INF] * 4, 0.5, queueing="fair"))
    got: list[Any] = []
    box = w.bulk.open(lambda arrivals: got.extend(zip(arrivals.t_s.tolist(), arrivals.dst.tolist(), strict=True)))
    w.bulk.send(box, [0.0] * 2, [0, 0], [1, 2], [1_000_000, 500_000], "x", [0, 0], longer_s=0.25)
    w.run()
    assert got == [(pytest.approx(1.75), 2), (pytest.approx(2.25), 1)]
