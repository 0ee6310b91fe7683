"""Nodes that tamper with what the network carries: what is left of it, against what can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import decai_sim as ds
from decai_sim.component import _FAMILIES
from decai_sim.errors import ScenarioError, explain
from decai_sim.seeding import Streams
from decai_sim.viz import palette
from decai_sim.world import Adversary, Delay, Drop, Eclipse, Flooding, Internet, Mix, Selective, SlowLinks, Sybil
from decai_sim.world.adversaries import install_all
from decai_sim.world.dissemination import BlockRelay, Dissemination, Flood, GossipSub, Pull, Push, PushPull
from decai_sim.world.dissemination.spread import Spread
from decai_sim.world.topologies import BarabasiAlbert, Given, Ring, SmallWorld, TwoCliques, wiring
from decai_sim.world.world import World
from tests.world.worlds import Absences, Wires, world

STAR = Given(edges=tuple((0, i) for i in range(1, 10)))
NEVER = math.inf


def hostile(w: World, *adversaries: Adversary) -> World:
    install_all(adversaries, w)
    return w


def steady(n: int, topology: Any, *adversaries: Adversary, bps: float = math.inf, **options: Any) -> World:
    """A world whose every message takes a second, with adversaries."""
    wires = Wires([bps] * (n + 1), [bps] * (n + 1), 1.0, **options)
    return hostile(world(n, network=wires, topology=topology), *adversaries)


def internet(n: int, *adversaries: Adversary, topology: Any = None, seed: int = 1, **options: Any) -> World:
    return hostile(World(n, Internet(**options), None, Mix(laptop=1), Streams(seed), topology), *adversaries)


def published(w: World, origin: int, how: Dissemination | None = None, until_s: float = 1000.0, nbytes: int = 1000) -> Spread:
    spread = (how or Flood()).start(w, 1)
    spread.publish(origin, nbytes)
    w.run(until_s)
    return spread


def delays(w: World, origin: int, how: Dissemination | None = None) -> list[float]:
    return published(w, origin, how).delays_s(0).tolist()


# -- dropping and delaying --------------------------------------------------------------------------------------------------


def test_round_a_ring_the_other_way() -> None:
    # Node 1 hears it and keeps it: 2 and 3 hear it from the other side.
    assert delays(steady(8, Ring()), 0) == [0, 1, 2, 3, 4, 3, 2, 1]
    assert delays(steady(8, Ring(), Drop(nodes=[1])), 0) == [0, 1, 6, 5, 4, 3, 2, 1]


def test_two_that_drop_cut_a_ring() -> None:
    assert delays(steady(8, Ring(), Drop(nodes=[1, 5])), 0) == [0, 1, NEVER, NEVER, NEVER, 3, 2, 1]


def test_a_silent_hub_is_the_end_of_a_star() -> None:
    for by in ("degree", "betweenness"):
        assert delays(steady(10, STAR, Drop(share=0.1, by=by)), 3) == [1, *[NEVER] * 2, 0, *[NEVER] * 6]


def test_cut_vertices_part_two_cliques() -> None:
    for by in ("cut", "betweenness"):
        w = steady(20, TwoCliques(), Drop(share=0.1, by=by))
        assert np.isfinite(delays(w, 2)).tolist() == [True] * 10 + [False] * 10
    assert np.isfinite(delays(steady(20, TwoCliques(), Drop(nodes=[3, 15])), 2)).all()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    who=st.sets(st.integers(0, 19), min_size=1, max_size=6),
    delay_s=st.sampled_from([0.5, 7.25]),
    own=st.booleans(),
)
def test_floods_take_the_shortest_ways_that_adversaries_leave(seed: int, who: set[int], delay_s: float, own: bool) -> None:
    graph = nx.connected_watts_strogatz_graph(20, 4, 0.3, seed=seed)
    nodes, victims = tuple(who), (1, 2, 3)

    def expected(costs: Any, spared: set[int] | frozenset[int] = frozenset()) -> list[float]:
        """Shortest ways, where a link costs a second and what ``costs(src, dst)`` adds; None: it is not there."""
        arrows = nx.DiGraph()
        arrows.add_nodes_from(range(20))
        for a, b in graph.to_directed().edges:
            extra = costs(a, b) if a in who - spared else 0.0
            if extra is not None:
                arrows.add_edge(a, b, weight=1 + extra)
        found = nx.single_source_dijkstra_path_length(arrows, 0)
        return [found.get(node, NEVER) for node in range(20)]

    topology = Given.of(graph)
    spared = frozenset() if own else {0}  # what 0 sends is its own news
    drop, delay = Drop(nodes=nodes, own=own), Delay(nodes=nodes, delay_s=delay_s, own=own)
    assert delays(steady(20, topology, drop), 0) == expected(lambda src, dst: None, spared)
    assert delays(steady(20, topology, delay), 0) == expected(lambda src, dst: delay_s, spared)
    picky = Selective(nodes=nodes, victims=victims)
    assert delays(steady(20, topology, picky), 0) == expected(lambda src, dst: None if dst in victims else 0.0)
    slow = Selective(nodes=nodes, victims=victims, kinds=["item", "else"], delay_s=delay_s)
    assert delays(steady(20, topology, slow), 0) == expected(lambda src, dst: delay_s if dst in victims else 0.0)
    other = Selective(nodes=nodes, kinds=["else"])
    assert delays(steady(20, topology, other), 0) == expected(lambda src, dst: 0.0)


def test_several_add_up() -> None:
    w = steady(3, Given(edges=((0, 1), (1, 2))), Delay(nodes=[1], delay_s=5), Delay(share=1.0, delay_s=0.5, own=True))
    assert delays(w, 0) == [0, 1.5, 1.5 + 6.5]


# -- what is their own, and what they pass on -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"chunk_bytes": 1 << 40}, {"queueing": "both"}], ids=str)
def test_who_drops_what_it_passes_on_still_spreads_its_own_news(options: dict[str, Any]) -> None:
    # 1 - 0 - 2 - 3: of two items published by 0 and 3, node 2 passes neither on, and has one of its own.
    w = steady(4, Given(edges=((1, 0), (0, 2), (2, 3))), Drop(nodes=[2]), **options)
    spread = Flood().start(w, 3)
    for origin in (0, 3, 2):
        spread.publish(origin, 10)
    w.run(100)
    assert np.isfinite(spread.reached_s).tolist() == [
        [True, True, True, False],
        [False, False, True, True],
        [True, True, True, True],
    ]


def test_tries_of_one_message_are_judged_alike() -> None:
    # Each try of what is passed on is dropped, none of what is one's own, however the messages travel.
    for options in ({}, {"chunk_bytes": 1 << 40}):
        w = steady(3, Given(edges=((0, 1), (1, 2))), Drop(nodes=[1]), retransmit=2, **options)
        spread = Flood().start(w, 2)
        spread.publish(0, 10)
        spread.publish(1, 10)
        w.run(1000)
        assert np.isfinite(spread.reached_s).tolist() == [[True, True, False], [True, True, True]]
        row = w.trace.traffic().iloc[0]
        # 0 to 1, 1 to 0 and 2 its own, what 0 sent to 2 (three times) and, of 1's item, nothing more: 5 · 10 sent, 10 + 10 again.
        assert (row.lost, row.bytes_sent - row.bytes) == (1, 20)


def test_requests_are_a_droppers_own() -> None:
    # 0 - 1 - 2: node 1 gets what it asks for, and answers nobody, since it announces nothing.
    line = Given(edges=((0, 1), (1, 2)))
    relay = BlockRelay(processing_s=0.0, one_at_a_time=False)
    assert delays(steady(3, line, Drop(nodes=[1])), 0, relay) == [0, 3, NEVER]
    assert delays(steady(3, line, Drop(nodes=[1], own=True)), 0, relay) == [0, NEVER, NEVER]
    assert delays(steady(3, line, Drop(nodes=[1])), 1, relay) == [3, 0, 3]
    assert delays(steady(3, line, Drop(nodes=[1], own=True)), 1, relay) == [NEVER, 0, NEVER]


@pytest.mark.parametrize("how", [Push(), Pull(), PushPull()], ids=repr)
def test_digests_are_a_gossipers_own(how: Dissemination) -> None:
    # Node 1 calls the others and hears what they have, and gives them nothing but its own item, the one of 20 bytes.
    w = steady(12, None, Drop(nodes=[1]))
    spread = how.start(w, 12)
    for node in range(12):
        spread.publish(node, 20 if node == 1 else 10)
    w.run(40.5)
    assert np.isfinite(spread.reached_s).all()
    messages = w.trace.messages()
    for nbytes, outcome in ((10, "lost"), (20, "delivered")):
        mine = messages[(messages.kind == "item") & (messages.src == 1) & (messages.bytes == nbytes)]
        assert set(mine.outcome) - {"expired"} == {outcome}
    others = messages[(messages.kind != "item") | (messages.src != 1)]
    assert set(others.outcome) <= {"delivered", "expired"}


def test_messages_that_are_about_nothing_published_are_ones_own() -> None:
    w, arrived = steady(2, None, Drop(nodes=[0]), Delay(nodes=[0], delay_s=9)), []
    w.links.send(0, 1, 1, "model", lambda: arrived.append(w.clock.now))
    w.run()
    assert arrived == [1.0]


@pytest.mark.parametrize(
    ("adversary", "protocol", "complaint"),
    [
        (Drop(share=0.2), "federated", "adversaries.0.own: False is not allowed: under protocol 'federated' nodes pass nothing"),
        (Delay(share=0.2), "dpsgd", "adversaries.0.own: False is not allowed: under protocol 'dpsgd' nodes pass nothing on"),
        (
            Eclipse(share=0.2, victims=[0]),
            "federated",
            "adversaries.0.kind: 'eclipse' is not allowed: under protocol 'federated' nodes talk to the server alone",
        ),
        (
            Selective(share=0.2, kinds=["item", "blocks"]),
            {"kind": "broadcast", "dissemination": "flood"},
            "adversaries.0.kinds: 'blocks' is not allowed: under protocol 'broadcast' messages are of kind item",
        ),
        (
            Selective(share=0.2, kinds=["item"]),
            {"kind": "broadcast", "dissemination": "block_relay"},
            "adversaries.0.kinds: 'item' is not allowed: under protocol 'broadcast' messages are of kind block, getdata, inv",
        ),
        (
            Selective(share=0.2, kinds=["block"]),
            "federated",
            "adversaries.0.kinds: 'block' is not allowed: under protocol 'federated' messages are of kind train, train_reply",
        ),
        (
            Selective(share=0.2, kinds=["item"]),
            "dpsgd",
            "adversaries.0.kinds: 'item' is not allowed: under protocol 'dpsgd' m",
        ),
    ],
    ids=repr,
)
def test_what_would_come_to_nothing_is_refused_before_a_run(adversary: Adversary, protocol: Any, complaint: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        ds.Scenario(nodes=20, adversaries=[adversary], protocol=protocol).check()
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("adversaries", "protocol"),
    [
        ([Drop(share=0.2, own=True), Delay(share=0.2, own=True), Selective(share=0.2, kinds=["train_reply"])], "federated"),
        ([Drop(share=0.2, own=True), Eclipse(share=0.2, victims=[0])], "dpsgd"),
        ([Drop(share=0.2), Selective(share=0.2, kinds=["junk", "item"]), Flooding(share=0.2)], "broadcast"),
    ],
)
def test_what_will_come_to_something_is_not(adversaries: list[Adversary], protocol: str) -> None:
    ds.Scenario(nodes=20, adversaries=adversaries, protocol=protocol, network="internet").check()


def test_failure_detectors_among_nodes_can_be_eclipsed_whatever_the_protocol() -> None:
    # With everybody else an attacker, nobody answers the victim's probes, nor does anybody hear of it.
    eclipse = Eclipse(nodes=list(range(1, 12)), victims=[0])
    watched = ds.Scenario(nodes=12, task="digits", network="internet", membership={"kind": "swim"}, adversaries=[eclipse])
    found = ds.run(watched.but(protocol__rounds=40), progress=False).detections
    assert set(found.loc[found["wrong"] & (found["observer"] > 0), "node"]) == {0}
    with pytest.raises(ScenarioError, match=r"adversaries\.0\.kind: 'eclipse' is not allowed: .* nodes talk to the server alone"):
        watched.but(membership="heartbeat").check()


def test_junk_where_no_queue_could_fill_is_refused_before_a_run() -> None:
    at_one, at_all = Flooding(nodes=[4], victims=[0, -1]), Flooding(nodes=[4])
    of = ds.Scenario(nodes=20, protocol={"kind": "broadcast", "items": 1}, adversaries=[at_one])
    with pytest.raises(ScenarioError, match=r"^adversaries\.0\.kind: 'flooding' is not allowed: this network has no queues"):
        of.check()
    uplink = of.but(network="internet")
    with pytest.raises(
        ScenarioError, match=r"^adversaries\.0\.victims: \[0, -1\] is not allowed: with network\.queueing 'uplink'"
    ):
        uplink.check()
    for queueing in ("both", "fair"):
        uplink.but(network__queueing=queueing).check()
    uplink.but(adversaries=[at_all]).check()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (
            {"faults": [{"kind": "outage", "region": "Mars"}]},
            "faults.0.region: 'Mars' is not allowed: this network's nodes are in AP,",
        ),
        (
            {"faults": [{"kind": "crash", "nodes": [1]}, {"kind": "partition", "regions": ["EU", "Mars"]}]},
            "faults.1.regions: 'Mars'",
        ),
        ({"adversaries": [{"kind": "drop", "region": "Virginia", "own": True}]}, "adversaries.0.region: 'Virginia'"),
        ({"faults": [{"kind": "outage", "region": "EU"}], "network": "ideal"}, "faults.0.region: 'EU' is not allowed: this"),
    ],
)
def test_regions_that_there_are_not_are_found_before_a_run(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        ds.Scenario(**{"network": "internet", **fields}).check()
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize("how", [Flood(), Push(), Pull(), PushPull(), GossipSub(d=2, d_low=1, d_high=2), BlockRelay()], ids=repr)
def test_dissemination_protocols_send_the_kinds_that_they_say(how: Dissemination) -> None:
    w = internet(40, topology=SmallWorld(degree=6), loss=0.05)
    spread = how.start(w, 3)
    for item in range(3):
        w.clock.at(3.1 * item, spread.publish, item, 1000)
    w.run(30)
    assert how.kinds is not None
    assert set(w.trace.traffic().kind) == set(how.kinds)
    assert set(how.relays) <= set(how.kinds)


def test_kinds_that_were_not_sent_are_warned_of_where_they_cannot_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_FAMILIES, "dissemination", dict(_FAMILIES["dissemination"]))

    class Whisper(Flood, kind="whisper"):
        """A flood that does not say what it sends."""

        kinds = None  # type: ignore[assignment]

    scenario = ds.Scenario(
        nodes=10,
        topology="ring",
        protocol=ds.protocols.Broadcast(dissemination=Whisper(), items=1, interval_s=5),
        adversaries=[Drop(share=0.1), Selective(share=0.1, kinds=["item", "blocks"])],
    )
    with pytest.warns(RuntimeWarning, match=r"^adversaries\.1\.kinds: no message of kind blocks was sent$"):
        ds.run(scenario, progress=False)


def test_nodes_say_which_adversary_they_are() -> None:
    run = ds.run(
        ds.Scenario(
            nodes=10,
            topology="ring",
            protocol=ds.protocols.Broadcast(items=1, interval_s=5),
            adversaries=[Drop(nodes=[3, 5]), Delay(nodes=[5])],
        ),
        progress=False,
    )
    marked = {3: "drop", 5: "drop, delay"}
    assert [kind if isinstance(kind, str) else None for kind in run.nodes.adversary] == [marked.get(node) for node in range(10)]
    assert not run.nodes.byzantine.any()
    assert np.flatnonzero(run.replay().states(0.0) & palette.BYZANTINE).tolist() == [3, 5]  # triangles on the map


def test_what_goes_to_the_server_is_held_up_and_dropped_too() -> None:
    for adversaries, arrival in (([Delay(nodes=[0], delay_s=5, own=True)], [6.0]), ([Selective(nodes=[0], victims=[-1])], [])):
        w, arrived = steady(2, None, *adversaries), []
        w.links.send(0, -1, 1, "reply", lambda: arrived.append(w.clock.now))  # noqa: B023
        w.links.send(-1, 0, 1, "task", int)
        w.run()
        assert arrived == arrival
        assert w.trace.traffic().set_index("kind").delivered["task"] == 1


def outcomes(p: float, number: int = 0, **options: Any) -> list[str]:
    """What becomes of 400 messages that nodes 0 and 1 send to each other, of two kinds."""
    w = world(2, network=Wires([8e6] * 3, [8e6] * 3, 1.0, **options))
    Drop(nodes=[0, 1], p=p, own=True).install(w, number)
    box = w.bulk.open(lambda arrivals: None, anyone=True)
    for t in range(100):
        for kind in ("a", "b"):
            w.clock.at(float(t // 5), w.bulk.send, box, [float(t // 5)] * 2, [0, 1], [1, 0], 10, kind, [t, t])
    w.run()
    messages = w.trace.messages().sort_values(["src", "kind", "t_sent_s"], kind="stable")
    return messages.outcome.astype(str).tolist()


def test_messages_are_dropped_with_their_probability_and_more_of_the_same_if_it_is_higher() -> None:
    few, many = (np.array(outcomes(p)) == "lost" for p in (0.2, 0.6))
    # 400 draws: standard deviations of 8 and 10.
    assert few.sum() == pytest.approx(80, abs=25)
    assert many.sum() == pytest.approx(240, abs=30)
    assert (many | ~few).all()
    for half in (slice(0, 100), slice(100, 200), slice(200, 300), slice(300, 400)):  # of each sender and kind
        assert few[half].sum() == pytest.approx(20, abs=13)
    assert (few[:100] != few[100:200]).any()
    assert (few != (np.array(outcomes(0.2, number=1)) == "lost")).any()
    assert (np.array(outcomes(1.0)) == "lost").all()


def test_the_same_are_dropped_one_by_one_and_many_at_once() -> None:
    assert outcomes(0.5) == outcomes(0.5, chunk_bytes=1 << 40)


# -- through block relay and a mesh -----------------------------------------------------------------------------------------

DETOUR = Given(edges=((0, 1), (1, 2), (0, 3), (3, 4), (4, 2)))
"""From 0 to 2 through 1, or the longer way through 3 and 4."""


def test_announcing_without_delivering_costs_the_timeout() -> None:
    relay = BlockRelay(processing_s=0.0, one_at_a_time=False, timeout_s=120)
    # Each hop is an announcement, a request and the block: 3 s.
    assert delays(steady(5, DETOUR), 0, relay) == [0, 3, 6, 3, 6]
    # Somebody silent is passed over: 2 hears of it from 4.
    assert delays(steady(5, DETOUR, Drop(nodes=[1])), 0, relay) == [0, 3, 9, 3, 6]
    assert delays(steady(5, DETOUR, Drop(nodes=[1], own=True)), 0, relay) == [0, NEVER, 9, 3, 6]
    # 2 asks 1 at 4 s, and 4 when it has waited for 120 s.
    assert delays(steady(5, DETOUR, Selective(nodes=[1], kinds=["block"])), 0, relay) == [0, 3, 126, 3, 6]
    # Of the first three messages one, a request, is 1's, of the next three two.
    assert delays(steady(5, DETOUR, Delay(nodes=[1], delay_s=1.0)), 0, relay) == [0, 3, 6 + 2, 3, 6]
    assert delays(steady(5, DETOUR, Delay(nodes=[1], delay_s=1.0, own=True)), 0, relay) == [0, 3 + 1, 6 + 1 + 2, 3, 6]


def test_a_mesh_recovers_what_its_links_drop_by_gossip() -> None:
    # Who is cut off from the mesh by those who pass nothing on hears of it with the next heartbeat, at 6 s, and asks for it.
    took = {}
    for kinds in (["nothing"], ["item"]):
        w = internet(60, Selective(share=0.4, kinds=kinds), topology=SmallWorld(degree=16))
        spread = GossipSub(d=3, d_low=2, d_high=4).start(w, 1)
        w.run(5.01)
        spread.publish(min(set(range(60)) - set(Selective(share=0.4, kinds=kinds).chosen(w))), 1000)
        w.run(30)
        took[kinds[0]] = spread.delays_s(0)
    assert took["nothing"].max() < 0.99
    assert (took["item"] > 0.99).any()
    assert took["item"].max() < 3


def test_hubs_that_are_silent_do_more_harm_than_random_nodes() -> None:
    reached = {}
    for by in ("random", "degree", "betweenness"):
        adversary, n = Drop(share=0.1, by=by), 300
        shares = []
        for seed in range(5):
            w = internet(n, adversary, topology=BarabasiAlbert(m=2), seed=seed, jitter=0.01)
            origin = min(set(range(n)) - set(adversary.chosen(w)))
            shares.append(np.isfinite(delays(w, origin)).mean())
        reached[by] = np.mean(shares)
    assert reached["random"] > 0.85
    assert max(reached["degree"], reached["betweenness"]) < reached["random"] - 0.2


# -- eclipse ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), attackers=st.sets(st.integers(5, 29), min_size=1), victims=st.sets(st.integers(0, 9), min_size=1))
def test_all_links_of_victims_lead_to_attackers(seed: int, attackers: set[int], victims: set[int]) -> None:
    topology = SmallWorld(degree=6)
    calm = world(30, topology=topology, seed=seed)
    eclipse = Eclipse(nodes=tuple(attackers), victims=tuple(victims))
    if attackers <= victims:
        with pytest.raises(ScenarioError, match=r"^adversaries.0.nodes: .* all of them are victims"):
            hostile(calm, eclipse)
        return
    w = hostile(world(30, topology=topology, seed=seed), eclipse)
    before, after = (wiring.as_graph(each.graph) for each in (calm, w))
    attackers -= victims
    for victim in victims:
        assert set(after[victim]) <= attackers
        assert after.degree(victim) == min(before.degree(victim), len(attackers))
    others = set(range(30)) - victims
    assert set(after.subgraph(others).edges) == set(before.subgraph(others).edges)
    assert w.rewired
    assert not calm.rewired


def test_the_eclipsed_hear_and_say_nothing() -> None:
    attackers = Eclipse(share=0.2, victims=[7]).chosen(world(30))
    spread = published(steady(30, SmallWorld(degree=6), Eclipse(share=0.2, victims=[7])), 0)
    assert np.flatnonzero(np.isinf(spread.delays_s(0))).tolist() == [7]
    mine = published(steady(30, SmallWorld(degree=6), Eclipse(share=0.2, victims=[7])), 7)
    assert np.flatnonzero(np.isfinite(mine.delays_s(0))).tolist() == [7]
    assert 7 not in attackers


def test_the_eclipsed_hear_late() -> None:
    eclipse = Eclipse(share=0.2, victims=[7], delay_s=30)
    late = published(steady(30, SmallWorld(degree=6), eclipse), 0)
    w = steady(30, SmallWorld(degree=6), eclipse)
    neighbours = list(wiring.as_graph(w.graph)[7])
    took = late.delays_s(0)
    assert took[7] == took[neighbours].min() + 1 + 30
    assert np.delete(took, 7).max() < 10
    said = published(w, 7).delays_s(0)
    assert (said[neighbours] == 31).all()


def test_an_eclipsed_node_needs_links() -> None:
    with pytest.raises(ScenarioError, match=r"^adversaries.0.victims: \[0\] is not allowed: this world's nodes have no links"):
        hostile(world(5), Eclipse(nodes=[1], victims=[0]))


# -- Sybils -----------------------------------------------------------------------------------------------------------------


def test_identities_share_the_rates_of_their_machine() -> None:
    # A megabyte at a megabyte a second, and a second of latency.
    w = steady(6, None, Sybil(nodes=[0, 1, 2, 3], machines=2, behaviour="honest"), bps=8e6)
    arrived: dict[tuple[int, int], float] = {}
    for src, dst in ((0, 4), (5, 1), (4, 5)):
        w.links.send(src, dst, 1_000_000, "x", lambda src=src, dst=dst: arrived.setdefault((src, dst), w.clock.now))
    w.run()
    assert arrived == {(0, 4): 3.0, (5, 1): 3.0, (4, 5): 2.0}
    calm = steady(6, None)
    assert (np.array(w.flops_per_s) / calm.flops_per_s).tolist() == [0.5] * 4 + [1.0] * 2


def test_other_slowdowns_come_on_top_and_go() -> None:
    w = steady(2, None, Sybil(share=1.0, behaviour="honest"), bps=8e6)
    SlowLinks(nodes=[0], factor=3, at_s=10, for_s=50).install(w)
    took: list[float] = []
    for t in (0.0, 20.0, 100.0):
        w.clock.at(t, w.links.send, 0, 1, 1_000_000, "x", lambda t=t: took.append(w.clock.now - t))
    w.run()
    assert took == [3.0, 7.0, 3.0]


def test_identities_of_a_machine_stand_in_one_place() -> None:
    n, sybil = 40, Sybil(share=0.5, machines=3, behaviour="honest")
    calm, w = internet(n), internet(n, sybil)
    who = sybil.chosen(w)
    other = np.setdiff1d(np.arange(n), who)
    far = np.r_[other, -1]

    def to_others(of: World, node: int) -> tuple[float, ...]:
        return tuple(of.paths.bases_s(np.full(len(far), node), far).tolist())

    places: dict[tuple[float, ...], list[int]] = {}
    for node in who:
        places.setdefault(to_others(w, node), []).append(node)
    assert sorted(map(len, places.values())) == [6, 7, 7]
    for latencies, members in places.items():
        host = [node for node in members if to_others(calm, node) == latencies]
        assert len(host) == 1  # they moved to one of them, who stayed
        assert set(w.paths.regions[members]) == {calm.paths.regions[host[0]]}
        near = w.paths.bases_s(np.full(len(members) - 1, members[0]), np.array(members[1:]))
        assert (near == calm.paths.least_s()).all()
    for node in other:
        assert to_others(w, node) == to_others(calm, node)
    assert (w.paths.regions[far] == calm.paths.regions[far]).all()
    src, dst = np.random.default_rng(0).integers(-1, n, (2, 300))
    assert [w.paths.base_s(a, b) for a, b in zip(src.tolist(), dst.tolist(), strict=True)] == pytest.approx(
        w.paths.bases_s(src, dst), rel=1e-12
    )
    assert w.paths.least_s() == calm.paths.least_s()


def test_silent_identities_listen() -> None:
    assert delays(steady(8, Ring(), Sybil(nodes=[1, 5])), 0) == [0, 1, NEVER, NEVER, NEVER, 3, 2, 1]
    assert delays(steady(8, Ring(), Sybil(nodes=[1, 5], behaviour="honest")), 0) == [0, 1, 2, 3, 4, 3, 2, 1]


def test_identities_may_have_more_links() -> None:
    calm, w = steady(30, Ring()), steady(30, Ring(), Sybil(share=0.2, extra_links=5))
    who = set(Sybil(share=0.2).chosen(calm))
    before, after = (wiring.as_graph(each.graph) for each in (calm, w))
    new = set(after.edges) - set(before.edges)
    assert set(before.edges) <= set(after.edges)
    assert all(len({a, b} & who) == 1 for a, b in new)
    for node in who:
        assert 3 <= sum(node in link for link in new) <= 5  # up to two there were already
    everybody = steady(4, Ring(), Sybil(nodes=[0], extra_links=99))
    assert set(wiring.as_graph(everybody.graph)[0]) == {1, 2, 3}


# -- flooding ---------------------------------------------------------------------------------------------------------------


def junk(w: World) -> tuple[int, int]:
    row = w.trace.traffic().set_index("kind").loc["junk"]
    return int(row["messages"]), int(row["bytes"])


def test_junk_fills_the_victims_queue() -> None:
    # 1 MB/s. Four attackers send 100 kB each every 0.2 s, for 10 s: 50 times 0.4 s of work, the first piece there after 1 s.
    flooding = Flooding(nodes=[1, 2, 3, 4], victims=[0, 4], nbytes=100_000, per_s=5, for_s=10)
    w, arrived = steady(8, None, flooding, bps=8e6, queueing="both"), {}
    for t, dst in ((9.9, 0), (60.0, 0), (9.9, 6)):
        w.clock.at(t, w.links.send, 7, dst, 100_000, "x", lambda t=t, dst=dst: arrived.setdefault((t, dst), w.clock.now))
    w.run()
    assert arrived[9.9, 6] == pytest.approx(9.9 + 0.2 + 1)  # after what 7 has sent to 0
    assert arrived[9.9, 0] == pytest.approx(1 + 20 + 0.1)
    assert arrived[60.0, 0] == pytest.approx(61.1)
    assert junk(w) == (50 * 7, 50 * 7 * 100_000)  # 4 sends none to itself
    assert w.links.bytes_up[:5] == [0, *[10_000_000] * 3, 5_000_000]
    assert w.links.bytes_down[0] == 20_000_000 + 200_000


def test_junk_to_all_neighbours_delays_what_is_real() -> None:
    # 1 MB/s; at 0 a megabyte to each of two neighbours: what 0 passes on from 2 to 1 waits until 2, and takes 1 s.
    w = steady(3, Given(edges=((0, 1), (0, 2))), Flooding(nodes=[0], nbytes=1_000_000, per_s=1, for_s=1), bps=8e6)
    spread = Flood().start(w, 1)
    spread.publish(2, 1)
    w.run()
    assert spread.delays_s(0).tolist() == pytest.approx([1, 3, 0], abs=1e-5)
    assert junk(w) == (2, 2_000_000)


def test_junk_begins_and_ends_and_none_comes_from_who_is_away() -> None:
    wires = Wires([math.inf] * 4, [math.inf] * 4, 1.0)
    w = world(3, network=wires, churn=Absences({1: [4.5, 3.0, math.inf]}), topology=Ring())
    hostile(w, Flooding(nodes=[1, 2], victims=[0], per_s=1, at_s=2, for_s=7))
    w.run()
    messages = w.trace.messages()
    assert messages[messages.src == 2].t_sent_s.tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert messages[messages.src == 1].t_sent_s.tolist() == [2, 3, 4, 8]


def test_who_has_no_neighbours_cannot_flood_them() -> None:
    with pytest.raises(ScenarioError, match=r"^adversaries.0.victims: None is not allowed"):
        hostile(world(5), Flooding(nodes=[1]))
    hostile(world(5), Flooding(nodes=[1], victims=[-1])).run()


# -- in a world with others -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "adversary",
    [
        Drop(share=0.2, p=0.5),
        Delay(share=0.2),
        Selective(share=0.2, kinds=["x"]),
        Flooding(share=0.2, per_s=3, for_s=5),
        Eclipse(share=0.2, victims=[0]),
        Sybil(share=0.2, extra_links=2),
    ],
    ids=lambda adversary: adversary.kind,
)
def test_messages_between_others_are_as_if_there_were_none(adversary: Adversary) -> None:
    def history(*adversaries: Adversary) -> Any:
        w = internet(30, *adversaries, topology=SmallWorld(degree=4), loss=0.1)
        for t in range(8):
            for node in range(30):
                w.clock.at(float(t), w.links.send, node, (node + 7 * t + 1) % 30, 10_000, "x", int)
        w.run(30)
        messages, who = w.trace.messages().drop(columns="kind"), Drop(share=0.2).chosen(w)
        return messages[~messages.src.isin(who) & ~messages.dst.isin(who)].reset_index(drop=True)

    calm, mine = history(), history(adversary)
    assert len(mine) > 100
    assert mine.equals(calm)


def test_an_adversary_that_does_nothing_changes_nothing() -> None:
    # Its event names what no calm run names: draws must not depend on which names there have been.
    calm, watched = (internet(30, *a, topology=SmallWorld(degree=4), loss=0.1) for a in ((), [Selective(share=0.5, kinds=["-"])]))
    assert delays(calm, 0, BlockRelay()) == delays(watched, 0, BlockRelay())


def test_who_they_are_is_in_the_trace() -> None:
    w = hostile(world(10, topology=STAR), Drop(share=0.1, by="degree"), Delay(nodes=[4, 2]))
    events = w.trace.events()
    events = events[events.kind == "adversary"]
    assert list(events.drop(columns="kind").itertuples(index=False, name=None)) == [
        (0.0, 0, "drop"),
        (0.0, 2, "delay"),
        (0.0, 4, "delay"),
    ]


def test_placement_is_drawn_for_each_and_follows_rewiring() -> None:
    w = world(100)
    assert Drop(share=0.2).chosen(w) == Delay(share=0.2).chosen(w)
    assert Drop(share=0.2).chosen(w) != Drop(share=0.2).chosen(w, number=1)
    w = internet(100)
    assert set(w.paths.regions[Drop(region="EU", share=0.5).chosen(w)]) == {"EU"}
    # An identity with links to all others is the one with the most.
    w = hostile(world(30, topology=Ring()), Sybil(nodes=[17], extra_links=29), Drop(share=0.05, by="degree"))
    assert w.trace.events().query("detail == 'drop'").node.tolist() == [17]


def test_heartbeats_of_sybils_come_from_where_their_machine_is() -> None:
    # They come and go together, so that when they are struck off differs by how long their heartbeats travel.
    def apart_s(*adversaries: Adversary) -> float:
        both = Absences({node: [0, 0.5, 35.0, math.inf] for node in (0, 1)})
        w = world(2, network=Internet(), churn=both)
        hostile(w, *adversaries)
        w.run(40)
        return abs(w.membership.lapses_s(1) - w.membership.lapses_s(0))

    assert apart_s() > 1e-3
    assert apart_s(Sybil(nodes=[0, 1])) == 0.0


def test_it_is_too_late_to_rewire_links_in_use() -> None:
    w = world(5, topology=Ring())
    Flood().start(w, 1).publish(0, 10)
    with pytest.raises(RuntimeError, match="too late"):
        w.rewire(lambda graph: graph)


# -- in a scenario ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adversary", "complaint"),
    [
        (Drop(nodes=[20]), "adversaries.0.nodes: 20 is not allowed: nodes are numbered from 0 to 19"),
        (Drop(nodes=[-1]), "adversaries.0.nodes: -1 is not allowed: nodes are numbered from 0 to 19"),
        (Drop(share=0.01), "adversaries.0.share: 0.01 is not allowed: of 20 nodes that is none"),
        (Selective(share=0.5, victims=[20]), "adversaries.0.victims: 20 is not allowed: nodes are numbered from 0 to 19, -1 is"),
        (Flooding(share=0.5, victims=[-2]), "adversaries.0.victims: -2 is not allowed: nodes are numbered from 0 to 19, -1 is"),
        (Eclipse(share=0.5, victims=[-1]), "adversaries.0.victims: -1 is not allowed: nodes are numbered from 0 to 19"),
        (Eclipse(nodes=[3], victims=[3, 4]), "adversaries.0.nodes: [3] is not allowed: all of them are victims"),
        (Sybil(nodes=[3, 4], machines=3), "adversaries.0.machines: 3 is not allowed: there are only 2 identities"),
        (Sybil(share=0.1, machines=3), "adversaries.0.machines: 3 is not allowed: there are only 2 identities"),
    ],
    ids=repr,
)
def test_what_does_not_suit_a_scenario_is_refused_in_one_line_before_it_runs(adversary: Adversary, complaint: str) -> None:
    scenario = ds.Scenario(nodes=20, adversaries=[adversary], protocol={"kind": "broadcast", "items": 1})
    with pytest.raises(ScenarioError) as caught:
        scenario.check()
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("adversary", "complaint"),
    [
        (Drop(region="Mars"), "adversaries.0.region: 'Mars' is not allowed: this network's nodes are in "),
        (Drop(share=0.5, by="cut"), "adversaries.0.by: 'cut' is not allowed: this world's nodes have no links among them"),
        (Sybil(region="EU", machines=999), "adversaries.0.machines: 999 is not allowed: there are only "),
        (Eclipse(region="EU", victims=list(range(50))), "adversaries.0.victims: [0, "),
    ],
    ids=repr,
)
def test_what_does_not_suit_a_world_is_refused_in_one_line(adversary: Adversary, complaint: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        internet(50, adversary)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "fields", "complaint"),
    [
        ("drop", {}, "say which nodes"),
        ("drop", {"nodes": [1], "share": 0.5}, "nodes says it all"),
        ("drop", {"share": 0.5, "p": 0}, "adversaries.1.p: 0 is not allowed: input should be greater than 0"),
        ("delay", {"share": 0.5, "delay_s": -1}, "adversaries.1.delay_s: -1 is not allowed: input should be greater than 0"),
        ("selective", {"share": 0.5}, "say which messages"),
        ("selective", {"share": 0.5, "kinds": []}, "adversaries.1.kinds: "),
        ("flooding", {"share": 0.5, "for_s": None}, "adversaries.1.for_s: None is not allowed"),
        ("flooding", {"share": 0.5, "nbytes": 0}, "adversaries.1.nbytes: 0 is not allowed"),
        ("eclipse", {"share": 0.5}, "adversaries.1.victims: "),
        ("sybil", {"share": 0.5, "machines": 0}, "adversaries.1.machines: 0 is not allowed"),
        ("sybil", {"share": 0.5, "behaviour": "loud"}, "adversaries.1.behaviour: 'loud' is not allowed"),
        ("sibyl", {"share": 0.5}, "did you mean 'sybil'?"),
    ],
)
def test_scenarios_refuse_it_by_name(kind: str, fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ds.Scenario(adversaries=[{"kind": "drop", "share": 0.1}, {"kind": kind, **fields}])
    line = explain(caught.value)
    assert line.startswith("adversaries.1")
    assert complaint in line
    assert "\n" not in line


def test_adversaries_go_through_yaml_and_back() -> None:
    import yaml

    adversaries = [Drop(share=0.2, p=0.5), Eclipse(region="EU", victims=[3]), Sybil(share=0.1, by="degree", machines=2)]
    scenario = ds.Scenario(nodes=50, adversaries=adversaries)
    assert scenario.adversaries == tuple(adversaries)
    assert ds.Scenario.model_validate(yaml.safe_load(scenario.to_yaml())).id == scenario.id
    assert scenario.id != ds.Scenario(nodes=50).id


def test_a_run_with_adversaries() -> None:
    base = ds.Scenario(
        nodes=40, network="internet", topology=SmallWorld(degree=6), protocol={"kind": "broadcast", "items": 3, "interval_s": 30}
    )
    calm, eclipsed = (ds.run(s, progress=False) for s in (base, base.but(adversaries=[Eclipse(share=0.1, victims=[5])])))
    assert calm.propagation().reached.tolist() == [40] * 3
    assert set(eclipsed.propagation().reached) <= {39, 1}
    assert (eclipsed.events.kind == "adversary").sum() == 4
    attackers = set(eclipsed.events[eclipsed.events.kind == "adversary"].node)
    graph = eclipsed.scenario.graph()
    assert wiring.as_graph(eclipsed.scenario.csr()).adj == graph.adj
    assert set(graph[5]) == attackers  # the map shows what the run has seen
    assert set(graph.edges) != set(calm.scenario.graph().edges)
    messages = eclipsed.messages[eclipsed.messages.dst == 5]
    assert set(messages.src) <= attackers
    assert not eclipsed.nodes.byzantine.any()


def test_learning_without_a_server_goes_along_the_rewired_links() -> None:
    scenario = ds.Scenario(
        nodes=8,
        task="digits",
        topology="ring",
        protocol={"kind": "dpsgd", "rounds": 1},
        adversaries=[Eclipse(nodes=[4, 5], victims=[0], delay_s=1.0)],
    )
    messages = ds.run(scenario, progress=False).messages
    assert set(messages[messages.dst == 0].src) == {4, 5}


def test_a_federation_with_silent_clients() -> None:
    protocol = {"kind": "federated", "rounds": 2, "fraction": 1, "deadline_s": 30}
    base = ds.Scenario(nodes=10, task="digits", network="internet", protocol=protocol)
    run = ds.run(base.but(adversaries=[Drop(share=0.3, own=True)]), progress=False)
    assert run.rounds.n_replied.tolist() == [7, 7]
