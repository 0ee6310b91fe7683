"""News for everybody, as a run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import decai_sim as ds
from decai_sim.errors import ScenarioError
from decai_sim.viz import palette


def broadcast(**changes: Any) -> ds.Run:
    base: dict[str, Any] = {
        "nodes": 60,
        "seed": 4,
        "network": "internet",
        "protocol": {"kind": "broadcast", "items": 3, "interval_s": 20, "nbytes": 5000},
    }
    return ds.run(ds.Scenario(**(base | changes)), progress=False)


@pytest.fixture(scope="module")
def run() -> ds.Run:
    return broadcast(
        network={"kind": "internet", "loss": 0.05},
        churn={"kind": "exponential", "mean_online_s": 60, "mean_offline_s": 20},
    )


def test_rounds_are_items(run: ds.Run) -> None:
    assert run.rounds["round"].tolist() == [1, 2, 3]
    assert run.rounds["t_s"].tolist() == [20.0, 40.0, 60.0]
    assert run.rounds["accuracy"].isna().all()
    assert (run.rounds["n_replied"] <= 60).all()
    assert run.rounds["n_replied"].tolist() == run.propagation()["reached"].tolist()
    assert run.nodes["n_samples"].isna().all()


def test_the_traffic_is_that_of_the_messages(run: ds.Run) -> None:
    (row,) = run.traffic.to_dict("records")
    messages = run.messages
    assert (row["kind"], row["messages"], row["bytes"]) == ("item", len(messages), messages["bytes"].sum())
    assert {name: row[name] for name in ("delivered", "lost", "offline")} == messages["outcome"].value_counts().to_dict()
    arrived = messages[messages["outcome"] == "delivered"]
    assert row["mean_delay_s"] == pytest.approx((arrived["t_delivered_s"] - arrived["t_sent_s"]).mean())
    assert 0 < row["mean_queued_s"] < row["max_queued_s"]


def test_propagation_is_what_the_events_say(run: ds.Run) -> None:
    for row in run.propagation().itertuples():
        informed = run.events[(run.events["kind"] == "informed") & (run.events["detail"] == f"item {row.item}")]
        delays = np.sort(informed["t_s"] - row.t_s)
        assert row.t50_s == (delays[29] if len(delays) >= 30 else np.inf)
        assert row.origin == informed["node"].iloc[0]


def test_online_counts_changes(run: ds.Run) -> None:
    online = run.online()
    assert online["t_s"].is_monotonic_increasing
    assert online["t_s"].iloc[0] == 0
    states = run.replay()
    for row in online.iloc[:: len(online) // 10].itertuples():
        assert row.online == np.count_nonzero(states.states(row.t_s) & palette.ONLINE)


def test_reachability_of_a_ring_by_hand() -> None:
    # A ring of ten of whom two, 0 and 5, are away from 10 s on: two parts of four.
    crash = {"kind": "crash", "nodes": [0, 5], "at_s": 10}
    run = broadcast(nodes=10, topology="ring", faults=[crash])
    before, after = run.reachability([5.0, 15.0]).to_dict("records")
    assert (before["online"], before["largest"], before["pairs"]) == (10, 1.0, 1.0)
    assert (after["online"], after["largest"]) == (8, 0.5)
    assert after["pairs"] == pytest.approx(2 * 4 * 3 / (8 * 7))


def test_the_map_and_the_figure_can_be_drawn(run: ds.Run) -> None:
    view = run.network_view()
    assert view.about["caption"] == "Links: small world."
    assert len(run.plot().axes) == 2
    assert "half of the nodes reached in" in repr(run)
    assert "accuracy" not in run._repr_html_()


def test_it_is_saved_and_loaded(run: ds.Run, tmp_path: Path) -> None:
    again = ds.Run.load(run.save(tmp_path))
    pd.testing.assert_frame_equal(again.traffic, run.traffic)
    pd.testing.assert_frame_equal(again.propagation(), run.propagation())


def test_the_graph_of_the_run_is_the_one_the_scenario_shows() -> None:
    run = broadcast(topology={"kind": "random_regular", "degree": 4}, protocol={"kind": "broadcast", "items": 1})
    graph = run.scenario.graph()
    assert {frozenset(ends) for ends in run.messages[["src", "dst"]].itertuples(index=False)} <= {
        frozenset(e) for e in graph.edges
    }
    assert nx.is_connected(graph)


def test_a_stop_leaves_what_there_is() -> None:
    stop = threading.Event()
    scenario = ds.Scenario(nodes=20, protocol={"kind": "broadcast", "items": 1000}, network="internet")
    run = ds.run(scenario, progress=False, stop=stop, on_round=lambda row: row["round"] == 2 and stop.set())
    assert not run.complete
    assert len(run.rounds) == 2


# -- links that change, and who watches -------------------------------------------------------------------------------------


def test_news_goes_along_the_links_of_its_round() -> None:
    topology = ds.topologies.RandomEachRound(degree=4, period_s=5.0)
    run = broadcast(topology=topology, protocol={"kind": "broadcast", "items": 3, "interval_s": 20, "nbytes": 100})
    seed = ds.Streams(4).integer("topology") % 2**32
    sent = run.messages
    rounds = (sent["t_sent_s"] // 5).astype(int)
    assert set(rounds) == {0, 4, 8}
    for k, messages in sent.groupby(rounds):
        assert topology.at(60, seed, k).toarray()[messages["src"], messages["dst"]].all()
    assert run.rounds["n_replied"].tolist() == [60, 60, 60]
    assert run.network_view().about["caption"].startswith("Links: random each round; they change")


def test_peer_sampling_in_a_run_costs_messages_and_loses_its_dead() -> None:
    run = broadcast(
        topology={"kind": "peer_sampling", "period_s": 2.0},
        faults=[{"kind": "crash", "share": 0.5, "at_s": 21}],
        protocol={"kind": "broadcast", "items": 4, "interval_s": 20, "nbytes": 5000},
    )
    traffic = run.traffic.set_index("kind")
    # Turns at 2, 4, …, 20 s by all, and at 22, …, 80 s by the 30 who are left.
    assert traffic.loc["shuffle", "messages"] == 10 * 60 + 30 * 30
    assert traffic.loc["shuffle_reply", "delivered"] <= traffic.loc["shuffle", "delivered"]
    assert run.rounds["n_replied"].tolist()[2:] == [30, 30]  # everybody who is left
    shuffles = run.messages[run.messages["kind"] == "shuffle"]
    asked_the_dead = shuffles[shuffles["outcome"] == "offline"].groupby("t_sent_s").size()
    assert asked_the_dead.loc[22.0:30.0].min() > 5
    assert not len(asked_the_dead.loc[64.0:])


def test_links_that_a_protocol_does_not_use_are_not_kept_up() -> None:
    run = ds.run(
        ds.Scenario(
            nodes=6,
            task="digits",
            network="internet",
            topology="peer_sampling",
            protocol={"kind": "federated", "rounds": 1, "fraction": 1},
        ),
        progress=False,
    )
    assert set(run.traffic["kind"]) == {"train", "train_reply"}


def test_learning_without_a_server_meets_others_each_round() -> None:
    topology = ds.topologies.RandomEachRound(degree=2, period_s=0.01)
    run = ds.run(
        ds.Scenario(nodes=12, task="digits", network="internet", topology=topology, protocol={"kind": "dpsgd", "rounds": 3}),
        progress=False,
    )
    models = run.messages[run.messages["kind"] == "model"]
    by_round = models.groupby(models.groupby("src").cumcount() // 2)  # each node sends to two in a round
    links = [set(zip(sent["src"], sent["dst"], strict=True)) for _, sent in by_round]
    assert len(links) == 3
    assert all(len(pairs) == 24 for pairs in links)
    assert links[0] != links[1] != links[2]


def test_swim_runs_beside_the_news_and_its_findings_are_kept(tmp_path: Path) -> None:
    calm = broadcast()
    run = broadcast(membership={"kind": "swim", "period_s": 2}, faults=[{"kind": "crash", "nodes": [7], "at_s": 25}])
    assert {"item", "swim_ping", "swim_ack"} <= set(run.traffic["kind"])
    found = run.detections
    assert list(found.columns) == ["run_id", "t_s", "observer", "node", "state", "wrong", "delay_s", "first"]
    assert set(found["node"]) == {7}
    assert found["t_s"].min() > 25
    assert ds.Run.load(run.save(tmp_path)).detections.equals(found)
    assert not len(calm.detections)
    # Watching changes nothing of who hears what when, but for what waits in queues.
    assert run.propagation()["origin"].tolist() == calm.propagation()["origin"].tolist()


def test_the_default_watch_is_free() -> None:
    digests = {
        broadcast(membership=membership).trace_digest
        for membership in ("heartbeat", {"kind": "heartbeat", "period_s": 5, "patience": 3})
    }
    assert digests == {broadcast().trace_digest}


@pytest.mark.parametrize(("field", "value"), [("attack", "sign_flip"), ("defense", "median")])
def test_nothing_is_learned(field: str, value: str) -> None:
    with pytest.raises(ScenarioError, match=f"{field}: .* is not allowed: under protocol 'broadcast' nothing is"):
        broadcast(**{field: value})
