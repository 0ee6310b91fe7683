"""What goes wrong: crashes, partitions, slow links, outages, takedowns, floods."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import decai_sim as ds
from decai_sim.errors import ScenarioError, explain
from decai_sim.seeding import Streams
from decai_sim.world import (
    Crash,
    DoS,
    Exponential,
    Fault,
    Ideal,
    Internet,
    Mix,
    Outage,
    Partition,
    SlowDevices,
    SlowLinks,
    Takedown,
)
from decai_sim.world.faults import install_all
from decai_sim.world.placement import halves
from decai_sim.world.topologies import Given, Ring, SmallWorld, TwoCliques
from decai_sim.world.world import World
from tests.world.worlds import Absences, Wires, world

STAR = Given(edges=tuple((0, i) for i in range(1, 10)))


def struck(w: World, *faults: Fault) -> World:
    install_all(faults, w)
    return w


def internet(n: int, topology: Any = None, seed: int = 1) -> World:
    return World(n, Internet(), None, Mix(laptop=1), Streams(seed), topology)


def away(w: World) -> list[int]:
    """Who is offline, the server as −1."""
    return [node if node < w.n else -1 for node, here in enumerate(w.nodes.online) if not here]


def notes(w: World) -> list[tuple[float, int, str]]:
    events = w.trace.events()
    events = events[events.kind == "fault"]
    return list(events[["t_s", "node", "detail"]].itertuples(index=False, name=None))


def exchange(w: World, at_s: float, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Which of the messages sent at ``at_s`` arrive."""
    arrived: list[tuple[int, int]] = []
    w.run(at_s - 1e-9)
    for src, dst in pairs:
        w.clock.at(at_s, w.links.send, src, dst, 1, "x", arrived.append, (src, dst))
    w.run(at_s + 5)
    return arrived


# -- crashes ----------------------------------------------------------------------------------------------------------------


def test_a_crash_by_hand() -> None:
    w = struck(world(4), Crash(nodes=[2, -1, 0, 2], at_s=10, for_s=5), Crash(nodes=[1], at_s=12))
    at = {}
    for t in (9.9, 10.0, 12.0, 14.9, 15.0, 1000.0):
        w.run(t)
        at[t] = away(w)
    assert at == {9.9: [], 10.0: [0, 2, -1], 12.0: [0, 1, 2, -1], 14.9: [0, 1, 2, -1], 15.0: [1], 1000.0: [1]}
    assert notes(w) == [(10.0, -1, "crash of 3"), (12.0, -1, "crash of 1"), (15.0, -1, "recovery of 3")]


def test_what_a_crashed_node_was_doing_is_lost() -> None:
    w, done = struck(world(2), Crash(nodes=[0], at_s=10, for_s=1)), []
    w.compute(0, 20 * w.flops_per_s[0], "work", lambda: done.append("work"))
    w.run()
    assert done == []
    assert "job_lost" in set(w.trace.events().kind)


def test_crashes_that_overlap_hold_a_node_until_the_last_has_ended() -> None:
    w = struck(world(1), Crash(nodes=[0], at_s=1, for_s=4), Crash(nodes=[0], at_s=2, for_s=6))
    w.run(7.9)
    assert away(w) == [0]
    w.run(8)
    assert away(w) == []
    assert w.nodes.left_s[0] == 1.0
    assert w.nodes.session[0] == 1


def test_a_crash_over_churn() -> None:
    # By itself node 0 is away 5-20: when the crash ends at 12 it stays away.
    w = struck(world(2, churn=Absences({0: [5.0, 15.0, math.inf]})), Crash(nodes=[0, 1], at_s=2, for_s=10))
    w.run(12)
    assert away(w) == [0]
    w.run()
    assert away(w) == []


# -- whom -------------------------------------------------------------------------------------------------------------------


def test_a_share_is_that_many_at_random() -> None:
    w = world(100)
    chosen = Crash(share=0.29).chosen(w)
    assert len(set(chosen)) == 29
    assert chosen == sorted(chosen) == Crash(share=0.29).chosen(w)
    assert chosen != Crash(share=0.29).chosen(w, number=1)  # another fault draws for itself
    assert chosen != Crash(share=0.29).chosen(world(100, seed=1))
    assert max(chosen) > 70 > 30 > min(chosen)


def test_a_region_and_a_share_of_it() -> None:
    w = internet(200)
    there = np.flatnonzero(w.paths.regions[:-1] == "EU").tolist()
    assert 80 < len(there) < 120
    assert Crash(region="EU").chosen(w) == there
    half = Crash(region="EU", share=0.5).chosen(w)
    assert len(half) == len(there) // 2
    assert set(half) < set(there)


def test_hubs_and_ends_of_the_cut() -> None:
    assert Crash(share=0.1, by="degree").chosen(world(10, topology=STAR)) == [0]
    assert Crash(share=0.1, by="betweenness").chosen(world(10, topology=STAR)) == [0]
    assert Crash(share=0.1, by="cut").chosen(world(20, topology=TwoCliques())) == [9, 10]


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (Crash(nodes=[20]), "faults.0.nodes: 20 is not allowed: nodes are numbered from 0 to 19, -1 is the server"),
        (Crash(nodes=[-2]), "faults.0.nodes: -2 is not allowed: nodes are numbered from 0 to 19, -1 is the server"),
        (Crash(share=0.01), "faults.0.share: 0.01 is not allowed: of 20 nodes that is none"),
        (Crash(region="Mars"), "faults.0.region: 'Mars' is not allowed: this network's nodes are in EU, NA"),
        (Crash(region="NA", share=0.001), "faults.0.share: 0.001 is not allowed: of the 9 nodes of NA that is none"),
        (Crash(share=0.5, by="degree"), "faults.0.by: 'degree' is not allowed: this world's nodes have no links among them"),
        (Outage(region="Mars"), "faults.0.region: 'Mars' is not allowed: this network's nodes are in EU, NA"),
        (Partition(regions=["Mars"]), "faults.0.regions: 'Mars' is not allowed: this network's nodes are in EU, NA"),
        (Partition(by="groups", groups=[[0, 31]]), "faults.0.groups: 31 is not allowed: nodes are numbered from 0 to 19, -1"),
        (Partition(by="cut"), "faults.0.by: 'cut' is not allowed: this world's nodes have no links among them"),
        (Partition(regions=["EU", "NA"]), "faults.0.by: 'region' is not allowed: all nodes would be in one part"),
    ],
    ids=repr,
)
def test_what_cannot_happen_is_refused_in_one_line(fault: Fault, complaint: str) -> None:
    w = internet(20)
    w.paths.regions[:] = ["NA"] * 9 + ["EU"] * 12
    with pytest.raises(ScenarioError) as caught:
        struck(w, fault)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "fields", "complaint"),
    [
        ("crash", {}, "say which nodes"),
        ("crash", {"nodes": [1], "share": 0.5}, "nodes says it all"),
        ("crash", {"region": "EU", "by": "degree"}, "chooses a share of all nodes"),
        ("crash", {"share": 0.0}, "greater than 0"),
        ("crash", {"share": 0.5, "at_s": -1}, "greater than or equal to 0"),
        ("crash", {"share": 0.5, "for_s": 0}, "greater than 0"),
        ("slow_links", {"share": 0.5, "factor": 0.5}, "greater than or equal to 1"),
        ("partition", {"by": "groups"}, "go together"),
        ("partition", {"groups": [[0]]}, "go together"),
        ("partition", {"by": "groups", "groups": [[0, 1], [1]]}, "node 1 is there twice"),
        ("partition", {"by": "cut", "regions": ["EU"]}, "regions goes with"),
        ("takedown", {"share": 0.5, "orders": 0}, "greater than or equal to 1"),
        ("dos", {"share": 0.5, "rate_bps": 0}, "greater than 0"),
    ],
)
def test_scenarios_refuse_it_by_name(kind: str, fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ds.Scenario(faults=[{"kind": "crash", "share": 0.1}, {"kind": kind, **fields}])
    line = explain(caught.value)
    assert line.startswith("faults.1")
    assert complaint in line
    assert "\n" not in line


# -- partitions -------------------------------------------------------------------------------------------------------------

PAIRS = [(0, 1), (1, 2), (2, 3), (0, 3), (-1, 0), (2, -1)]


def test_a_partition_by_hand() -> None:
    # 0, 1 | 2, 3 with the server.
    w = struck(world(4), Partition(by="groups", groups=[[0, 1], [2, 3, -1]], at_s=10, for_s=20))
    assert exchange(w, 5, PAIRS) == PAIRS
    assert exchange(w, 15, PAIRS) == [(0, 1), (2, 3), (2, -1)]
    assert exchange(w, 40, PAIRS) == PAIRS
    assert notes(w) == [(10.0, -1, "partition into 2"), (30.0, -1, "partition healed")]


def test_nodes_not_named_are_together_and_the_server_is_with_most() -> None:
    w = world(7)
    assert Partition(by="groups", groups=[[5], [6]]).parts(w) == [0, 0, 0, 0, 0, 1, 2, 0]
    assert Partition(by="groups", groups=[[2, 3, 4, 5, 6]]).parts(w) == [0, 0, 1, 1, 1, 1, 1, 1]


def test_partitions_that_overlap() -> None:
    w = world(4)
    struck(
        w,
        Partition(by="groups", groups=[[0, 1, -1]], at_s=10, for_s=30),  # 0 1 S | 2 3
        Partition(by="groups", groups=[[0, 3, -1]], at_s=20, for_s=40),  # 0 3 S | 1 2
    )
    assert exchange(w, 12, PAIRS) == [(0, 1), (2, 3), (-1, 0)]
    assert exchange(w, 30, PAIRS) == [(-1, 0)]
    assert exchange(w, 50, PAIRS) == [(1, 2), (0, 3), (-1, 0)]
    assert exchange(w, 70, PAIRS) == PAIRS


def test_regions_fall_apart() -> None:
    w = internet(60)
    regions = w.paths.regions
    parts = np.array(Partition().parts(w))
    assert len(set(parts.tolist())) == len(set(regions.tolist()))
    for region in set(regions.tolist()):
        assert len(set(parts[regions == region].tolist())) == 1
    parts = np.array(Partition(regions=["NA", "SA"]).parts(w))
    assert (parts == np.isin(regions, ["NA", "SA"])).all()


def test_a_cut_splits_two_cliques_at_their_bridge() -> None:
    w = world(20, topology=TwoCliques())
    parts = Partition(by="cut").parts(w)
    assert {tuple(parts[:10]), tuple(parts[10:20])} == {(0,) * 10, (1,) * 10}


def crossing(topology: Any, n: int) -> tuple[int, int]:
    """How many nodes are in the first part of a partition by cut, and how many links lead from one to the other."""
    w = world(n, topology=topology)
    part = np.array(Partition(by="cut").parts(w)[:-1])
    ends = np.array(topology.build(n, 0).edges)
    return int((part == 0).sum()), int((part[ends[:, 0]] != part[ends[:, 1]]).sum())


def together(*graphs: nx.Graph) -> Given:
    return Given.of(nx.disjoint_union_all(graphs))


def test_a_network_in_parts_is_cut_between_them_where_that_makes_halves() -> None:
    # 8 | 6 6: whichever of the sixes loses two to the eight, at one of its ends, loses one link.
    paths = together(*(nx.path_graph(size) for size in (8, 6, 6)))
    assert crossing(paths, 20) == (10, 1)
    assert crossing(together(*(nx.complete_graph(size) for size in (7, 5, 5, 3))), 20) == (10, 0)
    assert crossing(together(nx.complete_graph(6), nx.complete_graph(4), nx.path_graph(10)), 20) == (10, 0)
    # A part larger than half gives up as many as make halves, here those behind its bridge.
    bell = nx.disjoint_union(nx.complete_graph(10), nx.complete_graph(4))
    bell.add_edge(9, 10)
    assert crossing(together(nx.complete_graph(6), bell), 20) == (10, 1)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=9).filter(lambda sizes: max(sizes) > 1))
def test_halves_are_halves_and_at_most_one_part_is_split(sizes: list[int]) -> None:
    n, topology = sum(sizes), together(*(nx.cycle_graph(size) if size > 2 else nx.path_graph(size) for size in sizes))
    first = ~halves(topology.csr(n, 0))
    assert first.sum() == n // 2
    begins = np.cumsum([0, *sizes])
    mixed = [0 < first[a:b].sum() < b - a for a, b in itertools.pairwise(begins.tolist())]
    assert sum(mixed) <= 1


def test_ends_of_the_cut_are_those_of_the_largest_part() -> None:
    cliques = nx.disjoint_union(TwoCliques().build(20, 0), nx.cycle_graph(6))
    assert Crash(share=0.08, by="cut").chosen(world(26, topology=Given.of(cliques))) == [9, 10]


def test_a_cut_of_a_ring_has_two_links() -> None:
    w = world(30, topology=Ring())
    parts = Partition(by="cut").parts(w)
    assert sum(parts[:-1]) == 15
    assert sum(parts[i] != parts[(i + 1) % 30] for i in range(30)) == 2


def test_a_partition_keeps_heartbeats_from_the_server() -> None:
    # Struck off two missed heartbeats of 30 s after the last that came, heard again within 30 s of its healing.
    w = struck(world(4), Partition(by="groups", groups=[[0, 1], [2, 3, -1]], at_s=100, for_s=200))
    seen = {}
    for t in (99, 129, 161, 299, 331):
        w.clock.at(float(t), int)
        w.run(float(t))
        seen[t] = w.membership.listed().tolist()
    assert seen == {99: [0, 1, 2, 3], 129: [0, 1, 2, 3], 161: [2, 3], 299: [2, 3], 331: [0, 1, 2, 3]}


# -- slow links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [SlowLinks(share=0.5), DoS(share=0.5)], ids=repr)
def test_what_would_have_no_effect_is_refused(fault: Fault) -> None:
    with pytest.raises(ScenarioError, match=r"^faults\.0\.kind: '(slow_links|dos)' is not allowed: this network has n"):
        install_all([fault], World(5, Ideal(), None, Mix(laptop=1), Streams(1)))


def test_slow_links_by_hand() -> None:
    # A megabyte at a megabyte a second and half a second of latency; slowed 4 and 10 times; and twice more in between.
    w = world(3, network=Wires([8e6] * 4, [math.inf] * 4, 0.5))
    struck(
        w,
        SlowLinks(nodes=[0], factor=4, lag=10, at_s=10, for_s=30),
        SlowLinks(nodes=[0], factor=2, at_s=20, for_s=20.5),
    )
    took = []
    for t in (5.0, 12.0, 30.0, 40.2, 60.0):
        w.clock.at(t, w.links.send, 0, 1, 1_000_000, "x", lambda t=t: took.append(round(w.clock.now - t, 9)))
    w.clock.at(12.0, w.links.send, 1, 2, 1_000_000, "x", lambda: took.append("other"))
    w.run()
    assert took == [1.5, "other", 9.0, 2.5, 13.0, 1.5]
    assert [detail for *_, detail in notes(w)] == ["slow links of 1"] * 2 + ["links of 1 as before"] * 2


# -- outages and takedowns --------------------------------------------------------------------------------------------------


def test_an_outage_takes_a_region_and_the_server_in_it() -> None:
    w = struck(internet(50), Outage(region="EU", at_s=10, for_s=5), Outage(region="NA", at_s=12, for_s=1, server=False))
    europe, america = (np.flatnonzero(w.paths.regions[:-1] == region).tolist() for region in ("EU", "NA"))
    w.run(11)
    assert away(w) == [*europe, -1]
    w.run(12.5)
    assert away(w) == [*sorted(europe + america), -1]
    w.run(20)
    assert away(w) == []


def test_a_server_that_was_away_sees_its_nodes_again_and_forgets_who_left() -> None:
    w = struck(world(3), Crash(nodes=[-1], at_s=100, for_s=300), Crash(nodes=[2], at_s=150))
    w.clock.at(390.0, int)
    w.clock.at(431.0, int)
    w.run(390)
    assert w.membership.listed().tolist() == []
    w.run(431)
    assert w.membership.listed().tolist() == [0, 1]


def test_takedowns_come_in_lots_hubs_first() -> None:
    w = struck(
        world(10, topology=Given(edges=((0, 1), (0, 2), (0, 3), (0, 4), (5, 6), (5, 7), (5, 8), (8, 9), (4, 9)))),
        Takedown(share=0.4, by="degree", orders=2, every_s=60, at_s=10),
    )
    w.run(10)
    assert away(w) == [0, 5]
    w.run(70)
    assert len(away(w)) == 4
    assert set(away(w)) <= {0, 5, 4, 8, 9}
    w.run(1e6)
    assert len(away(w)) == 4
    assert notes(w) == [(10.0, -1, "takedown of 2, order 1 of 2"), (70.0, -1, "takedown of 2, order 2 of 2")]


def test_takedowns_at_random_are_not_in_the_order_of_numbers() -> None:
    w = struck(world(100), Takedown(share=0.5, orders=5, every_s=10))
    before: set[int] = set()
    lots = []
    for i in range(5):
        w.run(10.0 * i)
        lots.append(sorted(set(away(w)) - before))
        before = set(away(w))
    assert [len(lot) for lot in lots] == [10] * 5
    assert all(max(lot) - min(lot) > 40 for lot in lots)


# -- floods -----------------------------------------------------------------------------------------------------------------


def test_a_flood_delays_others_by_hand() -> None:
    # 8 Mbit/s; junk of 16 Mbit/s from 10 s for 10 s: each second two seconds' worth enter the queue.
    w = struck(world(3, network=Wires([8e6] * 4, [math.inf] * 4)), DoS(nodes=[0], rate_bps=16e6, at_s=10, for_s=10, tick_s=0.1))
    arrived = {}
    for t in (5.0, 15.05, 60.0):
        w.clock.at(t, w.links.send, 0, 1, 1_000_000, "x", lambda t=t: arrived.setdefault(t, w.clock.now))
    w.clock.at(15.05, w.links.send, 1, 2, 1_000_000, "x", lambda: arrived.setdefault("other", w.clock.now))
    w.run()
    assert arrived[5.0] == pytest.approx(6.0)
    # By 15.05 there came 51 pieces of 0.2 s: busy until 10 + 10.2, and then the message's own second.
    assert arrived[15.05] == pytest.approx(21.2)
    assert arrived["other"] == pytest.approx(16.05)
    assert arrived[60.0] == pytest.approx(61.0)
    assert [(t, detail) for t, _, detail in notes(w)] == [(10.0, "flood of 1"), (20.0, "end of the flood of 1")]


@pytest.mark.parametrize("queueing", ["both", "fair"])
def test_a_flood_fills_download_queues_where_there_are_any(queueing: str) -> None:
    # 10 s worth of junk for the receiver, in one piece, just before 1 MB is sent to it at 8 Mbit/s.
    network = Wires([math.inf] * 4, [8e6] * 4, queueing=queueing)
    flood = DoS(nodes=[1], rate_bps=80e6, at_s=1, for_s=1, tick_s=1)
    w, arrived = struck(world(3, network=network), flood), []
    w.clock.at(1.2, w.links.send, 0, 1, 1_000_000, "x", lambda: arrived.append(w.clock.now))
    w.clock.at(1.2, w.links.send, 0, 2, 1_000_000, "x", lambda: arrived.append(w.clock.now))
    w.run()
    # In a queue it waits until 11 s; side by side both get half: 2 s for the message.
    assert arrived == pytest.approx([2.2, 12.0 if queueing == "both" else 3.2])


def test_floods_and_slow_links_that_could_do_nothing_are_refused() -> None:
    free = world(3, network=Wires([math.inf] * 4, [8e6] * 4, 0.1))
    with pytest.raises(ScenarioError, match="no queue of these nodes could fill"):
        DoS(nodes=[0]).install(free)
    some = world(3, network=Wires([math.inf, 8e6, 8e6, 8e6], [math.inf, 8e6, 8e6, 8e6]))
    SlowLinks(nodes=[1]).install(some)
    with pytest.raises(ScenarioError, match=r"factor: 10\.0 is not allowed"):
        SlowLinks(nodes=[0]).install(some)


def test_slow_devices_take_longer_from_then_on_and_not_for_good() -> None:
    w = world(2)
    before, took = list(w.flops_per_s), []
    for at_s in (0.0, 10.0, 30.0, 50.0):
        w.clock.at(at_s, lambda at_s=at_s: w.compute(0, before[0], "work", lambda: took.append(w.clock.now - at_s)))
    SlowDevices(nodes=[0], factor=3, at_s=5, for_s=40).install(w)
    SlowDevices(nodes=[0], factor=2, at_s=20, for_s=20).install(w)
    w.run(35)
    assert w.flops_per_s == [before[0] / 6, before[1]]
    w.run(60)
    assert took == pytest.approx([1, 3, 6, 1])
    assert w.flops_per_s == before
    with pytest.raises(ScenarioError, match="nodes: -1 is not allowed: what the server computes takes no time"):
        SlowDevices(nodes=[-1]).install(w)


def test_a_flood_below_the_rate_leaves_the_rest() -> None:
    # Junk takes 4 of 8 Mbit/s: twenty messages of 100 kB, in ticks that are short beside them, take about twice 2 s.
    w = struck(world(2, network=Wires([8e6] * 3, [math.inf] * 3)), DoS(nodes=[0], rate_bps=4e6, for_s=100, tick_s=0.01))
    arrived: list[float] = []

    def one(left: int) -> None:
        arrived.append(w.clock.now)
        if left:
            w.links.send(0, 1, 100_000, "x", one, left - 1)

    w.clock.at(10.0, one, 20)
    w.run(50)
    assert arrived[-1] - 10.0 == pytest.approx(4.0, rel=0.1)


def test_no_flood_without_an_end() -> None:
    with pytest.raises(ValidationError):
        DoS(nodes=[0], for_s=None)


# -- in a scenario ----------------------------------------------------------------------------------------------------------


def test_faults_go_through_yaml_and_back() -> None:
    faults = [Crash(share=0.2, at_s=5), Partition(regions=["EU"], for_s=60), DoS(nodes=[-1])]
    scenario = ds.Scenario(nodes=50, faults=faults)
    assert scenario.faults == tuple(faults)
    assert ds.Scenario.model_validate(scenario.to_config()) == scenario
    import yaml

    assert ds.Scenario.model_validate(yaml.safe_load(scenario.to_yaml())).id == scenario.id


def test_a_scenario_with_a_node_too_many_is_refused_before_it_runs() -> None:
    scenario = ds.Scenario(nodes=10, task="digits", faults=[Crash(nodes=[3]), Crash(nodes=[10])])
    with pytest.raises(ScenarioError, match=r"^faults\.1\.nodes: 10 is not allowed"):
        scenario.check()


def test_a_run_with_faults() -> None:
    base = ds.Scenario(
        nodes=10,
        task="digits",
        network="internet",
        topology=SmallWorld(degree=4),
        protocol={"kind": "federated", "rounds": 3, "fraction": 1, "deadline_s": 30},
    )
    calm, struck_run = (
        ds.run(s, progress=False) for s in (base, base.but(faults=[{"kind": "crash", "share": 0.3, "at_s": 0.3}]))
    )
    assert calm.trace_digest != struck_run.trace_digest
    assert (struck_run.events.kind == "fault").sum() == 1
    assert (struck_run.nodes.online_s < 0.31).sum() == 3
    assert struck_run.rounds.n_replied.iloc[-1] == 7
    assert calm.rounds.n_replied.iloc[-1] == 10


def test_faults_leave_the_draws_of_churn_alone() -> None:
    def churned(*faults: Fault) -> list[Any]:
        w = struck(world(30, churn=Exponential(mean_online_s=100, mean_offline_s=50), seed=4), *faults)
        w.run(1000)
        events = w.trace.events()
        events = events[(events.detail == "") & (events.node >= 20)]
        return list(events[["t_s", "node", "kind"]].itertuples(index=False, name=None))

    assert churned() == churned(Crash(nodes=list(range(20)), at_s=100, for_s=300))


# -- what it does to who can reach whom ------------------------------------------------------------------------------------


def broadcast(*faults: Fault, **changes: Any) -> ds.Run:
    protocol = {"kind": "broadcast", "items": 2, "interval_s": 50}
    return ds.run(ds.Scenario(faults=faults, protocol=protocol, **({"nodes": 12, "topology": "ring"} | changes)), progress=False)


def reach(run: ds.Run, *times_s: float) -> list[tuple[int, float, float]]:
    return list(run.reachability(times_s)[["online", "largest", "pairs"]].itertuples(index=False, name=None))


def test_reachability_of_a_partitioned_ring_by_hand(tmp_path: Path) -> None:
    # 12 nodes in a ring, five and seven of them next to each other, between 10 s and 30 s.
    run = broadcast(Partition(by="groups", groups=[[0, 1, 2, 3, 4]], at_s=10, for_s=20))
    whole, parted = (12, 1.0, 1.0), (12, 7 / 12, pytest.approx((5 * 4 + 7 * 6) / (12 * 11)))
    for one in (run, ds.Run.load(run.save(tmp_path))):
        assert reach(one, 0, 9.9, 10, 29.9, 30, 100) == [whole, whole, parted, parted, whole, whole]


def test_reachability_under_partitions_that_overlap_and_nodes_that_go() -> None:
    run = broadcast(
        Partition(by="groups", groups=[[0, 1, 2, 3, 4, 5]], at_s=10, for_s=30),  # 0-5 | 6-11
        Partition(by="groups", groups=[[3, 4, 5, 6, 7, 8]], at_s=20, for_s=50),  # 0-2 9-11 | 3-8
        Takedown(nodes=[1, 7], at_s=30),
    )
    # Largest: all; a half; 0-2 as others; 3-5 without 1 and 7; 9-0, or 3-6; 8-0, or 2-6.
    assert [largest * online for online, largest, _ in reach(run, 5, 15, 25, 35, 45, 75)] == pytest.approx([12, 6, 3, 3, 4, 5])
    moved = run.events[run.events.kind == "part"]
    assert moved[moved.node == 0].empty
    assert moved[moved.node == 11][["t_s", "detail"]].to_numpy().tolist()[0] == [10.0, "part 1"]


def test_reachability_of_an_outage_and_of_a_cut_against_networkx() -> None:
    changes = {"nodes": 60, "network": "internet", "topology": SmallWorld(degree=4), "seed": 2}
    for fault in (
        Outage(region="EU", at_s=10, for_s=20),
        Partition(by="cut", at_s=10, for_s=20),
        Partition(at_s=10, for_s=20),
        Takedown(share=0.5, by="degree", at_s=10),
    ):
        run = broadcast(fault, **changes)
        graph, region = run.scenario.graph(), run.nodes.region.tolist()
        if isinstance(fault, Outage):
            graph.remove_nodes_from([node for node in range(60) if region[node] == "EU"])
        elif isinstance(fault, Takedown):
            gone = run.events[(run.events.kind == "offline") & (run.events.t_s == 10)].node.tolist()
            assert len(gone) == 30
            graph.remove_nodes_from(gone)
        else:
            w = World(60, Internet(), None, Mix(laptop=1), Streams(2), SmallWorld(degree=4))
            part = fault.parts(w)
            graph.remove_edges_from([(a, b) for a, b in graph.edges if part[a] != part[b]])
        sizes, n = [len(each) for each in nx.connected_components(graph)], len(graph)
        pairs = sum(size * (size - 1) for size in sizes) / (n * (n - 1))
        assert reach(run, 5, 20) == [(60, 1.0, 1.0), (n, max(sizes) / n, pytest.approx(pairs))]
        assert pairs < 1
