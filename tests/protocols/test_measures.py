"""What is measured at nodes without a server: how far knowledge has come, and the map of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import decai_sim as ds
from decai_sim.errors import ScenarioError
from decai_sim.papers.scattered import apart, averaged, first_models


def ring(**changes: object) -> ds.Scenario:
    """Ten nodes that hold one digit each."""
    return ds.Scenario(
        nodes=10,
        seed=2,
        topology="ring",
        task={"kind": "digits", "partition": {"kind": "pathological", "classes_per_node": 1}},
        protocol={"kind": "dpsgd", "rounds": 6, "node_tests": 500},
    ).but(**changes)


@pytest.fixture(scope="module")
def run() -> ds.Run:
    return ds.run(ring(), progress=False)


def test_each_node_is_tried_on_each_sample_once(run: ds.Run) -> None:
    per_round = run.hops.groupby("round")["tried"].sum()
    assert per_round.nunique() == 1
    assert per_round.iloc[0] % run.scenario.nodes == 0
    assert run.hops["hop"].unique().tolist() == [0, 1, 2, 3, 4, 5]
    mean = run.models.groupby("round")["accuracy"].mean()
    weighted = (run.hops["accuracy"] * run.hops["tried"]).groupby(run.hops["round"]).sum() / per_round
    np.testing.assert_allclose(weighted, mean, rtol=1e-9)


def test_knowledge_comes_a_link_further_each_round(run: ds.Run) -> None:
    table = run.hops.pivot(index="round", columns="hop", values="accuracy")
    for number in (1, 2, 3):
        far = table.loc[number, number + 1 :]
        assert far.max() < 0.1, "nobody has told them yet"
    assert table.loc[6, 0] > 0.5
    assert table.loc[6, 0] > table.loc[6, 3]


@pytest.mark.parametrize(
    ("topology", "hops"),
    [
        *(("complete", [0, 1]), ("star", [0, 1, 2]), ("one_peer_exponential", [])),
        ({"kind": "exponential", "directed": True}, [0, 1, 2, 3]),
        ({"kind": "exponential"}, [0, 1, 2]),
    ],
)
def test_hops_are_those_of_the_links(topology: object, hops: list[int]) -> None:
    protocol = {"kind": "sgp", "rounds": 1, "node_tests": 500}
    run = ds.run(ring(topology=topology, protocol=protocol), progress=False)
    assert run.hops["hop"].tolist() == hops


def test_links_that_lead_one_way_lead_further() -> None:
    tried = {}
    for directed in (True, False):
        protocol = {"kind": "sgp", "rounds": 1, "node_tests": 500}
        run = ds.run(ring(topology={"kind": "exponential", "directed": directed}, protocol=protocol), progress=False)
        tried[directed] = run.hops.set_index("hop")["tried"]
    assert tried[True][1] < tried[False][1]
    assert tried[True].sum() == tried[False].sum()


def test_the_mean_is_of_those_who_are_there() -> None:
    gone = [{"kind": "crash", "nodes": [0, 1, 2, 3, 4], "at_s": 0.15}]
    run = ds.run(ring(topology="complete", network="internet", faults=gone, protocol__rounds=8), progress=False)
    last = run.models[run.models["round"] == 8].set_index("node")
    assert last["online"].tolist() == [False] * 5 + [True] * 5
    assert last["distance"][5:].max() < 1e-3 < last["distance"][:5].min()
    assert abs(run.rounds["accuracy"].iloc[-1] - last["accuracy"][5:].mean()) < 0.05


def test_without_links_everybody_is_one_hop_away() -> None:
    run = ds.run(ring(protocol={"kind": "epidemic", "fanout": 2, "rounds": 1}), progress=False)
    assert run.hops["hop"].tolist() == [0, 1]


def test_of_data_that_an_app_brings_nothing_is_known() -> None:
    found = averaged(ring(protocol__rounds=2, task={"kind": "digits", "model": "softmax"}), seed=3)
    assert found.hops.empty
    assert found.hops.columns.tolist() == ["run_id", "round", "t_s", "hop", "accuracy", "tried"]


def test_scattered_models_are_averaged_as_by_hand() -> None:
    import networkx as nx

    scenario = ring(protocol__rounds=3, task={"kind": "digits", "model": "softmax"})
    found = averaged(scenario, seed=3)
    graph = nx.to_numpy_array(nx.cycle_graph(10))
    weights = np.where(graph > 0, 1 / 3, 0) + np.eye(10) / 3
    models = first_models(10, seed=3).astype(float)
    for measured in apart(found):
        models = weights @ models
        assert measured == pytest.approx(np.linalg.norm(models - models.mean(0)), rel=1e-4)
    np.testing.assert_allclose(found.model, models.mean(0), atol=1e-5)


# -- on a map ------------------------------------------------------------------------------------------------------------------


def test_the_map_shows_how_far_each_model_is_from_the_mean(run: ds.Run) -> None:
    view = run.network_view(show="distance")
    largest = run.models["distance"].max()
    for number in (1, 4, 6):
        after = run.models[run.models["round"] == number]
        view.t_s = float(after["t_s"].iloc[0])
        expected = np.searchsorted(largest / np.array([32, 16, 8, 4, 2]), after["distance"], side="right")
        shown = [entry["name"] for entry in view.legend]
        assert view.table()["state"].tolist() == [shown[1 + level] for level in expected]
    view.t_s = float(run.rounds["t_s"].iloc[0])
    after_one = view.table()["state"].tolist()
    view.t_s = 0
    assert view.table()["state"].tolist() == after_one, "nothing is known of what was before"


def test_who_is_away_is_shown_as_away_and_back_with_its_level() -> None:
    faults = [{"kind": "crash", "nodes": [3], "at_s": 0.005, "for_s": 0.02}]
    run = ds.run(ring(network="internet", faults=faults), progress=False)
    view = run.network_view(show="accuracy")
    gone = run.events[(run.events["kind"] == "offline") & (run.events["node"] == 3)]["t_s"].iloc[0]
    back = run.events[(run.events["kind"] == "online") & (run.events["node"] == 3) & (run.events["t_s"] > gone)]["t_s"].iloc[0]
    view.t_s = (gone + back) / 2
    assert view.table()["state"][3] == "offline"
    view.t_s = float(run.rounds["t_s"].iloc[-1])
    assert view.table()["state"][3].startswith("accuracy ")


def test_what_cannot_be_shown_is_refused_in_one_line(run: ds.Run) -> None:
    with pytest.raises(ScenarioError, match=r"^show: 'age' is not allowed: choose from states, distance, accuracy$"):
        run.network_view(show="age")
    served = ds.run(ring(protocol={"kind": "federated", "rounds": 1}), progress=False)
    with pytest.raises(ScenarioError, match="there is no distance of each node's own model"):
        served.network_view(show="distance")


def test_runs_saved_before_there_were_such_frames_can_be_loaded(run: ds.Run, tmp_path: Path) -> None:
    folder = run.save(tmp_path / "run")
    for name in ("models", "hops"):
        (folder / f"{name}.parquet").unlink()
    found = ds.Run.load(folder)
    assert found.models.empty
    assert found.models.columns.tolist() == run.models.columns.tolist()
    assert found.hops.empty


def test_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ScenarioError, match="650 parameters are not allowed: the model has"):
        averaged(ring(protocol__rounds=1, task__model={"kind": "mlp", "hidden": [8]}))
