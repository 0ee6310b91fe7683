"""Runs: frames, determinism, saving, stopping."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from flwr.serverapp import ServerApp
from pydantic import ValidationError

import decai_sim as ds
from decai_sim.flower import handoff
from decai_sim.learning.evaluation import one_for_all
from decai_sim.learning.problem import Problem
from decai_sim.seeding import Streams
from decai_sim.viz import palette
from decai_sim.world import Ideal, Mix
from decai_sim.world.world import World

ROUND = ["round", "t_s", "accuracy", "loss", "n_selected", "n_replied", "n_byzantine", "bytes_up", "bytes_down"]
SMALL: dict[str, Any] = {
    "nodes": 20,
    "seed": 3,
    "task": {"kind": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5, "min_samples": 0}},
    "network": "internet",
    "churn": {"kind": "exponential", "mean_online_s": 60, "mean_offline_s": 20},
    "protocol": {"kind": "federated", "rounds": 4, "fraction": 0.5, "deadline_s": 30},
    "attack": {"kind": "sign_flip", "fraction": 0.25, "scale": 2},
    "defense": ["nnm", "trimmed_mean"],
}


@pytest.fixture(scope="module")
def result() -> ds.Run:
    return ds.run(ds.Scenario(**SMALL), progress=False)


def test_frames_have_the_promised_columns_and_one_row_a_round_and_node(result: ds.Run) -> None:
    columns = {name: list(getattr(result, name).columns) for name in ("rounds", "nodes", "events", "messages")}
    assert columns == {
        "rounds": [
            "run_id",
            "round",
            "t_s",
            "accuracy",
            "loss",
            "n_selected",
            "n_replied",
            "n_byzantine",
            "bytes_up",
            "bytes_down",
            "attack_success",
            "passed_over",
        ],
        "nodes": [
            *("run_id", "node", "region", "device", "byzantine", "adversary"),
            *("n_samples", "online_s", "bytes_up", "bytes_down", "own_accuracy"),
        ],
        "events": ["run_id", "t_s", "node", "kind", "detail"],
        "messages": ["run_id", "t_sent_s", "t_delivered_s", "src", "dst", "kind", "bytes", "outcome"],
    }
    assert result.rounds["round"].tolist() == [1, 2, 3, 4]
    assert result.nodes["node"].tolist() == list(range(20))
    assert result.nodes["byzantine"].sum() == 5
    assert result.nodes["n_samples"].sum() == 1437
    assert (result.rounds["t_s"].diff().dropna() > 0).all()
    assert (result.rounds["n_replied"] <= result.rounds["n_selected"]).all()
    assert (result.rounds["n_byzantine"] <= result.rounds["n_replied"]).all()


def test_every_byte_is_accounted(result: ds.Run) -> None:
    messages, nodes = result.messages, result.nodes.set_index("node")
    sent = messages.groupby("src")["bytes"].sum().drop(-1).reindex(nodes.index, fill_value=0)
    got = messages[messages["outcome"] == "delivered"].groupby("dst")["bytes"].sum().drop(-1, errors="ignore")
    assert sent.tolist() == nodes["bytes_up"].tolist()
    assert got.reindex(nodes.index, fill_value=0).tolist() == nodes["bytes_down"].tolist()


def test_resent_bytes_show_in_the_traffic_as_at_the_nodes() -> None:
    network = {"kind": "internet", "loss": 0.3, "retransmit": 5}
    scenario = ds.Scenario(nodes=30, seed=2, network=network, protocol={"kind": "broadcast", "items": 3, "interval_s": 60})
    for chunks in (None, 300):
        run = ds.run(scenario.but(network__chunk_bytes=chunks), progress=False)
        (row,) = run.traffic.to_dict("records")
        assert row["bytes"] == run.messages["bytes"].sum()
        assert row["bytes_sent"] == run.nodes["bytes_up"].sum()
        assert row["bytes_sent"] > 1.2 * row["bytes"]
        assert row["bytes_delivered"] == run.nodes["bytes_down"].sum()


def test_messages_arrive_after_they_were_sent_or_not_at_all(result: ds.Run) -> None:
    delivered = result.messages[result.messages["outcome"] == "delivered"]
    assert (delivered["t_delivered_s"] > delivered["t_sent_s"]).all()
    assert result.messages.loc[result.messages["outcome"] != "delivered", "t_delivered_s"].isna().all()


def test_same_scenario_same_history_and_model(result: ds.Run) -> None:
    again = ds.run(ds.Scenario(**SMALL), progress=False)
    assert again.trace_digest == result.trace_digest
    assert again.run_id == result.run_id
    pd.testing.assert_frame_equal(again.rounds, result.rounds)
    assert ds.run(ds.Scenario(**SMALL).but(seed=4), progress=False).trace_digest != result.trace_digest


def test_threads_change_neither_the_trace_nor_the_accuracy() -> None:
    scenario = ds.Scenario(**SMALL).but(task__model={"kind": "mlp", "hidden": [32]}, protocol__rounds=3)
    code = (
        "import sys, torch, decai_sim as ds\n"
        "torch.set_num_threads(int(sys.argv[1]))\n"
        "r = ds.run(ds.Scenario.model_validate_json(sys.argv[2]), progress=False)\n"
        "print(r.trace_digest, *r.rounds.accuracy)\n"
    )
    text = json.dumps(scenario.to_config())
    out = [
        subprocess.run([sys.executable, "-c", code, threads, text], capture_output=True, text=True, check=True).stdout.split()
        for threads in ("1", "2")
    ]
    assert out[0][0] == out[1][0]
    np.testing.assert_allclose([float(v) for v in out[0][1:]], [float(v) for v in out[1][1:]], atol=1e-3)


def test_attack_and_defense_leave_the_world_as_it_is(result: ds.Run) -> None:
    calm = ds.run(ds.Scenario(**SMALL).but(attack=None, defense=None), progress=False)
    for kinds in (["online", "offline"], ["job_start", "job_end"]):
        mine, theirs = (run.events[run.events["kind"].isin(kinds) & (run.events["node"] >= 0)] for run in (calm, result))
        first = min(run.rounds["t_s"].iloc[0] for run in (calm, result))  # then the server's work puts them out of step
        assert mine[mine["t_s"] < first][["t_s", "node"]].equals(theirs[theirs["t_s"] < first][["t_s", "node"]])
    assert calm.accuracy != result.accuracy


def test_what_a_rule_costs_is_charged_in_virtual_time() -> None:
    base = ds.Scenario(nodes=20, task="digits", protocol={"kind": "federated", "rounds": 3, "fraction": 1})
    plain, ruled = (ds.run(base.but(defense=defense), progress=False) for defense in (None, "krum"))
    rule, d = ds.defenses.Krum(), 650
    each_s = rule.flops(20, d, 0) / World(1, Ideal(), None, Mix(laptop=1), Streams(0)).server_flops_per_s
    more_s = ruled.rounds["t_s"] - plain.rounds["t_s"]
    np.testing.assert_allclose(more_s, each_s * np.arange(1, 4), rtol=1e-6)
    server = ruled.events[(ruled.events["node"] == -1) & (ruled.events["detail"] == "aggregate")]
    assert server["kind"].tolist() == ["job_start", "job_end"] * 3


def test_saved_runs_come_back_equal(result: ds.Run, tmp_path: Path) -> None:
    folder = result.save(tmp_path / "deep" / "run")
    assert not list(folder.glob(".*"))
    back = ds.Run.load(folder)
    assert back.scenario == result.scenario
    assert back.trace_digest == result.trace_digest
    for name in ("rounds", "nodes", "events", "messages"):
        pd.testing.assert_frame_equal(getattr(back, name), getattr(result, name), check_categorical=False)
    assert back.model is not None
    np.testing.assert_array_equal(back.model, result.model)
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["seed"] == 3
    assert provenance["versions"]["flwr"].startswith("1.41")
    assert provenance["virtual_s"] > 0
    assert provenance["wall_s"] > 0


def test_loading_what_is_no_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ds.ScenarioError, match=r"is not a saved run: provenance\.json"):
        ds.Run.load(tmp_path)


def test_a_stopped_run_keeps_its_rounds_and_leaves_no_thread(tmp_path: Path) -> None:
    stop = threading.Event()
    scenario = ds.Scenario(**SMALL).but(protocol__rounds=500)
    from decai_sim.protocols import Federated

    seen = []
    original = Federated.run

    def counting(self: Federated, lab: Any) -> None:
        inner = lab.on_round

        def on_round(record: dict[str, Any]) -> None:
            inner(record)
            seen.append(record)
            if len(seen) == 2:
                stop.set()

        lab.on_round = on_round
        original(self, lab)

    before = threading.active_count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Federated, "run", counting)
        partial = ds.run(scenario, progress=False, stop=stop)
    assert not partial.complete
    assert len(partial.rounds) == 2
    assert threading.active_count() == before
    assert not ds.Run.load(partial.save(tmp_path)).complete
    assert "stopped early" in repr(partial)


# -- waits that cannot end ----------------------------------------------------------------------------------------------------

WAITING: dict[str, dict[str, Any]] = {
    "server": {"faults": [{"kind": "crash", "nodes": [-1], "at_s": 3}]},
    "clients": {"faults": [{"kind": "takedown", "share": 1.0, "at_s": 3}], "churn": None},
    # Churn goes on underneath: there always is an event to come.
    "dpsgd": {
        "faults": [{"kind": "takedown", "share": 1.0, "at_s": 3}],
        "protocol": {"kind": "dpsgd", "rounds": 40, "deadline_s": 5},
    },
}
SAID = {
    "server": "listed now: 0 of 8, the server is offline",
    "clients": "listed now: 0 of 8",
    "dpsgd": "dpsgd waits for a node to come online",
}


@pytest.mark.parametrize("who", WAITING)
def test_a_run_that_waits_for_what_cannot_come_keeps_what_there_is(
    who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "PATIENCE_S", 100.0)
    changes = {"nodes": 8, "topology": "ring", "attack": None, "defense": None, "protocol": {"kind": "federated", "rounds": 40}}
    scenario = ds.Scenario(**SMALL | changes | WAITING[who])
    seen: list[dict[str, Any]] = []
    with pytest.warns(RuntimeWarning, match=r"^the run stalled after \d+ rounds: "):
        run = ds.run(scenario, progress=False, on_round=seen.append)
    assert not run.complete
    assert run.stalled is not None
    assert SAID[who] in run.stalled
    assert 1 <= len(run.rounds) == len(seen) < 40
    assert run.accuracy == seen[-1]["accuracy"]
    assert run.model is not None
    assert SAID[who] in run._repr_html_()
    back = ds.Run.load(run.save(tmp_path))
    assert (back.stalled, back.complete) == (run.stalled, False)
    pd.testing.assert_frame_equal(back.rounds, run.rounds)
    assert "ServerApp" not in {thread.name for thread in threading.enumerate()}


def test_somebody_elses_app_that_waits_in_vain_raises_and_leaves_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handoff, "PATIENCE_S", 100.0)
    scenario, server = ds.Scenario(nodes=4, task="digits"), ServerApp()

    @server.main()
    def main(grid: Any, context: Any) -> None:
        ds.flower.CappedFedAvg(n_train=4).start(grid, ds.flower.initial_model(scenario.task, 0, 4), num_rounds=2)
        while len(list(grid.get_node_ids())) < 5:
            pass

    with pytest.raises(ds.StalledError, match=r"waits for more nodes .* listed now: 4 of 4") as caught:
        ds.flower.run(server, ds.flower.TaskClientApp(scenario.task, 0), scenario)
    run = caught.value.run
    assert isinstance(run, ds.Run)
    assert not run.complete
    assert run.stalled == str(caught.value)
    assert len(run.rounds) == 2


def test_a_comparison_lists_runs_that_stalled_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handoff, "PATIENCE_S", 100.0)
    base = ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 1})
    dead = base.but(faults=[{"kind": "crash", "nodes": [-1]}])
    both = ds.compare({"dead": dead, "alive": base}, progress=False)
    assert both.complete
    assert [len(both.runs[label]) for label in ("dead", "alive")] == [0, 1]
    (failure,) = both.failures
    assert failure["label"] == "dead"
    assert "the server is offline" in failure["error"]


# -- graphs that somebody brings along -----------------------------------------------------------------------------------------


def test_a_graph_with_more_nodes_than_the_scenario_is_refused_in_one_line() -> None:
    graph = nx.path_graph(3)
    graph.add_nodes_from(range(3, 6))
    with pytest.raises(ds.ScenarioError, match=r"^topology\.nodes: 6 is not allowed: the scenario has nodes = 4$"):
        ds.Scenario(nodes=4, topology=graph).check()
    ds.Scenario(nodes=6, topology=graph).check()
    scenario = ds.Scenario(nodes=6, topology=graph)
    assert ds.Scenario.model_validate(scenario.to_config()) == scenario
    with pytest.raises(ds.ScenarioError, match=r"^topology\.edges: edge 2 3 is not allowed"):
        ds.Scenario(nodes=3, topology=nx.path_graph(6)).check()
    # Who has no node to spare is written as ever: the edges alone.
    assert set(ds.Scenario(nodes=3, topology=nx.path_graph(3)).topology.to_config()) == {"kind", "edges"}
    graph.add_node("Anna")
    with pytest.raises(ValidationError, match="a node named 'Anna' is not allowed: nodes are numbered from 0"):
        ds.Scenario(nodes=6, topology=graph)


def test_it_shows_itself(result: ds.Run) -> None:
    html = result._repr_html_()
    assert "sign_flip" in html
    assert result.run_id in html
    assert "<Run" in repr(result)
    fig = result.plot()
    assert len(fig.axes) == 3
    assert "accuracy" in fig.axes[0].get_ylabel()


def test_no_rounds_no_crash() -> None:
    stop = threading.Event()
    stop.set()
    nothing = ds.run(ds.Scenario(**SMALL), progress=False, stop=stop)
    assert not nothing.complete
    assert len(nothing.rounds) == 0
    assert np.isnan(nothing.accuracy)
    assert "<table" in nothing._repr_html_()
    nothing.plot()


def test_saving_replaces_what_was_there_but_never_a_complete_run_by_a_partial_one(result: ds.Run, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    nothing = ds.run(ds.Scenario(**SMALL), progress=False, stop=stop)
    nothing.save(tmp_path)
    result.save(tmp_path)
    with pytest.raises(ds.ScenarioError, match="holds a complete run"):
        nothing.save(tmp_path)
    assert ds.Run.load(tmp_path).complete
    other = tmp_path / "other"
    result.save(other)
    provenance = other / "provenance.json"
    provenance.write_text(provenance.read_text().replace('"complete": true', '"complete": false'))
    nothing.save(other)
    assert ds.Run.load(other).model is None


def test_a_folder_that_cannot_be_written_to_is_named(result: ds.Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ds.ScenarioError, match="file"):
        result.save(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attack": {"kind": "label_flip", "classes": 5}}, r"attack\.classes: 5 is not allowed: the task has 10"),
        ({"defense": {"kind": "chain", "f": 60, "steps": ["nnm", "trimmed_mean"]}}, r"defense\.f: 60 of chain"),
        ({"defense": ["nnm", {"kind": "krum", "f": 5}]}, r"defense\.f: 5 of krum is not allowed: at most 10 nodes"),
        ({"topology": {"kind": "edge_list", "path": "a\0b"}}, r"topology\.path"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_runs(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ds.ScenarioError, match=said):
        ds.run(ds.Scenario(**SMALL).but(**change), progress=False)


def test_a_round_with_too_few_replies_is_passed_over_and_said() -> None:
    scenario = ds.Scenario(**SMALL).but(
        defense=[{"kind": "nnm", "f": 8}, {"kind": "trimmed_mean", "f": 8}],
        churn={"kind": "exponential", "mean_online_s": 20, "mean_offline_s": 40},
        protocol__fraction=1,
        protocol__rounds=2,
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeWarning)
        run = ds.run(scenario, progress=False)
    passed_over = [str(warning.message) for warning in said if "passed over" in str(warning.message)]
    assert passed_over[0].startswith("round 1 is passed over, the model stays as it was: nnm.f: 8")
    assert len(run.rounds) == 2
    assert run.rounds["n_replied"].max() <= 16


# -- watching -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [SMALL["protocol"], {"kind": "dpsgd", "rounds": 2}])
def test_who_watches_sees_the_rows_of_rounds(protocol: dict[str, Any]) -> None:
    rows: list[dict[str, Any]] = []
    scenario = ds.Scenario(**SMALL).but(protocol=protocol, attack=None, defense=None)
    run = ds.run(scenario, progress=False, on_round=rows.append)
    assert len(rows) == len(run.rounds) > 0
    pd.testing.assert_frame_equal(pd.DataFrame(rows, columns=ROUND), run.rounds[ROUND], check_exact=True)


def test_watching_happens_in_real_time_and_changes_nothing(result: ds.Run) -> None:
    seen: list[float] = []

    def meddle(row: dict[str, Any]) -> None:
        time.sleep(1e-3)
        seen.append(time.monotonic())
        random.random(), np.random.rand(), torch.rand(1)
        random.seed(0)

    began = time.monotonic()
    watched = ds.run(ds.Scenario(**SMALL), progress=False, on_round=meddle)
    assert began < seen[0] < seen[-1] < time.monotonic()
    assert watched.trace_digest == result.trace_digest
    pd.testing.assert_frame_equal(watched.rounds, result.rounds)


# -- whom a rule rejected -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def krum() -> ds.Run:
    return ds.run(ds.Scenario(**SMALL).but(defense="krum"), progress=False)


def rejected(run: ds.Run) -> pd.DataFrame:
    return run.events[run.events["kind"] == "rejected"]


def test_krum_keeps_one_and_rejects_the_others_each_round(krum: ds.Run) -> None:
    events = rejected(krum)
    for row in krum.rounds.itertuples():
        mine = events[events["detail"] == f"round {row.round}"]
        assert len(mine) == row.n_replied - 1
        assert mine["node"].is_unique
        assert (mine["t_s"] == row.t_s).all()
        assert mine["node"].tolist() == sorted(mine["node"])
        replied = krum.messages[(krum.messages["kind"] == "train_reply") & (krum.messages["t_delivered_s"] <= row.t_s)]
        assert set(mine["node"]) < set(replied["src"])
    assert len(events) == (krum.rounds["n_replied"] - 1).sum()
    assert krum.events["t_s"].is_monotonic_increasing


def test_a_loud_attacker_is_among_the_rejected() -> None:
    run = ds.run(ds.Scenario(**SMALL).but(defense="krum", churn=None, attack__scale=50, protocol__fraction=1), progress=False)
    byzantine = set(run.nodes.loc[run.nodes["byzantine"], "node"])
    for _, events in rejected(run).groupby("detail", observed=True):
        assert byzantine <= set(events["node"])


@pytest.mark.parametrize("defense", [None, "mean", "median"])
def test_rules_that_use_every_row_reject_nobody(krum: ds.Run, defense: str | None) -> None:
    run = ds.run(ds.Scenario(**SMALL).but(defense=defense), progress=False)
    assert rejected(run).empty
    assert "rejected" not in run.events["kind"].cat.categories


def test_the_rejected_come_back_with_a_saved_run(krum: ds.Run, tmp_path: Path) -> None:
    back = ds.Run.load(krum.save(tmp_path))
    assert (
        rejected(back)[["t_s", "node", "detail"]].to_numpy().tolist()
        == rejected(krum)[["t_s", "node", "detail"]].to_numpy().tolist()
    )


# -- whom the model serves ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uneven() -> ds.Run:
    """Sixty nodes, some without a sample."""
    partition = {"kind": "dirichlet", "alpha": 0.05, "min_samples": 0}
    task = {"kind": "digits", "partition": partition, "model": {"kind": "mlp", "hidden": [12]}}
    scenario = ds.Scenario(nodes=60, seed=1, task=task, protocol={"kind": "federated", "rounds": 2, "fraction": 0.5})
    return ds.run(scenario, progress=False)


def laid_out(run: ds.Run) -> Problem:
    return Problem(run.scenario.task, run.scenario.nodes, ds.Streams(run.scenario.seed))


def rebuilt(run: ds.Run) -> torch.nn.Module:
    """The final model, built by torch alone."""
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 12), torch.nn.ReLU(), torch.nn.Linear(12, 10))
    torch.nn.utils.vector_to_parameters(torch.tensor(run.model), module.parameters())
    return module


def test_node_accuracy_is_that_of_the_final_model_on_each_nodes_samples(uneven: ds.Run) -> None:
    accuracy, problem, module = uneven.node_accuracy(), laid_out(uneven), rebuilt(uneven)
    data = uneven.scenario.task.load()
    x = (torch.tensor(data.x_train) * data.scale - data.mean) / data.std
    with torch.no_grad():
        right = (module(x).argmax(1).numpy() == data.y_train).tolist()
        test = (torch.tensor(data.x_test) * data.scale - data.mean) / data.std
        assert (module(test).argmax(1).numpy() == data.y_test).mean() == pytest.approx(uneven.accuracy, abs=1 / 360 + 1e-9)
    expected = []
    for mine in problem.samples:
        hits = [right[index] for index in mine.tolist()]
        expected.append(sum(hits) / len(hits) if hits else float("nan"))
    # A sample whose two best classes tie to the last bit may fall either way.
    size = np.maximum(problem.n_samples, 1)
    np.testing.assert_array_less(np.nan_to_num(np.abs(accuracy - expected)) * size, 1.5)
    assert np.nansum(np.abs(accuracy.to_numpy() - expected) * size) < 3
    overall = np.average(accuracy.fillna(0), weights=uneven.nodes["n_samples"])
    assert overall == pytest.approx(np.mean(right), abs=3 / len(right))


def test_nodes_without_samples_have_no_accuracy(uneven: ds.Run) -> None:
    empty = (uneven.nodes["n_samples"] == 0).to_numpy()
    accuracy = uneven.node_accuracy()
    assert 0 < empty.sum() < 60
    assert (accuracy.isna().to_numpy() == empty).all()
    assert accuracy.dropna().between(0, 1).all()
    assert (accuracy.name, accuracy.index.name, accuracy.index.tolist()) == ("accuracy", "node", list(range(60)))


def test_a_loaded_run_serves_its_nodes_as_it_did(uneven: ds.Run, tmp_path: Path) -> None:
    pd.testing.assert_series_equal(ds.Run.load(uneven.save(tmp_path)).node_accuracy(), uneven.node_accuracy())


def test_data_are_those_before_any_attack_on_them() -> None:
    scenario = ds.Scenario(nodes=5, task="digits", protocol={"kind": "federated", "rounds": 1, "fraction": 1})
    run = ds.run(scenario.but(attack={"kind": "label_flip", "fraction": 0.4}), progress=False)
    model = torch.tensor(run.model)
    clean = laid_out(run)
    np.testing.assert_array_equal(run.node_accuracy(), one_for_all(clean, model, clean.samples)[0])


def test_class_counts_count_every_sample_once(uneven: ds.Run) -> None:
    problem = laid_out(uneven)
    counts = problem.class_counts()
    assert counts.shape == (60, 10) == (60, len(problem.class_names))
    assert counts.sum(axis=1).tolist() == problem.n_samples.tolist() == uneven.nodes["n_samples"].tolist()
    labels = uneven.scenario.task.load().y_train
    assert counts.sum(axis=0).tolist() == np.bincount(labels).tolist()
    for row, mine in zip(counts.tolist(), problem.samples, strict=True):
        tally = Counter(labels[index] for index in mine.tolist())
        assert row == [tally[label] for label in range(10)]


def test_nodes_that_keep_parameters_are_tested_with_them() -> None:
    scenario = ds.Scenario(
        nodes=12,
        seed=3,
        task={
            "kind": "digits",
            "partition": {"kind": "pathological", "classes_per_node": 2},
            "holdout": 0.3,
            "model": {"kind": "mlp", "hidden": [12]},
        },
        protocol={"kind": "federated", "rounds": 8, "fraction": 0.5, "personal": ["3."], "lr": 0.1, "local_epochs": 3},
    )
    run, shared = (ds.run(one, progress=False) for one in (scenario, scenario.but(protocol__personal=[])))
    accuracy = run.node_accuracy()
    assert accuracy.to_list() == run.nodes["own_accuracy"].to_list()
    assert shared.nodes["own_accuracy"].isna().all()
    last = torch.tensor(run.model)
    problem = laid_out(run)
    asked = set(run.events.loc[run.events["kind"] == "job_end", "node"])
    with_the_servers = one_for_all(problem, last, problem.own_tests)[0]
    for node in range(12):
        if node not in asked:
            assert accuracy[node] == with_the_servers[node]
    assert len(asked) > 0
    assert accuracy.loc[sorted(asked)].mean() > 0.9 > shared.node_accuracy().mean()
    assert run.worst_decile() == accuracy.nsmallest(2).mean()


def test_the_worst_decile_of_nodes_without_a_server_is_of_their_own_models_that_were_there() -> None:
    gone = [{"kind": "crash", "nodes": [0], "at_s": 0.1}]
    protocol = {"kind": "dpsgd", "rounds": 3, "node_tests": 100}
    where = {"task": "digits", "topology": "ring", "network": "internet", "faults": gone}
    run = ds.run(ds.Scenario(nodes=11, protocol=protocol, **where), progress=False)
    last = run.models[run.models["round"] == 3].set_index("node")["accuracy"]
    assert run.worst_decile() == last.drop(0).min()
    with pytest.raises(ds.ScenarioError, match="worst_decile: no node's accuracy is known"):
        ds.run(run.scenario.but(protocol__node_tests=0), progress=False).worst_decile()


def no_node_accuracy(run: ds.Run) -> None:
    with pytest.raises(ds.ScenarioError, match="node_accuracy: this run has no single final model of its scenario's task"):
        run.node_accuracy()


def test_runs_without_a_single_final_model_say_so() -> None:
    stop = threading.Event()
    stop.set()
    no_node_accuracy(ds.run(ds.Scenario(**SMALL), progress=False, stop=stop))


def test_somebody_elses_app_has_no_model_of_ours() -> None:
    app = Path(__file__).parent / "flower_apps" / "digits_fedavg"
    run = ds.flower.run(str(app), ds.Scenario(nodes=4), run_config={"num-rounds": 1, "min-nodes": 2})
    assert len(run.rounds) == 1
    no_node_accuracy(run)


# -- side by side ------------------------------------------------------------------------------------------------------------

SCENARIO = ds.Scenario(**SMALL).but(attack=None, defense=None, protocol__rounds=10)


def quiet(scenario: ds.Scenario) -> ds.Run:
    return ds.run(scenario, progress=False)


def test_runs_go_on_side_by_side_and_leave_the_generators_to_others() -> None:
    alone = quiet(SCENARIO)
    results: list[ds.Run] = []
    threads = [threading.Thread(target=lambda: results.append(quiet(SCENARIO))) for _ in range(2)]
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected, legacy, torches = random.Random(5), np.random.RandomState(5), torch.Generator().manual_seed(5)
    for thread in threads:
        thread.start()
    drawn = 0
    while drawn < 50 or any(thread.is_alive() for thread in threads):
        assert random.random() == expected.random()
        assert np.random.random() == legacy.random()
        assert torch.rand(1) == torch.rand(1, generator=torches)
        drawn += 1
        threads[0].join(0.001)
    assert [one.trace_digest for one in results] == 2 * [alone.trace_digest]
    assert [one.accuracy for one in results] == 2 * [alone.accuracy]


def test_the_same_run_rejects_the_same() -> None:
    scenario = SCENARIO.but(defense="krum", attack="sign_flip")
    first, again = (one.events[one.events["kind"] == "rejected"] for one in (quiet(scenario), quiet(scenario)))
    assert len(first)
    assert first.equals(again)


# -- the map -----------------------------------------------------------------------------------------------------------------


def test_the_map_shows_the_run() -> None:
    one = quiet(SCENARIO.but(defense="krum", attack="sign_flip"))
    view = one.network_view("krum")
    assert view.about["title"] == "krum"
    assert "not used here" in view.about["caption"]
    view.t_s = float(one.rounds["t_s"].iloc[-1])
    table = view.table()
    assert table["samples" if "samples" in table else "n_samples"].tolist() == one.nodes["n_samples"].tolist()
    rejected = one.replay().states(view.t_s) & palette.REJECTED
    assert np.count_nonzero(rejected) == one.rounds["n_replied"].iloc[-1] - 1
    assert dict(enumerate(table["neighbours"])) == dict(one.scenario.graph().degree)


def test_a_topology_that_is_not_used_and_not_possible_is_not_drawn() -> None:
    one = quiet(ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "rounds": 1, "fraction": 1}))
    assert one.network_view().about["caption"].startswith("No links (topology.degree: 8 is not allowed")


def test_a_loaded_run_has_the_same_map(tmp_path: Path) -> None:
    one = quiet(SCENARIO)
    again = ds.Run.load(one.save(tmp_path / "run"))
    assert again.network_view().get_state(["edges", "class_counts", "change_t_s"]) == one.network_view().get_state(
        ["edges", "class_counts", "change_t_s"]
    )
