"""How news reaches everybody."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from decai_sim.errors import ScenarioError
from decai_sim.seeding import Streams
from decai_sim.world import Exponential, Given, Internet, Mix, SmallWorld, Topology
from decai_sim.world.dissemination import BlockRelay, Dissemination, Flood, GossipSub, Pull, Push, PushPull
from decai_sim.world.dissemination.spread import Spread
from decai_sim.world.topologies import RandomRegular
from decai_sim.world.world import World
from tests.world.worlds import Absences, Wires, world

FAST = [math.inf] * 100


def steady(n: int, topology: Topology, latency_s: float = 1.0, bps: float = math.inf, **options: Any) -> World:
    """A world whose every message takes ``latency_s``."""
    return world(n, network=Wires([bps] * (n + 1), [math.inf] * (n + 1), latency_s, **options), topology=topology)


def published(w: World, how: Dissemination, until_s: float, *origins: int, nbytes: int = 1000) -> Spread:
    spread = how.start(w, len(origins))
    for origin in origins:
        spread.publish(origin, nbytes)
    w.run(until_s)
    return spread


def sent(w: World) -> dict[str, int]:
    traffic = w.trace.traffic()
    return dict(zip(traffic["kind"], traffic["messages"], strict=True))


# -- flooding ------------------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_a_flood_takes_the_shortest_ways(seed: int) -> None:
    graph = nx.connected_watts_strogatz_graph(20, 4, 0.3, seed=seed)
    spread = published(steady(20, Given.of(graph)), Flood(), 100, 3)
    hops = nx.single_source_shortest_path_length(graph, 3)
    assert spread.hops[0].tolist() == [hops[node] for node in range(20)]
    assert spread.delays_s(0).tolist() == [float(hops[node]) for node in range(20)]


def test_a_flood_crosses_every_link_once_or_twice_and_never_goes_back() -> None:
    w = steady(30, SmallWorld(degree=6))
    published(w, Flood(), 100, 0)
    # Everybody sends to all its neighbours but one; who published it, to all.
    assert sent(w) == {"item": 30 * 6 - 29}
    tree = steady(15, Given.of(nx.balanced_tree(2, 3)))
    published(tree, Flood(), 100, 4)
    assert sent(tree) == {"item": 14}


def test_a_flood_by_hand_with_upload_queues() -> None:
    # 8 Mbit/s: a megabyte a second; a latency of 1 s. Node 0 serves 1, 2 and 3 one after the other.
    w = steady(5, Given.of(nx.Graph([(0, 1), (0, 2), (0, 3), (3, 4)])), bps=8e6)
    spread = published(w, Flood(), 100, 0, nbytes=1_000_000)
    assert spread.delays_s(0).tolist() == [0, 2, 3, 4, 6]
    row = w.trace.traffic().iloc[0]
    assert (row["mean_queued_s"], row["max_queued_s"]) == ((0 + 1 + 2 + 0) / 4, 2.0)


def test_who_is_cut_off_hears_nothing() -> None:
    spread = published(steady(6, Given.of(nx.Graph([(0, 1), (1, 2), (3, 4)]))), Flood(), 100, 0)
    assert np.isfinite(spread.delays_s(0)).tolist() == [True, True, True, False, False, False]
    table = spread.table().iloc[0]
    assert (table["reached"], table["t50_s"], table["t90_s"], table["t_all_s"]) == (3, 2.0, math.inf, math.inf)


def test_who_is_away_misses_a_flood_and_gets_it_by_gossip_later() -> None:
    def with_one_away(how: Dissemination) -> Spread:
        away = Absences({2: [0.5, 20.0, math.inf]})
        w = world(4, network=Wires(FAST[:5], FAST[:5], 0.1), churn=away, topology=Given.of(nx.complete_graph(4)))
        spread = how.start(w)
        w.clock.at(1.0, spread.publish, 0, 100)
        w.run(60)
        return spread

    assert with_one_away(Flood()).delays_s(0)[2] == math.inf
    assert 19.5 <= with_one_away(PushPull()).delays_s(0)[2] < 25


# -- gossip in rounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "lowest", "highest"), [(Push(), 15, 21), (PushPull(), 8, 11)])
def test_rounds_to_reach_a_thousand_nodes(how: Dissemination, lowest: float, highest: float) -> None:
    """Source: push takes log2 n + ln n + O(1), push-pull log3 n + ln ln n + O(1) rounds; at n = 1,000 17.7 and 9.2 on average."""
    rounds = []
    for seed in range(5):
        w = world(1000, network=Wires([math.inf] * 1001, [math.inf] * 1001, 0.1), seed=seed)
        spread = published(w, how, 60, 0)
        rounds.append(math.ceil(spread.delays_s(0).max()))
    assert lowest <= np.mean(rounds) <= highest


def test_pushing_goes_on_as_long_as_it_is_told_to() -> None:
    w = steady(2, Given.of(nx.path_graph(2)), latency_s=0.1)
    published(w, Push(rounds=3), 20.05, 0)
    assert sent(w) == {"item": 3 + 3}
    w = steady(2, Given.of(nx.path_graph(2)), latency_s=0.1)
    published(w, Push(), 20.05, 0)
    assert sent(w) == {"item": 21 + 20}  # in the rounds at 0, 1, … 20 s; the other from 1 s on


def test_neighbours_means_neighbours() -> None:
    graph = nx.cycle_graph(20)
    for how in (Push(peers="neighbours"), PushPull(peers="neighbours"), Pull(peers="neighbours")):
        w = steady(20, Given.of(graph), latency_s=0.1)
        spread = published(w, how, 200, 0)
        assert np.isfinite(spread.delays_s(0)).all()
        messages = w.trace.messages()
        assert all(graph.has_edge(*ends) for ends in zip(messages["src"], messages["dst"], strict=True))


def test_nobody_gossips_with_itself_and_everybody_is_turned_to() -> None:
    w = steady(10, Given.of(nx.empty_graph(10)), latency_s=0.01)
    published(w, Pull(), 400, 0)
    messages = w.trace.messages().query("kind == 'digest'")
    pairs = messages.groupby(["src", "dst"]).size()
    assert set(pairs.index) == {(a, b) for a in range(10) for b in range(10) if a != b}
    expected = len(messages) / 90
    chi2 = float(((pairs - expected) ** 2 / expected).sum())
    assert chi2 < 89 + 4 * math.sqrt(2 * 89)


def test_pull_by_hand() -> None:
    # Two nodes, 0.1 s apart: at the round at 1 s node 1 says that it has nothing, and gets the item.
    w = steady(2, Given.of(nx.path_graph(2)), latency_s=0.1)
    spread = Pull().start(w)
    w.run(0.5)
    spread.publish(0, 1000)
    w.run(3.5)
    assert spread.delays_s(0)[1] == pytest.approx(1.2 - 0.5)
    assert sent(w) == {"digest": 2 * 3, "item": 1}


def test_push_pull_by_hand() -> None:
    # Also by a digest of who has it: 1.0 told, 1.1 wanted, 1.2 sent, 1.3 there; and, by its own digest, at 1.2 already.
    w = steady(2, Given.of(nx.path_graph(2)), latency_s=0.1)
    spread = PushPull().start(w)
    w.run(0.5)
    spread.publish(0, 1000)
    w.run(1.9)
    assert spread.delays_s(0)[1] == pytest.approx(1.2 - 0.5)
    assert sent(w) == {"digest": 2, "item": 2, "want": 1}


# -- GossipSub -----------------------------------------------------------------------------------------------------------------


def mesh_degrees(spread: Spread) -> np.ndarray:
    degrees: np.ndarray = np.bincount(spread.wiring.src[spread.state.links], minlength=spread.n)
    return degrees


def test_the_mesh_is_kept_within_its_bounds() -> None:
    w = steady(200, RandomRegular(degree=16), latency_s=0.01)
    how = GossipSub()
    spread = how.start(w)
    w.run(5.5)
    degrees = mesh_degrees(spread)
    assert degrees.min() >= how.d_low
    assert degrees.max() <= how.d_high
    mesh = set(zip(spread.wiring.src[spread.state.links].tolist(), spread.wiring.dst[spread.state.links].tolist(), strict=True))
    assert mesh == {(b, a) for a, b in mesh}


def test_items_travel_by_the_mesh_and_cost_less_than_a_flood() -> None:
    costs = {}
    for how in (Flood(), GossipSub()):
        w = steady(200, RandomRegular(degree=16), latency_s=0.01)
        spread = how.start(w)
        w.run(3.5)
        spread.publish(0, 1000)
        w.run(3.9)
        assert np.isfinite(spread.delays_s(0)).all()
        costs[how.kind] = sent(w)["item"]
    assert costs["gossipsub"] < 0.6 * costs["flood"]


def test_what_the_mesh_misses_is_asked_for() -> None:
    # With d = 1 the mesh falls into pieces; announcements bring the item to the rest of them.
    w = steady(60, RandomRegular(degree=8), latency_s=0.01)
    spread = GossipSub(d=1, d_low=1, d_high=1, d_lazy=3).start(w)
    w.run(3.5)
    spread.publish(0, 1000)
    w.run(3.9)
    first = np.isfinite(spread.delays_s(0)).sum()
    w.run(30)
    assert first < 60
    assert np.isfinite(spread.delays_s(0)).all()
    assert sent(w)["iwant"] > 0


def test_the_mesh_heals_when_nodes_go() -> None:
    gone = Absences({node: [2.5] for node in range(40)})
    w = world(100, network=Wires([math.inf] * 101, [math.inf] * 101, 0.01), churn=gone, topology=RandomRegular(degree=16))
    spread = GossipSub().start(w)
    w.run(10)
    degrees = mesh_degrees(spread)
    assert degrees[:40].max() == 0
    assert degrees[40:].min() >= 4


def test_the_bounds_of_a_mesh_must_be_in_order() -> None:
    with pytest.raises(ValidationError, match="d_low <= d <= d_high"):
        GossipSub(d=3)


# -- blocks --------------------------------------------------------------------------------------------------------------------


def test_a_block_by_hand() -> None:
    # INV 1 s + 10 ms, GETDATA likewise, the block 2 s at 4 Mbit/s and 1 s of latency.
    w = steady(3, Given.of(nx.path_graph(3)), bps=4e6)
    spread = published(w, BlockRelay(control_bytes=1), 60, 0, nbytes=1_000_000)
    one_hop = 1.01 + 1.01 + 2 + 1
    assert spread.delays_s(0) == pytest.approx([0, one_hop, 2 * one_hop], abs=1e-4)
    assert sent(w) == {"block": 2, "getdata": 2, "inv": 2}


def test_blocks_are_sent_one_at_a_time_or_as_fast_as_the_link_allows() -> None:
    def times(**how: Any) -> list[float]:
        w = steady(4, Given.of(nx.star_graph(3)), bps=4e6)
        relay = BlockRelay(control_bytes=1, processing_s=0, **how)
        return sorted(published(w, relay, 60, 0, nbytes=1_000_000).delays_s(0))

    # 2 s to send, 1 s on the way; the next begins when the one before has arrived, or when it is out.
    assert times() == pytest.approx([0, 5, 8, 11], abs=1e-4)
    assert times(one_at_a_time=False) == pytest.approx([0, 5, 7, 9], abs=1e-4)


def star_of_blocks(w: World, until_s: float = 100, **how: Any) -> list[float]:
    """When the three neighbours of node 0 have 1 MB of its: 2 s to send at 4 Mbit/s, 1 s on the way."""
    relay = BlockRelay(control_bytes=1, processing_s=0, **how)
    return sorted(published(w, relay, until_s, 0, nbytes=1_000_000).delays_s(0)[1:].tolist())


def test_a_flooded_uplink_holds_up_blocks_that_are_sent_one_at_a_time() -> None:
    w = steady(4, Given.of(nx.star_graph(3)), bps=4e6)
    w.clock.at(1.5, w.links.occupy, 0, 5_000_000)  # 10 s of the upload queue, after the announcements and before the requests
    assert star_of_blocks(w) == pytest.approx([11.5 + 3, 11.5 + 6, 11.5 + 9], abs=1e-3)


@pytest.mark.parametrize(("options", "last_s"), [({"queueing": "fair"}, 11), ({"queueing": "both"}, 11), ({"link_bps": 2e6}, 17)])
def test_blocks_are_sent_one_at_a_time_whatever_queues_there_are(options: dict[str, Any], last_s: float) -> None:
    # At 2 Mbit/s a link takes 4 s, 5 s with the way.
    each = 5 if "link_bps" in options else 3
    w = steady(4, Given.of(nx.star_graph(3)), bps=4e6, **options)
    assert star_of_blocks(w) == pytest.approx([last_s - 2 * each, last_s - each, last_s], abs=1e-3)


def test_a_block_that_does_not_arrive_holds_the_next_one_up_for_a_while_only() -> None:
    away = Absences({2: [2.5]})  # it goes when it has asked
    network = Wires([4e6] * 5, FAST[:5], lambda a, b: 0.9 if {a, b} == {0, 2} else 1.0)
    w = world(4, network=network, churn=away, topology=Given.of(nx.star_graph(3)))
    assert star_of_blocks(w, timeout_s=20.0)[:2] == pytest.approx([1.8 + 20 + 3, 1.8 + 20 + 6], abs=1e-3)


def test_who_comes_back_has_forgotten_what_waited_to_be_sent() -> None:
    away = Absences({0: [3.0, 1.0]})  # while it sends the first of three
    w = world(4, network=Wires([4e6] * 5, FAST[:5], 1.0), churn=away, topology=Given.of(nx.star_graph(3)))
    spread = BlockRelay(control_bytes=1, processing_s=0, timeout_s=10.0).start(w)
    spread.publish(0, 1_000_000)
    w.run(100)
    # Asked again 10 s after their first requests at 1 s, which come in at 12 s.
    assert sorted(spread.delays_s(0)[1:]) == pytest.approx([15, 18, 21], abs=1e-3)


def test_everybody_asks_once_however_many_announce() -> None:
    w = steady(30, Given.of(nx.complete_graph(30)))
    published(w, BlockRelay(), 100, 0)
    assert (sent(w)["getdata"], sent(w)["block"]) == (29, 29)


def test_a_request_that_is_not_answered_is_made_anew_to_another() -> None:
    # 1 announces first, and goes while it sends; 2 announces later. The wait is 30 s.
    away = Absences({1: [4.5]})
    slow = Wires([8e3, 8e3, math.inf, math.inf, math.inf], FAST[:5], lambda a, b: 1.5 if {a, b} == {2, 3} else 1.0)
    w = world(4, network=slow, churn=away, topology=Given.of(nx.Graph([(0, 1), (0, 2), (1, 3), (2, 3)])))
    spread = BlockRelay(processing_s=0, control_bytes=1, timeout_s=30.0).start(w)
    spread.publish(0, 500)
    w.run(200)
    assert np.isfinite(spread.delays_s(0)[[0, 2, 3]]).all()
    assert spread.delays_s(0)[3] > 30
    requests = w.trace.messages().query("kind == 'getdata' and src == 3")
    assert requests["dst"].tolist()[-1] == 2


# -- all of them ---------------------------------------------------------------------------------------------------------------

ALL = [Flood(), Push(), Pull(), PushPull(), Push(peers="neighbours"), PushPull(peers="neighbours"), GossipSub(), BlockRelay()]


@pytest.mark.parametrize("how", ALL, ids=lambda how: f"{how.kind}-{getattr(how, 'peers', '')}")
@pytest.mark.parametrize("queueing", ["uplink", "both"])
def test_the_same_in_one_run_and_in_many_steps(how: Dissemination, queueing: Any) -> None:
    def history(steps: int) -> str:
        churn = Exponential(mean_online_s=60, mean_offline_s=20)
        w = World(60, Internet(loss=0.05, queueing=queueing), churn, Mix(phone=1.0), Streams(7), SmallWorld(degree=6))
        spread = how.start(w, 3)
        for k in range(3):
            online = next(node for node in range(60) if w.nodes.online[node])
            w.clock.at(2.0 * k, lambda online=online: w.nodes.online[online] and spread.publish(online, 20_000))
        for step in range(1, steps + 1):
            w.run(30 * step / steps)
        assert len(w.trace.messages()) > 100
        return w.trace.digest()

    assert history(1) == history(57)


def test_who_is_not_there_publishes_nothing() -> None:
    w = world(2, churn=Absences({0: [0.0, 5.0]}), topology=Given.of(nx.path_graph(2)))
    with pytest.raises(ScenarioError, match="origin: 0 is not allowed"):
        Flood().start(w).publish(0, 10)


def test_more_items_than_announced_are_refused() -> None:
    spread = Flood().start(world(2, topology=Given.of(nx.path_graph(2))), items=1)
    spread.publish(0, 10)
    with pytest.raises(ScenarioError, match="items: 1 is not allowed"):
        spread.publish(0, 10)


def test_a_mesh_is_there_from_the_start() -> None:
    w = steady(40, RandomRegular(degree=4), latency_s=0.01)
    assert np.isfinite(published(w, GossipSub(), 0.5, 0).delays_s(0)).all()


@pytest.mark.parametrize("how", [Push(), Pull(), PushPull(), GossipSub(), Flood()], ids=lambda how: how.kind)
def test_overlapping_items_are_recorded_in_order_of_time_however_the_run_is_cut(how: Dissemination) -> None:
    def events(steps: int) -> Any:
        w = World(80, Internet(), None, Mix(laptop=1.0), Streams(3), SmallWorld(degree=6))
        spread = how.start(w, 4)
        for k in range(4):
            w.clock.at(0.02 * k, spread.publish, 20 * k, 500)
        for step in range(1, steps + 1):
            w.run(30 * step / steps)
        return w.trace.events()

    whole = events(1)
    assert whole["t_s"].is_monotonic_increasing
    assert whole.equals(events(1500))
