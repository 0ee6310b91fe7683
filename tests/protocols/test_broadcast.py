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


@pytest.mark.parametrize(("field", "value"), [("attack", "sign_flip"), ("defense", "median")])
def test_nothing_is_learned(field: str, value: str) -> None:
    with pytest.raises(ScenarioError, match=f"{field}: .* is not allowed: under protocol 'broadcast' nothing is"):
        broadcast(**{field: value})
