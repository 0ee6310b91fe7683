"""Comparisons: common random numbers, seeds, workers, failures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import decai_sim as ds

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
        assert mean.trace_digest == median.trace_digest
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
    import decai_sim.sweeps as sweeps

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
