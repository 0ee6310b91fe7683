"""Links that change: by rounds, and by Cyclon, whose views stay valid, even and connected; and what colluders make of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decai_sim as ds
from decai_sim.errors import ScenarioError
from decai_sim.seeding import Streams
from decai_sim.world import Crash, Eclipse, Exponential, Internet, Mix, Sybil, Topology, graphs
from decai_sim.world.dissemination import BlockRelay, Dissemination, Flood, GossipSub, Push, PushPull
from decai_sim.world.overlay import Cyclon, LiveCyclon
from decai_sim.world.topologies import OnePeerExponential, PeerSampling, RandomEachRound, RandomRegular, Ring, wiring
from decai_sim.world.world import World
from tests.world.worlds import Absences, Wires, world


def valid(overlay: Cyclon | LiveCyclon) -> None:
    """Nobody knows himself, or another twice."""
    for node, view in enumerate(overlay.views.tolist()):
        known = [other for other in view if other >= 0]
        assert node not in known
        assert len(known) == len(set(known))
        assert all(other < len(overlay.views) for other in known)


@given(n=st.integers(1, 30), view=st.integers(1, 8), seed=st.integers(0, 99), data=st.data())
def test_views_stay_valid_whatever_happens(n: int, view: int, seed: int, data: st.DataObject) -> None:
    overlay = Cyclon(n, view=view, shuffle=data.draw(st.integers(1, view)), seed=seed)
    for _ in range(6):
        online = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
        before = overlay.views.copy()
        overlay.step(online)
        valid(overlay)
        assert (overlay.views[~online] == before[~online]).all()  # who is away learns nothing
        assert (overlay.ages >= 0).all()


def test_full_views_stay_full_and_in_degrees_narrow() -> None:
    overlay = Cyclon(2000, view=20, shuffle=8)
    spread = []
    for _ in range(31):
        matrix = overlay.csr()
        assert (np.diff(matrix.indptr) == 20).all()
        spread.append(matrix.sum(axis=0).std())
        overlay.step()
    # Random views: binomial, standard deviation √20 = 4.5. Cyclon's are narrower, the more so the less is exchanged at a time.
    assert spread[0] == pytest.approx(np.sqrt(20), rel=0.1)
    assert max(spread[15:]) < 0.75 * np.sqrt(20)
    few = Cyclon(2000, view=20, shuffle=3)
    for _ in range(40):
        few.step()
    assert few.csr().sum(axis=0).std() < 0.55 * np.sqrt(20)


def test_views_are_like_random_graphs_even_from_a_bad_start() -> None:
    n = 500
    overlay = Cyclon(n, view=10, shuffle=5)
    overlay.views = (np.arange(n)[:, None] + np.arange(1, 11)) % n  # everybody knows the next ten
    near = graphs.clustering(wiring.union(overlay.csr()))
    for _ in range(60):
        overlay.step()
    mixed = wiring.union(overlay.csr())
    assert near > 0.6
    assert graphs.clustering(mixed) < 0.08  # random graph: 20/500 = 0.04
    assert graphs.diameter(mixed) <= 4  # was 25


def test_half_may_go_without_parting_the_rest() -> None:
    n = 2000
    overlay = Cyclon(n, view=20, shuffle=8)
    for _ in range(20):
        overlay.step()
    alive = np.random.default_rng(1).random(n) < 0.5
    assert graphs.components(wiring.union(overlay.csr()), alive).tolist() == [alive.sum()]


def test_the_dead_are_forgotten_and_views_fill_again() -> None:
    n = 1000
    overlay = Cyclon(n, view=20, shuffle=8)
    for _ in range(15):
        overlay.step()
    alive = np.random.default_rng(1).random(n) < 0.5
    dead_links = []
    for _ in range(45):
        known = overlay.views[alive]
        dead_links.append(int((~alive[known[known >= 0]]).sum()))
        overlay.step(alive)
    assert dead_links[0] == pytest.approx(alive.sum() * 10, rel=0.1)
    assert (np.diff(dead_links) <= 0).all()  # the dead are asked, never recommended to more than have forgotten them
    assert dead_links[35] < 0.02 * dead_links[0]  # one is asked a cycle, and each is copied on meanwhile
    assert dead_links[-1] == 0
    assert graphs.components(wiring.union(overlay.csr()), alive)[0] == alive.sum()
    assert (overlay.views[alive] >= 0).all()  # what was forgotten has been replaced


def test_who_comes_back_is_known_again() -> None:
    n = 300
    overlay = Cyclon(n, view=10, shuffle=5)
    away = np.arange(n) >= 30
    for _ in range(40):
        overlay.step(away)
    assert not np.isin(overlay.views[30:], np.arange(30)).any()
    for _ in range(15):
        overlay.step()
    known = np.bincount(overlay.views[overlay.views >= 0], minlength=n)
    assert (known[:30] > 0).all()


def test_who_knows_nobody_any_more_is_given_contacts() -> None:
    overlay = Cyclon(20, view=3, shuffle=2)
    overlay.views[4] = -1
    overlay.step()
    assert (overlay.views[4] >= 0).any()
    valid(overlay)


def test_the_same_seed_gives_the_same_overlay() -> None:
    one, same, other = (Cyclon(100, view=6, shuffle=3, seed=seed) for seed in (1, 1, 2))
    for overlay in (one, same, other):
        for _ in range(5):
            overlay.step()
    assert (one.views == same.views).all()
    assert (one.views != other.views).any()


@pytest.mark.parametrize(("view", "shuffle", "message"), [(0, 1, "view: 0 is not allowed"), (4, 5, "shuffle: 5 is not allowed")])
def test_views_and_shuffles_that_cannot_be(view: int, shuffle: int, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Cyclon(10, view=view, shuffle=shuffle)


# -- colluders --------------------------------------------------------------------------------------------------------------


def infested(share: float, cycles: int, n: int = 1000, seed: int = 1) -> tuple[Cyclon, list[float]]:
    """An overlay with that share of colluders, and their share of honest views before each cycle."""
    colluding = np.random.default_rng(seed).permutation(n) < share * n
    overlay, captured = Cyclon(n, view=20, shuffle=8, seed=seed, colluding=colluding), []
    for _ in range(cycles):
        captured.append(overlay.captured())
        overlay.step()
    return overlay, captured


def test_colluders_fill_the_views_of_others() -> None:
    _, captured = infested(0.1, 60)
    assert captured[0] == pytest.approx(0.1, abs=0.01)
    # In a cycle an honest node asks one other and is asked by about one, a colluder one time in ten; of its 20 contacts it then
    # exchanges 8, nine tenths of them honest ones, for colluders.
    assert captured[1] == pytest.approx(0.1 + 2 * 0.1 * 8 / 20 * 0.9, abs=0.02)
    assert captured[20] > 0.8
    assert captured[-1] > 0.999
    assert (np.diff(captured) > -0.01).all()


def test_the_more_collude_the_sooner() -> None:
    few, some, many = (np.array(infested(share, 40)[1]) for share in (0.02, 0.1, 0.3))
    assert (few[1:] < some[1:]).all()
    assert (some[1:35] < many[1:35]).all()


def test_views_stay_valid_among_colluders() -> None:
    for share in (0.005, 0.3, 1.0):  # fewer of them than are sent, many, and nobody else
        overlay, captured = infested(share, 12, n=200)
        valid(overlay)
        assert (overlay.views >= 0).all()
        assert np.isnan(captured[0]) == (share == 1.0)


def test_nothing_is_drawn_for_colluders_where_there_are_none() -> None:
    plain, empty = Cyclon(200, seed=3), Cyclon(200, seed=3, colluding=np.zeros(200, bool))
    for _ in range(10):
        plain.step()
        empty.step()
    assert (plain.views == empty.views).all()
    assert plain.captured() == 0.0


def test_colluders_that_cannot_be() -> None:
    with pytest.raises(ScenarioError, match=r"^colluding: shape \(3,\) is not allowed: must be \(4,\)$"):
        Cyclon(4, view=2, shuffle=1, colluding=np.zeros(3, bool))


# -- links that change while a world runs -----------------------------------------------------------------------------------

VARYING = [RandomEachRound(degree=4, period_s=2.0), OnePeerExponential(period_s=2.0), PeerSampling(period_s=2.0)]


def steady(n: int, topology: Topology, latency_s: float = 0.1, churn: Any = None, seed: int = 0) -> World:
    """A world whose every message takes ``latency_s``."""
    rates = [math.inf] * (n + 1)
    return world(n, network=Wires(rates, rates, latency_s), churn=churn, seed=seed, topology=topology)


def same(a: Any, b: Any) -> bool:
    return bool((a != b).nnz == 0)


def at(w: World, topology: Topology, k: int) -> Any:
    return topology.at(w.n, w.streams.integer("topology") % 2**32, k)


@pytest.mark.parametrize("topology", VARYING[:2], ids=lambda topology: topology.kind)
def test_a_world_s_links_are_those_of_its_round(topology: Topology) -> None:
    w = steady(16, topology)
    assert same(w.contacts, at(w, topology, 0))
    w.use_links()
    for k in range(5):
        for t_s in (2.0 * k, 2.0 * k + 1.9):
            w.run(t_s)
            assert same(w.contacts, at(w, topology, k))
            assert same(w.graph, wiring.union(at(w, topology, k)))
            assert list(zip(w.wiring.src.tolist(), w.wiring.dst.tolist(), strict=True)) == list(
                zip(*map(np.ndarray.tolist, at(w, topology, k).nonzero()), strict=True)
            )
    assert not same(at(w, topology, 0), at(w, topology, 1))


def test_links_that_stay_stay_the_same_object() -> None:
    w = steady(16, RandomRegular(degree=4))
    before = w.graph, w.wiring
    w.run(100)
    assert (w.graph, w.wiring) == before
    assert w.contacts is w.graph
    assert w.overlay is None
    assert w.clock.idle


def test_one_peer_a_round_reaches_twice_as_many_each_round() -> None:
    # Round k: everybody who has it sends it 2^k places on; 16 nodes have it after the 4th, sent at 3 s. On the links of round 0
    # alone, one more would get it a round.
    w = steady(16, OnePeerExponential(period_s=1.0))
    spread = Push(peers="neighbours").start(w)
    item = spread.publish(5, 100)
    counts = []
    for second in range(5):
        w.run(second + 0.5)
        counts.append(int(np.isfinite(spread.reached_s[item]).sum()))
    assert counts == [2, 4, 8, 16, 16]
    assert spread.delays_s(item).max() == pytest.approx(3.1)


@pytest.mark.parametrize("topology", VARYING[:2], ids=lambda topology: topology.kind)
@pytest.mark.parametrize("how", [Flood(), Push(peers="neighbours"), GossipSub()], ids=lambda how: how.kind)
def test_messages_go_along_the_links_of_the_moment(topology: Topology, how: Dissemination) -> None:
    w = steady(32, topology)
    spread = how.start(w)
    for second in range(12):
        w.clock.at(second + 0.5, spread.publish, 2 * second, 100)
    w.run(14)
    messages = w.trace.messages()
    if how.kind == "gossipsub":  # what was asked for goes back to whoever asked
        messages = messages[messages["kind"].isin(["graft", "prune", "ihave"])]
    rounds = (messages["t_sent_s"] // 2.0).astype(int)
    assert rounds.nunique() >= 6
    for k, sent in messages.groupby(rounds):
        links = at(w, topology, k).toarray()
        assert links[sent["src"], sent["dst"]].all()


def test_what_is_under_way_when_links_change_arrives() -> None:
    w = steady(16, RandomEachRound(degree=4, period_s=1.0), latency_s=3.0)
    spread = Flood().start(w)
    w.run(0.9)
    item = spread.publish(0, 100)
    first = w.contacts[[0]].indices
    w.run(3.95)
    assert set(np.flatnonzero(np.isfinite(spread.reached_s[item]))) == {0, *first.tolist()}
    w.run(30)
    sent = w.trace.messages()
    assert (sent["outcome"] == "delivered").all()
    second = sent[sent["t_sent_s"].between(3, 4)]  # passed on at 3.9 s: along the links of that round
    assert len(second)
    assert at(w, RandomEachRound(degree=4), 3).toarray()[second["src"], second["dst"]].all()


def test_what_adversaries_rewire_is_rewired_in_every_round() -> None:
    w = steady(40, RandomEachRound(degree=4, period_s=1.0))
    Eclipse(nodes=list(range(10, 20)), victims=[0, 1]).install(w)
    w.use_links()
    known = []
    for k in range(4):
        w.run(k + 0.5)
        for victim in (0, 1):
            neighbours = set(w.contacts[[victim]].indices.tolist())
            assert len(neighbours) == 4
            assert neighbours <= set(range(10, 20))
        known.append(tuple(w.contacts[[0]].indices.tolist()))
        calm = at(w, RandomEachRound(degree=4), k).toarray()
        assert (w.contacts.toarray()[2:10, 20:] == calm[2:10, 20:]).all()
    assert len(set(known)) == 1  # victims see no change: the attackers are the same ones
    with pytest.raises(RuntimeError, match="too late to rewire"):
        w.rewire(lambda graph: graph)


def test_links_of_identities_are_added_to_directed_rounds() -> None:
    w = steady(16, OnePeerExponential(period_s=1.0))
    Sybil(nodes=[3], behaviour="honest", extra_links=2).install(w)
    w.use_links()
    w.run(1.5)
    calm = at(w, OnePeerExponential(), 1).toarray()
    more = w.contacts.toarray() - calm
    assert (more >= 0).all()
    assert set(map(tuple, np.argwhere(more))) <= {(a, b) for a in range(16) for b in range(16) if 3 in (a, b)}
    assert (more.sum(), more[3].sum()) in ((4, 2), (3, 1), (3, 2))  # one of them may be its link of the round already


def test_a_mesh_keeps_those_of_its_links_that_are_still_there() -> None:
    class Turning(Topology, kind="turning"):
        """A ring, and chords that change; for this test."""

        time_varying = True
        period_s: float = 1.0

        def csr(self, n: int, seed: int) -> Any:
            return self.at(n, seed, 0)

        def at(self, n: int, seed: int, server_round: int) -> Any:
            nodes = np.arange(n)
            ring = (nodes + 1) % n
            chords = (nodes + 2 + server_round % 3) % n
            return wiring.from_links(n, np.append(nodes, nodes), np.append(ring, chords))

    w = steady(30, Turning(), latency_s=0.01)
    how = GossipSub(d=3, d_low=2, d_high=4, heartbeat_s=10.0)  # nothing is mended before 10 s
    spread = how.start(w)

    def mesh() -> set[tuple[int, int]]:
        spread.protocol.spread(spread, *(np.zeros(0, dtype=np.int64),) * 4)  # looks at the links there are
        state = spread.state
        assert state.wiring is w.wiring
        return set(zip(state.wiring.src[state.links].tolist(), state.wiring.dst[state.links].tolist(), strict=True))

    w.run(0.5)
    before = mesh()
    w.run(1.5)
    links = set(zip(w.wiring.src.tolist(), w.wiring.dst.tolist(), strict=True))
    assert mesh() == before & links
    assert 0 < len(before & links) < len(before)
    w.run(10.5)
    assert np.bincount([a for a, _ in mesh()], minlength=30).min() >= 2  # the next heartbeat grafts others


@pytest.mark.parametrize("topology", VARYING, ids=lambda topology: topology.kind)
@pytest.mark.parametrize("how", [Flood(), PushPull(peers="neighbours"), GossipSub(), BlockRelay()], ids=lambda how: how.kind)
def test_the_same_in_one_run_and_in_many_steps(topology: Topology, how: Dissemination) -> None:
    def history(steps: int) -> str:
        churn = Exponential(mean_online_s=30, mean_offline_s=10)
        w = World(40, Internet(loss=0.05), churn, Mix(phone=1.0), Streams(7), topology)
        spread = how.start(w, 4)
        for k in range(4):
            w.clock.at(4.0 * k + 1.99, lambda: w.nodes.online[0] and spread.publish(0, 20_000))
        for step in range(1, steps + 1):
            w.run(20 * step / steps)
        assert len(w.trace.messages()) > 5
        return w.trace.digest()

    assert history(1) == history(101)


@pytest.mark.parametrize("topology", VARYING, ids=lambda topology: topology.kind)
def test_links_rest_while_nobody_is_there_and_go_on_in_the_right_round(topology: Topology) -> None:
    gone = Absences({node: [5.0, 20.0] if node < 2 else [5.0] for node in range(8)})
    w = steady(8, topology, churn=gone)
    w.use_links()
    w.run(25.5)
    if not isinstance(topology, PeerSampling):
        assert same(w.contacts, at(w, topology, 12))
    w.run(31)
    if isinstance(topology, PeerSampling):
        assert w.overlay.views[0].max() == 1  # the two who are back know each other, and nobody else
    else:
        assert same(w.contacts, at(w, topology, 15))


def test_a_world_left_by_all_comes_to_its_end() -> None:
    for topology in VARYING:
        w = steady(4, topology, churn=Absences({node: [5.0] for node in range(4)}))
        w.use_links()
        w.run()  # ends
        assert w.clock.now < 20


@pytest.mark.parametrize("topology", VARYING, ids=lambda topology: topology.kind)
def test_links_that_nobody_uses_cost_nothing(topology: Topology) -> None:
    w = steady(8, topology)
    assert w.graph.nnz
    assert w.clock.idle
    w.use_links()
    assert not w.clock.idle


# -- Cyclon in a world ------------------------------------------------------------------------------------------------------


def live(n: int, period_s: float = 10.0, view: int = 8, shuffle: int = 4, seed: int = 1, churn: Any = None) -> World:
    return steady(n, PeerSampling(view=view, shuffle=shuffle, period_s=period_s), churn=churn, seed=seed)


def live_internet(
    n: int, period_s: float, view: int = 8, shuffle: int = 4, seed: int = 1, churn: Any = None, **how: Any
) -> World:
    topology = PeerSampling(view=view, shuffle=shuffle, period_s=period_s)
    return World(n, Internet(**how), churn, Mix(laptop=1), Streams(seed), topology)


@settings(max_examples=8)
@given(n=st.integers(1, 25), view=st.integers(1, 6), seed=st.integers(0, 99), loss=st.sampled_from([0.0, 0.2]), data=st.data())
def test_live_views_stay_valid_whatever_happens(n: int, view: int, seed: int, loss: float, data: st.DataObject) -> None:
    churn = Exponential(mean_online_s=20, mean_offline_s=10)
    # A period so short that letters cross turns.
    w = live_internet(n, 0.5, view, data.draw(st.integers(1, view)), seed, churn, loss=loss)
    if n > 3 and data.draw(st.booleans()):
        Eclipse(nodes=[1, 2], victims=[0]).install(w)
    w.use_links()
    overlay = w.overlay
    assert isinstance(overlay, LiveCyclon)
    for k in range(12):
        w.run(0.5 * k + 0.1 * (k % 5))
        valid(overlay)
        assert (overlay.ages >= 0).all()
    # The links are the views as they were at the last turn: nobody links to itself, and nobody to more than it may know.
    assert w.contacts.diagonal().sum() == 0
    assert np.diff(w.contacts.indptr).max() <= max(min(view, n - 1), 0)


def test_a_run_begins_with_the_overlay_of_round_0() -> None:
    w = live(60)
    topology = PeerSampling(view=8, shuffle=4)
    assert same(w.contacts, at(w, topology, 0))
    assert same(w.graph, topology.csr(60, w.streams.integer("topology") % 2**32))
    w.use_links()
    w.run(9.9)
    assert same(w.contacts, at(w, topology, 0))
    w.run(25)
    assert not same(w.contacts, at(w, topology, 0))
    # What one world's overlay has become is not where another one begins.
    assert same(live(60).contacts, at(w, topology, 0))


def test_every_shuffle_is_a_message_and_its_answer() -> None:
    w = live(50)
    w.use_links()
    w.run(35)
    assert (w.overlay.views >= 0).all()
    traffic = w.trace.traffic().set_index("kind")
    assert traffic["messages"].to_dict() == {"shuffle": 150, "shuffle_reply": 150}
    assert (traffic["bytes"] == 150 * (40 + 4 * 12)).all()
    assert sum(w.links.bytes_up) == 2 * 150 * 88
    messages = w.trace.messages()
    asked = messages[messages["kind"] == "shuffle"]
    assert sorted(asked["src"]) == sorted(list(range(50)) * 3)  # each once a period
    assert set(asked["t_sent_s"]) == {10.0, 20.0, 30.0}
    answers = messages[messages["kind"] == "shuffle_reply"]
    assert sorted(zip(asked["src"], asked["dst"], strict=True)) == sorted(zip(answers["dst"], answers["src"], strict=True))


def test_who_is_asked_is_who_has_been_known_longest() -> None:
    w = live(50)
    w.use_links()
    w.run(9.9)
    oldest = w.overlay.ages.max(axis=1)
    known, ages = w.overlay.views.copy(), w.overlay.ages.copy()
    w.run(10.0)
    for node, asked in enumerate(w.overlay.asked.tolist()):
        assert ages[node][known[node] == asked] == oldest[node]


def test_live_views_are_as_even_as_those_of_the_theory() -> None:
    w = live(1000, view=20, shuffle=8)
    w.use_links()
    w.run(305)
    overlay = w.overlay
    assert (overlay.views >= 0).all()
    known = np.bincount(overlay.views.ravel(), minlength=1000)
    assert known.std() < 0.75 * math.sqrt(20)  # of random views √20; see the test of Cyclon above
    assert graphs.clustering(w.graph) < 0.08  # of a random graph 40/1000


def test_half_of_the_nodes_go_and_the_others_repair_their_views() -> None:
    # Views of 8: who is gone is asked within 8 periods, unless somebody has passed it on meanwhile.
    w = live(500)
    w.use_links()
    w.run(55)
    Crash(share=0.5, at_s=56).install(w)
    w.run(57)
    there = np.array(w.nodes.online[:500])
    dead = []
    for k in range(25):
        w.run(65 + 10 * k)
        known = w.overlay.views[there]
        dead.append(int((~there[known[known >= 0]]).sum()))
        assert graphs.components(w.graph, there).tolist() == [250]  # never apart
    assert dead[0] > 800
    assert (np.diff(dead) <= 0).all()
    assert dead[-1] == 0
    assert (w.overlay.views[there] >= 0).all()
    assert not w.contacts[there][:, ~there].nnz


def test_who_comes_back_joins_through_one_contact_and_is_soon_known() -> None:
    w = live(200)
    away = list(range(20))
    Crash(nodes=away, at_s=35, for_s=400).install(w)
    w.use_links()
    w.run(436)
    assert not np.isin(w.overlay.views[20:], away).any()  # forgotten
    assert (w.overlay.views[:20] == -1).all()  # they begin anew
    w.run(440)
    assert (np.diff(w.contacts.indptr)[:20] == 1).all()
    assert (w.contacts[:20].indices < 200).all()
    w.run(536)
    known = np.bincount(w.overlay.views[w.overlay.views >= 0], minlength=200)
    assert (known[:20] > 0).all()
    assert (w.overlay.views[:20] >= 0).sum(axis=1).min() >= 6


def test_lost_shuffles_make_nodes_forget_the_living_yet_stay_together() -> None:
    w = live_internet(100, 10.0, loss=0.2)
    w.use_links()
    w.run(205)
    assert (w.overlay.views >= 0).sum(axis=1).mean() > 4
    assert len(graphs.components(w.graph, np.ones(100, dtype=bool))) == 1


def test_the_same_seed_gives_the_same_live_overlay() -> None:
    views = []
    for seed in (1, 1, 2):
        w = live(80, seed=seed, churn=Exponential(mean_online_s=60, mean_offline_s=20))
        w.use_links()
        w.run(205)
        views.append(w.overlay.views.copy())
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()


# -- eclipse ----------------------------------------------------------------------------------------------------------------


def eclipsed(hostile: bool, attackers: int = 20, delay_s: float | None = None, until_s: float = 500) -> tuple[World, list[float]]:
    w, victims = live(200), [0, 1]
    theirs = list(range(100, 100 + attackers))
    if hostile:
        Eclipse(nodes=theirs, victims=victims, delay_s=delay_s).install(w)
    w.use_links()
    captured = []
    for k in range(int(until_s // 10)):
        w.run(10.0 * k + 5)
        captured.append(w.overlay.captured(victims, theirs))
    return w, captured


def test_attackers_fill_the_views_of_their_victims_and_of_nobody_else() -> None:
    w, captured = eclipsed(True)
    assert captured[0] < 0.3
    assert np.mean(captured[5:15]) > 0.7
    assert min(captured[40:]) == 1.0
    others = np.setdiff1d(np.arange(200), [0, 1, *range(100, 120)])
    assert w.overlay.captured(others, range(100, 120)) < 0.2  # 20 of 199
    assert not np.isin(w.overlay.views[others], [0, 1]).any()  # whom the others have forgotten
    calm, before = eclipsed(False)
    assert max(before) < 0.4
    assert np.isin(calm.overlay.views[others], [0, 1]).any()


def test_the_fewer_attackers_the_less_they_hold() -> None:
    held = [np.mean(eclipsed(True, attackers, until_s=300)[1][10:]) for attackers in (2, 6, 20)]
    assert held[0] < held[1] < held[2]


@pytest.mark.parametrize("delay_s", [None, 60.0])
def test_news_of_the_eclipsed_passes_the_attackers_or_nobody(delay_s: float | None) -> None:
    def reached(hostile: bool) -> tuple[np.ndarray, np.ndarray]:
        w, _ = eclipsed(hostile, delay_s=delay_s)
        spread = Flood().start(w, 2)
        items = spread.publish(0, 100), spread.publish(50, 100)
        w.run(500 + 9)
        return spread.reached_s[items[0]] - 495, spread.reached_s[items[1]] - 495

    own, others = reached(False)
    assert np.isfinite(own).all()
    assert np.isfinite(others).all()
    own, others = reached(True)
    assert np.flatnonzero(np.isfinite(own)).tolist() == [0]  # held up, or dropped
    assert set(np.flatnonzero(np.isinf(others))) == {0, 1}


def test_the_overlay_s_own_messages_pass_and_are_counted() -> None:
    w, _ = eclipsed(True, until_s=100)
    messages = w.trace.messages()
    assert (messages["outcome"] == "delivered").all()
    asked = messages[messages["kind"] == "shuffle"]
    pushed = asked[asked["src"].between(100, 119) & asked["dst"].isin([0, 1])]
    assert len(asked) == 9 * (200 + 20)  # one each, and one more of each attacker
    assert len(pushed) >= 9 * 20


def test_on_links_that_stay_the_eclipsed_are_rewired() -> None:
    w = steady(30, Ring())
    Eclipse(nodes=[10, 11, 12], victims=[0]).install(w)
    assert w.rewired
    assert set(w.graph[[0]].indices.tolist()) <= {10, 11, 12}


# -- what is known of it afterwards -------------------------------------------------------------------------------------------


def test_who_could_reach_whom_follows_the_rounds() -> None:
    # Eight nodes, each linked to the next one, the second next, the fourth next, and again: one ring, two, four pairs.
    scenario = ds.Scenario(
        nodes=8,
        topology={"kind": "one_peer_exponential", "period_s": 10},
        network="internet",
        protocol={"kind": "broadcast", "items": 1, "interval_s": 100},
    )
    run = ds.run(scenario, progress=False)
    assert run.reachability([5, 15, 25, 35, 99])["largest"].tolist() == [1.0, 0.5, 0.25, 1.0, 1.0]
    assert run.links["t_s"].unique().tolist() == [10.0 * k for k in range(11)]


def test_peer_sampling_repairs_what_a_mass_crash_has_left_apart() -> None:
    scenario = ds.Scenario(
        nodes=200,
        seed=1,
        topology={"kind": "peer_sampling", "view": 6, "shuffle": 3},
        network="internet",
        protocol={"kind": "broadcast", "items": 5, "interval_s": 60},
        faults=[{"kind": "crash", "share": 0.75, "at_s": 120}],
    )
    run = ds.run(scenario, progress=False)
    before, after, repaired = run.reachability([119, 121, 300])["largest"]
    assert before == repaired == 1.0
    assert after < 0.95
    run.links = run.links[:0]
    assert run.reachability([300])["largest"].item() < 0.95  # over the links of the beginning


@pytest.mark.parametrize(("turns", "view"), [(15, 4), (45, 4), (100, 4), (60, 8)])
def test_of_many_changes_some_are_remembered_evenly_and_the_last(turns: int, view: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decai_sim.world.world._PAST_LINKS", 4000)
    topology = PeerSampling(view=view, shuffle=2, period_s=1.0)
    w = World(100, Internet(), None, Mix(laptop=1), Streams(1), topology)
    w.use_links()
    w.run(turns + 0.5)
    kept = [t_s for t_s, _ in w._past]
    assert len(kept) <= 2 * min(100, 4000 // (100 * view)) + 1
    past = w.past_links(most=4000)
    times, graphs_ = [t_s for t_s, _ in past], [graph for _, graph in past]
    assert (times[0], times[-1]) == (0.0, float(turns))
    gaps = np.diff(times[:-1])
    assert (gaps == gaps[0]).all()
    assert sum(graph.nnz for graph in graphs_) <= 1.1 * 4000
    assert abs(graphs_[-1] - w.contacts).nnz == 0
