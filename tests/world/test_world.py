"""Computing, devices, topologies' seeds, and worlds that stay the same when something is added to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import decai_sim as ds
from decai_sim.seeding import Streams
from decai_sim.world import PROFILES, Exponential, Internet, Mix, Ring, SmallWorld
from decai_sim.world.world import World
from tests.world.worlds import Absences, run_until, world

LAPTOP = PROFILES["laptop"].flops_per_s


def job(w: World, at_s: float, node: int, seconds: float, detail: str, done: list[Any]) -> None:
    w.clock.at(at_s, w.compute, node, seconds * LAPTOP, detail, lambda: done.append((detail, w.clock.now)))


def jobs_of(w: World, node: int) -> list[tuple[float, str, str]]:
    events = w.trace.events()
    events = events[(events.node == node) & events.kind.isin(["job_start", "job_end", "job_lost"])]
    return list(events[["t_s", "kind", "detail"]].itertuples(index=False, name=None))


def test_a_node_does_one_thing_after_the_other() -> None:
    w, done = world(2), []
    job(w, 0.0, 0, 10, "a", done)
    job(w, 2.0, 0, 5, "b", done)
    job(w, 2.0, 1, 1, "c", done)
    job(w, 20.0, 0, 1, "d", done)
    run_until(w, 100)
    assert done == [("c", 3.0), ("a", 10.0), ("b", 15.0), ("d", 21.0)]
    assert jobs_of(w, 0) == [
        *[(0.0, "job_start", "a"), (10.0, "job_end", "a"), (10.0, "job_start", "b"), (15.0, "job_end", "b")],
        *[(20.0, "job_start", "d"), (21.0, "job_end", "d")],
    ]


def test_work_is_lost_when_its_node_leaves_and_the_node_returns_idle() -> None:
    w, done = world(1, churn=Absences({0: [5.0, 5.0, math.inf]})), []
    job(w, 0.0, 0, 20, "running", done)
    job(w, 0.0, 0, 20, "waiting", done)
    job(w, 7.0, 0, 1, "asked in vain", done)
    job(w, 12.0, 0, 2, "after", done)
    run_until(w, 100)
    assert done == [("after", 14.0)]
    # What was only waiting never began and leaves no trace.
    assert jobs_of(w, 0) == [
        *[(0.0, "job_start", "running"), (5.0, "job_lost", "running"), (12.0, "job_start", "after"), (14.0, "job_end", "after")],
    ]


def test_work_finished_at_the_instant_of_leaving_counts_by_who_came_first() -> None:
    w, done = world(1, churn=Absences({0: [5.0]})), []
    job(w, 0.0, 0, 5, "a", done)
    run_until(w, 100)
    assert [kind for _, kind, _ in jobs_of(w, 0)] in (["job_start", "job_end"], ["job_start", "job_lost"])
    assert len(done) == [kind for _, kind, _ in jobs_of(w, 0)].count("job_end")


def test_a_faster_device_needs_less_time() -> None:
    times = {}
    for name, profile in PROFILES.items():
        w, done = world(1, devices=Mix(**{name: 1.0})), []
        w.compute(0, 1e12, "x", lambda w=w, done=done: done.append(w.clock.now))
        run_until(w, math.inf)
        assert done == [pytest.approx(1e12 / profile.flops_per_s)]
        times[name] = done[0]
    assert times["gpu"] < times["laptop"] < times["phone"]


def test_devices_come_in_the_shares_asked_for() -> None:
    names = Mix(phone=0.5, laptop=0.4, gpu=0.1).assign(10_000, Streams(2)).tolist()
    counts = [names.count(name) for name in ("phone", "laptop", "gpu")]
    assert stats.chisquare(counts, [5000, 4000, 1000]).pvalue > 0.01
    assert set(Mix(gpu=1.0).assign(100, Streams(2)).tolist()) == {"gpu"}


def test_profiles_say_where_their_figures_come_from() -> None:
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert profile.source
        assert 1e9 < profile.flops_per_s < 1e13
        assert 1e6 < profile.download_bps <= 1e10
        assert profile.upload_bps > 1e6


def test_a_devices_link_caps_its_nodes_rates() -> None:
    w = world(200, network=Internet(), devices=Mix(phone=1.0))
    assert w.paths.upload_bps[:-1].max() <= PROFILES["phone"].upload_bps
    assert w.paths.download_bps[:-1].max() <= PROFILES["phone"].download_bps


# -- common random numbers --------------------------------------------------------------------------------------------------


def facts(w: World) -> dict[str, Any]:
    run_until(w, 5000)
    ends = [(a, b) for a in range(-1, 5) for b in range(5) if a != b]
    return {
        "churn": w.trace.digest(),
        "devices": w.devices.tolist(),
        "regions": w.paths.regions.tolist(),
        "latency": [w.paths.base_s(*end) for end in ends],
        "listed": w.membership.listed().tolist(),
    }


def test_changing_one_part_of_a_world_leaves_the_draws_of_the_others() -> None:
    def build(network: Any, churn: Any, devices: Any) -> dict[str, Any]:
        return facts(World(30, network, churn, devices, Streams(5)))

    base = build(Internet(), Exponential(), Mix(phone=0.5, gpu=0.5))
    lossy = build(Internet(loss=0.5, upload_bps=1e6), Exponential(), Mix(phone=0.5, gpu=0.5))
    assert lossy == base
    other_devices = build(Internet(), Exponential(), Mix(laptop=1.0))
    assert {**other_devices, "devices": base["devices"]} == base
    no_churn = build(Internet(), None, Mix(phone=0.5, gpu=0.5))
    assert [no_churn[k] for k in ("devices", "regions", "latency")] == [base[k] for k in ("devices", "regions", "latency")]
    other_seed = facts(World(30, Internet(), Exponential(), Mix(phone=0.5, gpu=0.5), Streams(6)))
    assert all(other_seed[k] != base[k] for k in ("churn", "devices", "regions", "latency"))


def test_an_attack_or_a_defense_does_not_change_the_world() -> None:
    base = ds.Scenario(
        nodes=12,
        seed=3,
        task="digits",
        network="internet",
        churn={"kind": "exponential", "mean_online_s": 100, "mean_offline_s": 20},
        devices={"kind": "mix", "phone": 0.5, "laptop": 0.5},
        protocol={"kind": "federated", "rounds": 3, "fraction": 0.5, "deadline_s": 60},
    )
    runs = [
        ds.run(scenario, progress=False)
        for scenario in (base, base.but(attack={"kind": "sign_flip", "fraction": 0.3}, defense="median"), base.but(seed=4))
    ]
    calm, attacked, elsewhere = runs
    first = min(run.rounds["t_s"].iloc[0] for run in (calm, attacked))  # then the rule's work puts them out of step

    def history(run: ds.Run) -> list[list[object]]:
        mine = run.messages[run.messages["t_sent_s"] < first]
        return mine[["t_sent_s", "t_delivered_s", "src", "dst", "bytes"]].fillna(-1).to_numpy().tolist()

    assert history(calm) == history(attacked) != history(elsewhere)
    presence = [run.events[run.events["kind"].isin(["online", "offline"])][["t_s", "node"]] for run in (calm, attacked)]
    both = min(map(len, presence))
    assert both > 0
    assert presence[0].iloc[:both].to_numpy().tolist() == presence[1].iloc[:both].to_numpy().tolist()
    assert not np.array_equal(calm.model, attacked.model)
    assert calm.nodes[["region", "device", "n_samples"]].equals(attacked.nodes[["region", "device", "n_samples"]])


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_a_ring_has_neither_loops_nor_double_links(n: int) -> None:
    graph = Ring().build(n, 0)
    assert sorted(graph) == list(range(n))
    assert all(a != b for a, b in graph.edges)
    assert {d for _, d in graph.degree} == {min(n - 1, 2)}


def test_a_small_world_needs_more_nodes_than_links_per_node() -> None:
    with pytest.raises(ds.ScenarioError, match=r"topology\.degree: 8 is not allowed: must be below nodes = 8"):
        SmallWorld(degree=8).build(8, 0)


def test_rewiring_shortens_paths_and_keeps_the_number_of_links() -> None:
    import networkx as nx

    regular, small = SmallWorld(degree=4, rewire=0).build(200, 1), SmallWorld(degree=4, rewire=0.2).build(200, 1)
    assert regular.number_of_edges() == small.number_of_edges() == 400
    assert nx.average_shortest_path_length(small) < 0.5 * nx.average_shortest_path_length(regular)
