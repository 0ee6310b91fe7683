"""Comparisons and sweeps: common random numbers, grids, seeds, workers, what is kept, failures."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

import decai_sim as ds
from decai_sim import comparison, grids, kept_runs, sweeps

BASE = ds.Scenario(nodes=12, task="digits", network="internet", protocol={"kind": "federated", "rounds": 2, "fraction": 0.5})


@pytest.fixture(scope="module")
def both() -> ds.Comparison:
    return ds.compare({"mean": BASE.but(defense="mean"), "median": BASE.but(defense="median")}, seeds=[1, 2], progress=False)


def test_a_run_for_every_label_and_seed(both: ds.Comparison) -> None:
    assert {label: [r.scenario.seed for r in runs] for label, runs in both.runs.items()} == {"mean": [1, 2], "median": [1, 2]}
    assert both.complete
    assert len(both.rounds) == 8
    assert list(both.rounds.columns[:3]) == ["label", "seed", "run_id"]


def test_runs_of_one_seed_share_their_world(both: ds.Comparison) -> None:
    for mean, median in zip(both.runs["mean"], both.runs["median"], strict=True):
        columns = ["node", "region", "device", "n_samples"]
        pd.testing.assert_frame_equal(mean.nodes[columns], median.nodes[columns])
        first = [run.messages[run.messages["t_sent_s"] < run.rounds["t_s"].iloc[0]] for run in (mean, median)]
        pd.testing.assert_frame_equal(*[part.drop(columns="run_id") for part in first])
        assert mean.rounds["t_s"].iloc[0] < median.rounds["t_s"].iloc[0]  # a median is more work, which takes virtual time
        assert mean.trace_digest != median.trace_digest
    assert both.runs["mean"][0].trace_digest != both.runs["mean"][1].trace_digest


def test_the_table_is_the_median_and_range_of_the_seeds(both: ds.Comparison) -> None:
    row = both.table().set_index("scenario").loc["mean"]
    values = sorted(r.accuracy for r in both.runs["mean"])
    assert (row["lowest"], row["highest"]) == (values[0], values[1])
    assert row["accuracy"] == pytest.approx(sum(values) / 2)


def test_workers_give_the_same_runs(both: ds.Comparison) -> None:
    on_ray = ds.compare({"mean": BASE.but(defense="mean")}, seeds=[1, 2], workers=2, progress=False)
    assert not on_ray.failures
    for here, there in zip(both.runs["mean"], on_ray.runs["mean"], strict=True):
        assert here.trace_digest == there.trace_digest
        pd.testing.assert_series_equal(here.rounds["accuracy"], there.rounds["accuracy"], atol=1e-3)
    import ray

    assert not ray.is_initialized()


def test_a_failing_run_becomes_a_row_not_a_crash() -> None:
    impossible = BASE.but(task__partition={"kind": "dirichlet", "alpha": 0.1, "min_samples": 100})
    result = ds.compare({"fine": BASE, "impossible": impossible}, progress=False)
    assert len(result.runs["fine"]) == 1
    assert result.runs["impossible"] == []
    assert [f["label"] for f in result.failures] == ["impossible"]
    assert "task.partition" in result.failures[0]["error"]


def test_it_saves_runs_and_figure(both: ds.Comparison, tmp_path: Path) -> None:
    both.save(tmp_path)
    assert ds.Run.load(tmp_path / "median" / "seed-2").accuracy == both.runs["median"][1].accuracy
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_it_shows_itself(both: ds.Comparison) -> None:
    assert "median" in both._repr_html_()
    assert repr(both) == "<Comparison (mean: 2, median: 2)>"
    assert len(both.plot().axes) == 4


def test_an_interrupted_run_is_not_counted_as_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = sweeps.run, []

    def second_is_stopped(scenario: ds.Scenario, **options: object) -> ds.Run:
        result = real(scenario, progress=False)
        calls.append(scenario)
        result.complete = len(calls) < 2
        return result

    monkeypatch.setattr(sweeps, "run", second_is_stopped)
    result = ds.compare({"first": BASE, "second": BASE.but(defense="median"), "third": BASE.but(seed=5)}, progress=False)
    assert not result.complete
    assert {label: len(runs) for label, runs in result.runs.items()} == {"first": 1, "second": 0, "third": 0}


def test_labels_that_look_alike_get_folders_of_their_own(both: ds.Comparison, tmp_path: Path) -> None:
    alike = ds.Comparison({"f=1": both.runs["mean"], "f>1": both.runs["median"], "×": both.runs["mean"]})
    alike.save(tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 3


def test_nothing_finished_nothing_to_plot() -> None:
    with pytest.raises(ds.ScenarioError, match="nothing to plot"):
        ds.Comparison({"a": []}).plot()
    assert ds.Comparison({"a": []}).rounds.empty


USERS = """
import decai_sim as ds

class Silence(ds.attacks.UpdateAttack):
    def __call__(self, honest, n_byzantine, generator, view=None):
        return honest.new_zeros(n_byzantine, honest.shape[1])

base = ds.Scenario(nodes=10, task="digits", attack={"kind": "silence", "fraction": 0.3},
                   protocol={"kind": "federated", "rounds": 1, "fraction": 0.5})
there = ds.compare({"a": base}, seeds=[1, 2], workers=2, progress=False)
here = ds.compare({"a": base}, seeds=[1, 2], progress=False)
assert not there.failures, there.failures
assert [round(v, 3) for v in there.final["a"]] == [round(v, 3) for v in here.final["a"]]
"""


def test_workers_know_a_users_own_component(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(USERS)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


QUICK = ds.Scenario(nodes=8, task="digits", attack="sign_flip", protocol={"kind": "federated", "rounds": 2, "fraction": 1})
GRID = {"attack.fraction": [0, 0.25], "defense": ["mean", ["nnm", "trimmed_mean"]]}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the scenarios that were really run, as they are."""
    real, done = sweeps.run, []

    def run(scenario: ds.Scenario, **options: object) -> ds.Run:
        done.append(scenario.id)
        return real(scenario, progress=False)

    monkeypatch.setattr(sweeps, "run", run)
    return done


def outcomes(found: ds.Comparison) -> list[tuple[object, ...]]:
    return [(label, one.scenario.seed, one.trace_digest) for label, runs in found.runs.items() for one in runs]


def test_a_grid_is_every_combination_with_every_seed() -> None:
    found = ds.sweep(QUICK, GRID, [3, 4], cache=None, progress=False)
    frame = found.frame()
    assert frame[["attack.fraction", "defense", "seed"]].values.tolist() == [
        [fraction, defense, seed] for fraction in (0, 0.25) for defense in ("mean", "nnm >> trimmed_mean") for seed in (3, 4)
    ]
    assert list(found.runs) == [f"fraction={f}, {d}" for f in ("0", "0.25") for d in ("mean", "nnm >> trimmed_mean")]
    one = found.runs["fraction=0.25, mean"][1]
    expected = ds.run(QUICK.but(attack__fraction=0.25, defense="mean", seed=4), progress=False)
    assert one.trace_digest == expected.trace_digest
    row = frame[(frame["label"] == "fraction=0.25, mean") & (frame["seed"] == 4)].iloc[0]
    last = expected.rounds.iloc[-1]
    assert row["accuracy"] == pytest.approx(expected.accuracy)
    assert row["seconds"] == last["t_s"]
    assert row["bytes"] == last["bytes_up"] + last["bytes_down"]
    assert frame["error"].isna().all()
    rounds = found.rounds
    assert list(rounds.columns[:5]) == ["label", "attack.fraction", "defense", "seed", "run_id"]
    assert len(rounds) == 16


def test_processes_ray_and_this_process_give_the_same(tmp_path: Path) -> None:
    here, processes, ray = (
        ds.sweep(QUICK, GRID, [1], executor, cache=None, progress=False) for executor in (None, 2, ds.executors.OnRay(2))
    )
    assert outcomes(here) == outcomes(processes) == outcomes(ray)
    assert processes.failures == ray.failures == []
    for other in (processes, ray):
        pd.testing.assert_frame_equal(
            here.rounds.drop(columns="run_id"), other.rounds.drop(columns="run_id"), atol=1e-3, check_exact=False
        )


def test_nothing_is_run_twice(counted: list[str], tmp_path: Path) -> None:
    first = ds.sweep(QUICK, {"defense": ["mean", "median"]}, [0, 1], cache=tmp_path, progress=False)
    assert len(counted) == 4
    again = ds.sweep(QUICK, {"defense": ["median", "mean"]}, [1, 0], cache=tmp_path, progress=False)
    assert len(counted) == 4
    assert sorted(outcomes(first)) == sorted(outcomes(again))
    pd.testing.assert_frame_equal(first.runs["mean"][0].rounds, again.runs["mean"][1].rounds)
    more = ds.sweep(QUICK, {"defense": ["mean", "median", "krum"]}, [0, 1], cache=tmp_path, progress=False)
    assert len(counted) == 6
    assert len(more.frame()) == 6


def test_equal_scenarios_are_run_once(counted: list[str]) -> None:
    found = ds.sweep({"one": QUICK, "other": QUICK.but(seed=0)}, cache=None, progress=False)
    assert len(counted) == 1
    assert [len(runs) for runs in found.runs.values()] == [1, 1]


def test_what_decides_a_run_decides_whether_it_is_found(
    counted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges = tmp_path / "edges.txt"
    edges.write_text("0 1\n1 2\n2 3\n")
    scenario = ds.Scenario(
        nodes=4, task="digits", topology=ds.topologies.EdgeList(edges), protocol={"kind": "dpsgd", "rounds": 1}
    )

    def runs() -> int:
        ds.sweep(scenario, cache=tmp_path / "cache", progress=False)
        return len(counted)

    assert [runs(), runs()] == [1, 1]
    edges.write_text("0 1\n1 2\n2 3\n3 0\n")
    assert [runs(), runs()] == [2, 2]
    monkeypatch.setattr(kept_runs, "_version", lambda: "999")
    assert [runs(), runs()] == [3, 3]
    monkeypatch.setattr(kept_runs, "_sources", lambda: "others")
    assert [runs(), runs()] == [4, 4]
    monkeypatch.setattr(kept_runs, "data_digest", lambda data: "others")
    assert [runs(), runs()] == [5, 5]


def test_other_data_are_another_digest() -> None:
    data = ds.tasks.Digits().load()
    labels = data.y_train.copy()
    labels[0] = (labels[0] + 1) % 10
    assert kept_runs.data_digest(replace(data)) == kept_runs.data_digest(data)
    assert kept_runs.data_digest(replace(data, y_train=labels)) != kept_runs.data_digest(data)
    assert kept_runs.data_digest(replace(data, mean=0.5)) != kept_runs.data_digest(data)


def own_attack(body: str) -> type:
    code = f"""
from decai_sim.attacks import UpdateAttack

FACTOR = 2

def helper(x):
    return {body}

class Mine(UpdateAttack, kind="mine_of_the_sweeps"):
    def __call__(self, honest, n_byzantine, generator, view=None):
        return helper(honest.new_ones(n_byzantine, honest.shape[1]))
"""
    names: dict[str, object] = {"__name__": "a_notebook"}
    exec(compile(code, "cell", "exec", dont_inherit=True), names)
    cls = names["Mine"]
    assert isinstance(cls, type)
    return cls


def test_a_users_own_class_that_changed_is_run_again(counted: list[str], tmp_path: Path) -> None:
    for body, expected in (("x", 1), ("x", 1), ("x * FACTOR", 2), ("-x", 3), ("x", 3)):
        attack = own_attack(body)(fraction=0.25)
        ds.sweep(QUICK.but(attack=attack), cache=tmp_path, progress=False)
        assert len(counted) == expected, body


def linear(bias: float) -> torch.nn.Module:
    made = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(made.weight)
    torch.nn.init.constant_(made.bias, bias)
    return made


@pytest.mark.parametrize("used", ["torch.ones({})", "pd.DataFrame({{'a': [{}]}})", "np.ones({})", "linear({})"])
def test_data_of_a_module_are_part_of_what_uses_them(used: str) -> None:
    def made(number: int) -> type:
        names: dict[str, Any] = {"__name__": "a_notebook", "torch": torch, "pd": pd, "np": np, "linear": linear}
        exec(f"USED = {used.format(number)}\nclass Mine:\n    def __call__(self): return USED", names)
        cls = names["Mine"]
        assert isinstance(cls, type)
        return cls

    assert kept_runs.code_digest(made(1)) == kept_runs.code_digest(made(1)) != kept_runs.code_digest(made(2))


def test_what_a_class_uses_from_around_it_is_part_of_it() -> None:
    def made(around: object) -> type:
        class Mine:
            def __call__(self) -> object:
                return around

        return Mine

    class Own:
        def __init__(self, factor: int) -> None:
            self.factor = factor

    pairs: list[tuple[Any, Any]] = [
        (1, 2),
        (np.ones(3), np.zeros(3)),
        (torch.ones(3), torch.zeros(3)),
        (partial(max, 1), partial(max, 2)),
        (Own(1), Own(2)),
        (lambda: 1, lambda: 2),
        (torch.ones(3, dtype=torch.bfloat16), torch.zeros(3, dtype=torch.bfloat16)),
        (torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)),
        (torch.eye(3).to_sparse(), torch.zeros(3, 3).to_sparse()),
        (pd.DataFrame({"a": [1, "x"]}), pd.DataFrame({"a": [1, "y"]})),
        (linear(1.0), linear(2.0)),
        (math.sin, math.cos),
    ]
    for one, other in pairs:
        assert kept_runs.code_digest(made(one)) == kept_runs.code_digest(made(one)) != kept_runs.code_digest(made(other)), one


@pytest.mark.parametrize(
    "harm",
    [
        lambda place: (place / "rounds.parquet").write_bytes(b"PAR1 and no more"),
        lambda place: (place / "nodes.parquet").unlink(),
        lambda place: (place / "provenance.json").unlink(),
        lambda place: (place / "provenance.json").write_text("{"),
        lambda place: (place / "model.npy").write_bytes(b"\x80\x04N."),  # a pickle
        lambda place: (place / "provenance.json").write_text(
            (place / "provenance.json").read_text().replace('"complete": true', '"complete": false')
        ),
    ],
)
def test_what_is_broken_is_run_again_and_mended(harm: Callable[[Path], object], counted: list[str], tmp_path: Path) -> None:
    first = ds.sweep(QUICK, cache=tmp_path, progress=False)
    (place,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    harm(place)
    for _ in range(2):
        again = ds.sweep(QUICK, cache=tmp_path, progress=False)
        assert outcomes(again) == outcomes(first)
        assert len(counted) == 2


def test_a_failure_is_a_row_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True
    real = sweeps.run

    def run(scenario: ds.Scenario, **options: object) -> ds.Run:
        if broken and scenario.defense is not None and scenario.defense.kind == "median":
            raise MemoryError("no room\nfor the median")
        return real(scenario, progress=False)

    monkeypatch.setattr(sweeps, "run", run)
    grid = {"defense": ["mean", "median"]}
    found = ds.sweep(QUICK, grid, [0, 1], cache=tmp_path, progress=False)
    frame = found.frame()
    assert found.complete
    assert frame["error"].tolist() == [None, None, *["MemoryError: no room for the median"] * 2]
    assert frame["accuracy"].isna().tolist() == [False, False, True, True]
    assert frame["defense"].tolist() == ["mean", "mean", "median", "median"]
    assert found.table()["scenario"].tolist() == ["mean"]
    assert "no room" in found._repr_html_()
    broken = False
    assert ds.sweep(QUICK, grid, [0, 1], cache=tmp_path, progress=False).frame()["error"].isna().all()


def test_points_that_cannot_be_run_are_rows_unless_none_can(tmp_path: Path) -> None:
    found = ds.sweep(QUICK, {"defense": ["mean", {"kind": "krum", "f": 4}]}, cache=None, progress=False)
    assert [failure["label"] for failure in found.failures] == ["krum"]
    assert "defense.f" in found.failures[0]["error"]
    with pytest.raises(ds.ScenarioError, match=r"defense\.f: 4"):
        ds.sweep(QUICK, {"defense": [{"kind": "krum", "f": 4}]}, cache=None, progress=False)


@pytest.mark.filterwarnings("error")
def test_a_run_that_stalls_is_a_failure_and_not_kept(tmp_path: Path) -> None:
    stalls = QUICK.but(
        attack=None,
        protocol={"kind": "dpsgd", "rounds": 50},
        topology="ring",
        faults=[{"kind": "takedown", "share": 1, "at_s": 1}],
    ).but(network="internet")
    found = ds.sweep({"fine": QUICK, "stalls": stalls}, cache=tmp_path, progress=False)
    assert [failure["label"] for failure in found.failures] == ["stalls"]
    assert "dpsgd waits" in found.failures[0]["error"]
    assert len(list(tmp_path.iterdir())) == 1


def test_ctrl_c_leaves_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real, calls = sweeps.run, []

    def run(scenario: ds.Scenario, **options: object) -> ds.Run:
        calls.append(scenario)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(scenario, progress=False)

    monkeypatch.setattr(sweeps, "run", run)
    found = ds.sweep(QUICK, GRID, cache=tmp_path, progress=False)
    assert not found.complete
    assert len(found.frame()) == 2
    assert found.plot().axes
    assert ds.sweep(QUICK, GRID, cache=tmp_path, progress=False).complete
    assert len(calls) == 5


KILLED = """
import sys
import decai_sim as ds

scenario = ds.Scenario.load(sys.argv[1])
print("begun", flush=True)
ds.sweep(scenario, {"defense": ["mean", "median", "krum"]}, range(8), int(sys.argv[3]), cache=sys.argv[2], progress=False)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_it_goes_on_where_it_was(workers: int, counted: list[str], tmp_path: Path) -> None:
    import psutil

    longer = QUICK.but(protocol__rounds=60)
    script, scenario, cache = tmp_path / "killed.py", tmp_path / "scenario.yaml", tmp_path / "cache"
    script.write_text(KILLED)
    scenario.write_text(longer.to_yaml())
    process = subprocess.Popen([sys.executable, str(script), str(scenario), str(cache), str(workers)], stdout=subprocess.DEVNULL)
    children = []
    try:
        ends = time.monotonic() + 200
        while len(finished(cache)) < 3 and time.monotonic() < ends:
            time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()  # SIGKILL
        process.wait()
    kept = {path.name for path in finished(cache)}
    assert 3 <= len(kept) < 24
    found = ds.sweep(longer, {"defense": ["mean", "median", "krum"]}, range(8), cache=cache, progress=False)
    assert len(counted) == 24 - len(kept)
    assert len(found.frame()) == 24
    assert found.complete
    assert not found.failures
    alone = ds.run(longer.but(defense="krum", seed=0), progress=False)
    assert found.runs["krum"][0].trace_digest == alone.trace_digest
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, "workers outlive the sweep that was killed"


def finished(cache: Path) -> list[Path]:
    return [path for path in cache.glob("*") if not path.name.startswith(".")]


def test_what_was_left_half_written_long_ago_is_cleared_away(tmp_path: Path) -> None:
    old, new = tmp_path / ".old.1.part", tmp_path / ".new.1.part"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (1, 1))
    kept_runs.KeptRuns(tmp_path)
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"grid": {"protocol.round": [1]}}, r"protocol\.round: .*unknown key"),
        ({"grid": {"protocol__rounds": [1, 0]}}, r"protocol\.rounds: 0 is not allowed"),
        ({"grid": {"defense": "mean"}}, r"grid\.defense: 'mean' is not allowed: give a list"),
        ({"grid": {"defense": {"kind": "mean"}}}, r"grid\.defense: .* is not allowed: give a list"),
        ({"grid": {"defense": []}}, r"grid\.defense: \[\] is not allowed"),
        ({"grid": {"nodes": [8, 8]}}, r"grid\.nodes: .* a value stands there twice"),
        ({"grid": {"seed": [1]}}, r"grid\.seed: .*seeds="),
        ({"grid": {"protocol.rounds": [1], "protocol__rounds": [2]}}, "twice"),
        ({"grid": {"attack.scale.x": [1]}}, r"attack\.scale\.x"),
        ({"seeds": 3}, "seeds: 3 is not allowed"),
        ({"seeds": []}, r"seeds: \[\] is not allowed"),
        ({"seeds": [1, -1]}, r"seeds: \[1, -1\] is not allowed"),
        ({"seeds": [1, 1]}, "twice"),
        ({"executor": "cloud"}, "executor: 'cloud' is not allowed"),
        ({"scenarios": {"a": 3}}, r"scenarios\.a: 3 is not allowed"),
        ({"scenarios": "base.yaml"}, r"scenario: 'base\.yaml' is not allowed"),
        ({"scenarios": []}, r"scenarios: \[\] is not allowed"),
        ({"cache": __file__}, "is not allowed as a folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_runs(arguments: dict[str, Any], said: str, counted: list[str]) -> None:
    with pytest.raises(ds.ScenarioError, match=said) as caught:
        ds.sweep(**{"scenarios": QUICK, "cache": None, "progress": False, **arguments})
    assert "\n" not in str(caught.value)
    assert not counted


def test_labels_are_short_and_tell_apart() -> None:
    def labels(*arguments: Any) -> list[str]:
        return [point.label for point in grids.points(*arguments)]

    base = ds.Scenario()
    assert labels(base) == ["run"]
    assert labels([base.but(nodes=5), base.but(nodes=9)]) == ["nodes=5", "nodes=9"]
    assert labels([base, base.but(attack="alie"), base.but(attack=ds.attacks.ALIE(z=2))]) == ["no attack", "alie", "alie z=2"]
    assert labels({"a": base, "b": base}, {"nodes": [5]}) == ["a, nodes=5", "b, nodes=5"]
    assert labels(base, {"nodes": {"few": 5, "many": 500}}) == ["few", "many"]
    churn = [None, ds.churn.Exponential(mean_online_s=60), {"kind": "exponential", "mean_online_s": 90}]
    assert labels(base, {"churn": churn}) == ["no churn", "exponential mean_online_s=60", "exponential mean_online_s=90"]
    graph = nx.path_graph(4)
    (point,) = grids.points(base.but(nodes=4), {"topology": [graph]})
    assert point.label == "graph of 4 nodes"
    assert set(point.scenario.graph().edges) == set(graph.edges)


def test_the_interval_is_between_order_statistics() -> None:
    assert comparison.median_interval([0.5]) == (0.5, 0.5, 0.0)
    assert comparison.median_interval([3, 1, 2, math.nan]) == (1, 3, 0.75)
    # Conover, Practical Nonparametric Statistics: of 16 values the 4th and the 13th enclose the median with 97.9 %.
    low, high, covered = comparison.median_interval(list(range(1, 17)))
    assert (low, high) == (4, 13)
    assert covered == pytest.approx(0.9787, abs=1e-4)
    assert comparison.median_interval([math.nan])[2] == 0
    draws = np.random.default_rng(0).exponential(size=(2000, 9))
    enclosed = [low <= math.log(2) <= high for low, high, _ in map(comparison.median_interval, draws.tolist())]
    assert np.mean(enclosed) == pytest.approx(comparison.median_interval(list(range(9)))[2], abs=0.015)
    with pytest.raises(ds.ScenarioError, match="confidence: 1 is not allowed"):
        comparison.median_interval([1.0], 1)


@pytest.fixture(scope="module")
def laid_out() -> ds.Comparison:
    return ds.sweep(QUICK, {**GRID, "protocol.lr": [0.05, 0.1]}, [0, 1, 2], cache=None, progress=False)


def test_lines_have_bands_over_the_seeds(laid_out: ds.Comparison) -> None:
    (ax,) = laid_out.plot(x="attack.fraction").axes
    assert len(ax.lines) == 4
    frame = laid_out.frame()
    mine = frame[(frame["defense"] == "mean") & (frame["protocol.lr"] == 0.05)].groupby("attack.fraction")["accuracy"]
    assert ax.lines[0].get_xdata() == pytest.approx([0, 0.25])
    assert ax.lines[0].get_ydata() == pytest.approx(100 * mine.median().to_numpy())
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((100 * mine.min().min(), 100 * mine.max().max()))
    assert ax.get_xlabel() == "attack.fraction"
    with pytest.raises(ds.ScenarioError, match="x: 'defense' is not allowed: choose from"):
        laid_out.plot(x="defense")


def test_the_heat_map_shows_medians(laid_out: ds.Comparison) -> None:
    (ax,) = laid_out.heatmap("defense", "attack.fraction", where={"protocol.lr": 0.1}).axes
    shown = ax.images[0].get_array()
    frame = laid_out.frame()
    mine = frame[(frame["defense"] == "nnm >> trimmed_mean") & (frame["protocol.lr"] == 0.1) & (frame["attack.fraction"] == 0.25)]
    assert shown[1, 1] == pytest.approx(100 * mine["accuracy"].median())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mean", "nnm >> trimmed_mean"]
    for arguments, said in (
        ({}, "heatmap: protocol.lr takes several values"),
        ({"rows": "nodes"}, "rows: 'nodes' is not allowed"),
        ({"value": "loss"}, "value: 'loss' is not allowed"),
        ({"where": {"protocol.lr": 7}}, "where.protocol.lr: 7 is not allowed"),
    ):
        with pytest.raises(ds.ScenarioError, match=re.escape(said)):
            laid_out.heatmap(**arguments)  # type: ignore[arg-type]


def test_tables_of_what_others_measure(laid_out: ds.Comparison) -> None:
    one = laid_out.runs["fraction=0, mean, lr=0.05"][0]
    rounds, verdicts = one.rounds, one.verdicts
    assert math.isnan(comparison.measures(one)["attack_success"])
    assert comparison.measures(one)["silenced"] == 0
    one.rounds = rounds.assign(attack_success=[0.5, 0.75])
    one.verdicts = verdicts.assign(kept=~verdicts["node"].isin([1, 2, 3]))
    try:
        measured = comparison.measures(one)
        assert (measured["attack_success"], measured["silenced"]) == (0.75, 3)
        assert laid_out.frame()["silenced"].max() == 3
        assert laid_out.table().loc[0, "silenced"] == 0  # of three seeds in the middle
    finally:
        one.rounds, one.verdicts = rounds, verdicts


def test_tables_and_figure_are_saved(laid_out: ds.Comparison, tmp_path: Path) -> None:
    laid_out.save_tables(tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "runs.parquet"), laid_out.frame(), check_dtype=False)
    assert len(pd.read_csv(tmp_path / "table.csv")) == 8
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
