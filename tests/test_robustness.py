"""The robustness table: what is run, what it says, what it keeps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import decai_sim as ds
from decai_sim import robustness_table as tables
from decai_sim import sweeps
from decai_sim.component import _FAMILIES
from decai_sim.defenses.base import TooFewRowsError

QUICK = ds.Scenario(
    nodes=10,
    task={"kind": "digits", "partition": "iid"},
    protocol={"kind": "federated", "rounds": 4, "fraction": 1, "lr": 0.05, "local_steps": 2},
)
SKEWED = {"as it is": {}, "skewed": {"task.partition": {"kind": "dirichlet", "alpha": 0.3}}}
ATTACKS = {"flip": {"kind": "sign_flip", "scale": 8}, "labels": "label_flip"}
DEFENSES = ["mean", "median", ["nnm", "trimmed_mean"]]
COLUMNS = ["setting", "attack", "fraction", "defense", "seed", "clean_accuracy", "accuracy", "attack_success", "silenced"]


@pytest.fixture(scope="module")
def table() -> ds.Robustness:
    return ds.robustness(ATTACKS, DEFENSES, (0.2, 0.3), SKEWED, [0, 1], base=QUICK, cache=None, progress=False)


def test_a_row_for_everything(table: ds.Robustness) -> None:
    frame = table.frame
    assert list(frame.columns) == [*COLUMNS, "seconds", "bytes", "wall_s", "passed_over", "error"]
    assert len(frame) == 2 * 2 * 3 * 2 * 2
    assert len(table.clean) == 2 * 3 * 2 * 2
    keys = ["setting", "attack", "fraction", "defense", "seed"]
    assert not frame.duplicated(keys).any()
    assert frame["defense"].unique().tolist() == ["mean", "median", "nnm >> trimmed_mean"]
    assert frame["attack"].unique().tolist() == ["flip", "labels"]
    assert frame["error"].isna().all()
    assert table.complete
    assert table.failures.empty


def test_a_row_is_the_run_of_its_scenario(table: ds.Robustness) -> None:
    scenario = QUICK.but(
        task__partition={"kind": "dirichlet", "alpha": 0.3},
        attack={"kind": "sign_flip", "scale": 8, "fraction": 0.3},
        defense=["nnm", "trimmed_mean"],
        seed=1,
    )
    run = ds.run(scenario, progress=False)
    frame = table.frame.set_index(["setting", "attack", "fraction", "defense", "seed"])
    row = frame.loc[("skewed", "flip", 0.3, "nnm >> trimmed_mean", 1)]
    assert row["accuracy"] == pytest.approx(run.accuracy)
    assert row["seconds"] == run.rounds["t_s"].iloc[-1]
    assert row["bytes"] == run.rounds[["bytes_up", "bytes_down"]].iloc[-1].sum()


def test_the_clean_accuracy_is_that_of_the_same_defense_in_peace(table: ds.Robustness) -> None:
    keys = ["setting", "fraction", "defense", "seed"]
    both = table.frame.merge(table.clean[[*keys, "accuracy"]], on=keys, suffixes=("", "_in_peace"))
    assert (both["clean_accuracy"] == both["accuracy_in_peace"]).all()


def test_in_peace_everybody_is_honest_and_the_defense_expects_attackers() -> None:
    calm = ds.run(QUICK.but(defense={"kind": "trimmed_mean", "f": 3}), progress=False)
    found = ds.robustness(["label_flip"], ["trimmed_mean"], [0.3], {"": {}}, base=QUICK, cache=None, progress=False)
    assert found.frame["clean_accuracy"].tolist() == pytest.approx([calm.accuracy])


def test_the_worst_case_is_over_the_attacks(table: ds.Robustness) -> None:
    worst = table.worst().set_index(["setting", "fraction", "defense"])
    assert len(worst) == 2 * 2 * 3
    for key, part in table.frame.groupby(["setting", "fraction", "defense"]):
        medians = part.groupby("attack")["accuracy"].median()
        row = worst.loc[key]
        assert row["accuracy"] == medians.min()
        assert medians[row["by"]] == medians.min()
        assert row["lost"] == pytest.approx(part["clean_accuracy"].median() - medians.min())
        assert row["attacks"] == 2
    at = worst.sort_index().loc[("as it is", 0.3)]
    assert at.loc["mean", "by"] == "flip"
    assert at.loc["mean", "accuracy"] < at.loc["median", "accuracy"]


def test_the_heat_map_shows_every_attack_peace_and_the_worst(table: ds.Robustness) -> None:
    cells = table.cells("skewed", 0.3)
    assert cells.columns.tolist() == ["none", "flip", "labels", "worst"]
    assert (cells["worst"] == cells[["flip", "labels"]].min(axis=1)).all()
    (ax,) = table.heatmap("skewed", 0.3).axes
    np.testing.assert_allclose(ax.images[0].get_array(), 100 * cells.to_numpy())
    assert len(table.heatmap().axes) == 2
    for call in (
        lambda: table.heatmap("rough"),
        lambda: table.heatmap("skewed", 0.5),
        lambda: table.cells("skewed", value="loss"),
    ):
        with pytest.raises(ds.ScenarioError, match="is not allowed: choose from"):
            call()


def test_a_defense_that_never_has_enough_updates_is_an_error_not_an_accuracy() -> None:
    base = QUICK.but(nodes=25)
    rules = ["krum", "bulyan", ["bucketing", "krum"]]
    found = ds.robustness(["sign_flip"], rules, [0.3], {"": {}}, base=base, cache=None, progress=False)
    for frame in (found.frame, found.clean):
        rows = frame.set_index("defense")
        assert rows["error"].notna().tolist() == [False, True, True]
        assert rows["accuracy"].isna().tolist() == [False, True, True]
        assert rows.loc["krum", "passed_over"] == 0
    said = found.failures.set_index("defense")["error"]
    assert "attack.fraction: 0.3 is not allowed with defense bulyan: of 25 updates a round 7 would be" in said["bulyan"].iloc[0]
    assert "bulyan needs 31 rows then and gets 25; it bears at most 5" in said["bulyan"].iloc[0]
    assert "krum needs 15 rows then and gets 13; it bears at most 6" in said["bucketing >> krum"].iloc[0]


def test_rounds_that_are_passed_over_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fastidious(ds.defenses.Mean, kind="fastidious"):
        """Wants more rows than there are, from a round on."""

        after: int = 1

        def aggregate(self, rows: Any, context: Any) -> Any:
            if context.round > self.after:
                raise TooFewRowsError("too few rows")
            return super().aggregate(rows, context)

    monkeypatch.setitem(_FAMILIES, "defenses", {**_FAMILIES["defenses"], "fastidious": Fastidious})
    rules = {"some": Fastidious(after=1), "never": Fastidious(after=0), "always": Fastidious(after=9)}
    with pytest.warns(RuntimeWarning, match="passed over"):
        found = ds.robustness(["label_flip"], rules, [0.3], {"": {}}, base=QUICK, cache=None, progress=False)
    rows = found.frame.set_index("defense")
    assert rows["passed_over"].tolist() == [0.75, 1, 0]
    assert rows.loc["never", "error"].endswith("every round had too few updates for it and was passed over")
    assert rows["accuracy"].isna().tolist() == [False, True, False]
    assert found.frame["clean_accuracy"].isna().tolist() == [False, True, False]
    with pytest.warns(RuntimeWarning, match="passed over"):
        one = ds.run(QUICK.but(defense=Fastidious()), progress=False)
    assert one.rounds["passed_over"].tolist() == [0, 1, 1, 1]
    among = ds.run(QUICK.but(protocol={"kind": "dpsgd", "rounds": 2, "lr": 0.05}, defense=Fastidious()), progress=False)
    assert among.rounds["passed_over"].tolist() == [0, 10]
    assert among.passed_over == 0.5
    assert math.isnan(ds.run(QUICK, progress=False).passed_over)


def test_shares_that_make_no_attacker_are_refused() -> None:
    with pytest.raises(ds.ScenarioError, match=r"fractions: 0.09 is not allowed: of 10 nodes .* no attacker; at least 1/10"):
        ds.robustness(["label_flip"], ["mean"], [0.2, 0.09], {"": {}}, base=QUICK, cache=None, progress=False)


def test_it_shows_itself(table: ds.Robustness) -> None:
    assert repr(table) == "<Robustness (2 attacks, 3 defenses, 2 settings: 48 runs under attack)>"
    page = table._repr_html_()
    assert "nnm &gt;&gt; trimmed_mean" in page
    assert "silenced" in page
    assert "attack_success" not in page  # none of the attacks wants anything in particular


def test_backdoors_are_measured_beside_the_accuracy() -> None:
    attacks = {"flip": ATTACKS["flip"], "patch": {"kind": "badnets", "size": 4}}
    base = QUICK.but(protocol__rounds=8)
    found = ds.robustness(attacks, ["mean", "krum"], [0.3], {"": {}}, base=base, cache=None, progress=False)
    cells = found.cells("", value="attack_success")
    assert cells.columns.tolist() == ["patch", "worst"]
    assert cells.loc["mean", "patch"] > cells.loc["krum", "patch"] + 0.2
    worst = found.worst().set_index("defense")
    assert worst["by"].tolist() == ["flip", "flip"]
    assert worst["success_by"].tolist() == ["patch", "patch"]
    assert worst["attack_success"].tolist() == cells["patch"].tolist()
    assert "attack_success" in found._repr_html_()
    assert len(found.heatmap(value="attack_success").axes) == 1


def test_honest_nodes_that_a_rule_silences_are_counted(table: ds.Robustness) -> None:
    found = ds.robustness(["label_flip"], ["mean", "krum"], [0.3], SKEWED, base=QUICK, cache=None, progress=False)
    cells = found.cells("skewed", value="silenced")
    assert cells.columns.tolist() == ["none", "label_flip"]
    assert (cells.loc["mean"] == 0).all()
    assert cells.loc["krum"].between(5, 7).all()  # it follows one of ten, seven of whom are honest


def test_it_is_saved(table: ds.Robustness, tmp_path: Path) -> None:
    table.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("robustness.parquet", "clean.parquet", "robustness.csv", "worst.csv", "robustness-0-2.png", "robustness-0-3.png")
    }
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "robustness.parquet"), table.frame, check_dtype=False)
    assert len(pd.read_csv(tmp_path / "worst.csv")) == 12


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = sweeps.run, []

    def run(scenario: ds.Scenario, **options: object) -> ds.Run:
        calls.append(scenario)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(scenario, progress=False)

    monkeypatch.setattr(sweeps, "run", run)

    def measured() -> ds.Robustness:
        return ds.robustness(["sign_flip"], ["mean", "median"], settings=SKEWED, base=QUICK, cache=tmp_path, progress=False)

    part = measured()
    assert not part.complete
    assert len(part.frame) + len(part.clean) == 3
    assert "stopped early" in repr(part)
    assert len(part.worst()) >= 1
    all_of_it = measured()
    assert all_of_it.complete
    assert len(calls) == 4 + 5
    assert len(all_of_it.frame) == 4
    measured()
    assert len(calls) == 9


def test_a_run_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sweeps.run

    def run(scenario: ds.Scenario, **options: object) -> ds.Run:
        if scenario.defense is not None and scenario.defense.kind == "median" and scenario.attack.scale > 1:  # type: ignore[union-attr]
            raise MemoryError("no room")
        return real(scenario, progress=False)

    monkeypatch.setattr(sweeps, "run", run)
    found = ds.robustness(
        {"loud": ATTACKS["flip"]}, ["mean", "median"], settings={"": {}}, base=QUICK, cache=None, progress=False
    )
    assert found.failures[["attack", "defense", "error"]].values.tolist() == [["loud", "median", "MemoryError: no room"]]
    worst = found.worst().set_index("defense")
    assert math.isnan(worst.loc["median", "accuracy"])
    assert worst.loc["median", "by"] is None
    assert worst.loc["median", "clean_accuracy"] > 0
    assert worst.loc["mean", "by"] == "loud"
    assert "no room" in found._repr_html_()
    (ax,) = found.heatmap().axes
    assert np.ma.count_masked(np.ma.masked_invalid(ax.images[0].get_array())) == 2  # the cell, and the worst of none


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"attacks": ["sing_flip"]}, r"attacks\.sing_flip: .*did you mean 'sign_flip'"),
        ({"attacks": [{"kind": "sign_flip", "scale": -1}]}, r"attacks\.sign_flip: scale: -1 is not allowed"),
        ({"attacks": "sign_flip"}, "attacks: 'sign_flip' is not allowed: give a list"),
        ({"attacks": []}, r"attacks: \[\] is not allowed"),
        ({"attacks": {"none": "alie"}}, "attacks: 'none' is not allowed as a name"),
        ({"attacks": [None]}, r"attacks\.none: None is not allowed"),
        ({"defenses": ["nnm"]}, r"defenses\.nnm: nnm only mixes"),
        ({"defenses": [["nnm", "crum"]]}, r"defenses\.nnm >> crum: .*krum"),
        ({"fractions": 0.2}, "fractions: 0.2 is not allowed"),
        ({"fractions": [0, 0.2]}, r"fractions: \[0, 0.2\] is not allowed"),
        ({"fractions": [0.2, 0.2]}, "twice"),
        ({"settings": ["iid"]}, r"settings: \['iid'\] is not allowed"),
        ({"settings": {"x": {"task.partitions": "iid"}}}, r"settings\.x: task\.partitions: .*unknown key"),
        ({"seeds": 5}, "seeds: 5 is not allowed"),
        ({"executor": 0}, "executor: 0 is not allowed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: dict[str, Any], said: str) -> None:
    fine = {"attacks": ["sign_flip"], "defenses": ["mean"], "base": QUICK, "cache": None, "progress": False}
    with pytest.raises(ds.ScenarioError, match=said) as caught:
        ds.robustness(**{**fine, **arguments})
    assert "\n" not in str(caught.value)


def test_the_table_of_the_mission_is_large_enough() -> None:
    assert len(tables.ATTACKS) >= 10
    assert len(tables.DEFENSES) >= 12
    assert len(tables.SETTINGS) == 3
    assert {"badnets", "model_replacement"} <= {*tables.ATTACKS}
    assert [len(tables.SEEDS[profile]) for profile in ("smoke", "paper")] == [1, 5]
    for profile in ("smoke", "paper"):
        base = tables.base_scenario(profile)
        base.check()
        assert base.protocol.fraction == 1
        assert base.protocol.optimiser.momentum == 0.9


def test_what_the_table_names_is_there() -> None:
    for attack in tables.ATTACKS.values():
        for defense in tables.DEFENSES.values():
            tables.base_scenario().but(attack={**attack, "fraction": 0.2}, defense=defense).check()


def test_names_of_the_table_are_its_own_components() -> None:
    chosen = tables._chosen("attacks", ["sign_flip", {"kind": "alie", "z": 2}], tables.ATTACKS, lambda value: value)
    assert chosen == {"sign_flip": {"kind": "sign_flip", "omniscient": True, "scale": 4}, "alie": {"kind": "alie", "z": 2}}
