"""The command line, as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

import decai_sim as ds

SCENARIO = """
nodes: 12
task: digits
network: {kind: internet}
protocol: {kind: federated, rounds: 2, fraction: 0.5}
"""


def cli(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "decai_sim.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    return path


def test_run_prints_rounds_and_saves_the_run(scenario: Path, tmp_path: Path) -> None:
    done = cli("run", scenario, "--set", "protocol.rounds=3", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    run = ds.Run.load(tmp_path / "out")
    assert len(run.rounds) == 3
    assert (tmp_path / "out" / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_run_json_is_one_object(scenario: Path, tmp_path: Path) -> None:
    done = cli("run", scenario, "--json", "--out", tmp_path / "out")
    answer = json.loads(done.stdout)
    assert set(answer) == {"run_id", "digest", "rounds"}
    assert answer["digest"] == ds.Run.load(tmp_path / "out").trace_digest
    assert [row["round"] for row in answer["rounds"]] == [1, 2]


def test_list_names_families_and_kinds() -> None:
    assert "attacks" in cli("list").stdout
    rows = json.loads(cli("list", "defenses", "--json").stdout)["rows"]
    assert {"krum", "median", "nnm", "trimmed_mean", "mean"} <= {row["kind"] for row in rows}
    wrong = cli("list", "attack")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "attacks" in wrong.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodez: 5", ["nodez", "unknown key"]),
        ("protocol: {kind: federated, round: 5}", ["protocol.round", "unknown key"]),
        ("network: {kind: internet, upload_bps: -1}", ["network.upload_bps", "-1", "greater than 0"]),
        ("attack: {kind: sign_flip, fraction: 1.2}", ["attack.fraction", "1.2", "less than 1"]),
        ("attack: {kind: sing_flip}", ["attack.kind", "sing_flip", "sign_flip"]),
        ("defense: [{kind: nnm}]", ["defense", "nnm"]),
        ("!!python/object/apply:os.system ['echo hacked']", ["YAML"]),
        ("a: [", ["YAML", "line"]),
        ("- 1", ["mapping"]),
        ("nodes: 4\nprotocol: dpsgd\ntopology: {kind: edge_list, path: EDGES}", ["topology", "connected"]),
        ("nodes: 4\nprotocol: dpsgd\ntopology: {kind: edge_list, path: missing.txt}", ["topology.path", "missing.txt"]),
        ("task: {kind: fashion_mnist, model: {kind: mlp, hidden: [0]}}", ["task.model.hidden.0", "0"]),
    ],
)
def test_bad_scenarios_end_in_one_line_and_exit_code_2(text: str, said: list[str], tmp_path: Path) -> None:
    edges = tmp_path / "edges.txt"
    edges.write_text("0 1\n2 3\n")
    path = tmp_path / "bad.yaml"
    path.write_text(text.replace("EDGES", str(edges)))
    done = cli("run", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "hacked" not in done.stdout + done.stderr.replace(text, "")
    for word in said:
        assert word in done.stderr
    assert not (tmp_path / "out").exists()


def test_unreadable_files_end_in_one_line_and_exit_code_2(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(bytes(range(256)))
    for path in (tmp_path / "missing.yaml", binary, tmp_path):
        done = cli("run", path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert path.name in done.stderr


@pytest.mark.parametrize("arguments", [["run"], ["run", "x.yaml", "--set", "oops"], ["fly"], ["demo", "--seeds", "9"]])
def test_wrong_calls_end_in_one_line_and_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    done = cli(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


def test_a_folder_that_cannot_be_used_is_refused_before_the_run(scenario: Path, tmp_path: Path) -> None:
    done = cli("run", scenario, "--out", scenario)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "scenario.yaml" in done.stderr


MATRIX = "network: {kind: internet, latency: {kind: matrix, path: FILE}}"
BAD_FILES = {
    "week.csv": ("churn: {kind: trace, path: FILE}", "node,t_online,t_offline\n0,5,1\n", ["churn.path", "line 2", "0,5,1"]),
    "rtt.csv": (MATRIX, "0,1\n1,0\n", ["network.latency.path", "2 rows"]),
    "words.csv": (MATRIX, "0,1\n1,x\n", ["network.latency.path", "'x'"]),
    "eu.csv": (MATRIX, "EU\n4\n", ["network.latency.path", "no region 'NA'"]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_wrong_files_of_a_scenario_are_found_before_a_folder_is_made(name: str, tmp_path: Path) -> None:
    text, content, said = BAD_FILES[name]
    (tmp_path / name).write_text(content)
    path = tmp_path / "scenario.yaml"
    path.write_text(text.replace("FILE", str(tmp_path / name)))
    with pytest.raises(ds.ScenarioError, match=said[0]):
        ds.Scenario.load(path).check()
    done = cli("run", path, "--out", tmp_path / "deep" / "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    for word in said:
        assert word in done.stderr
    assert not (tmp_path / "deep").exists()


def test_what_only_a_world_can_refuse_leaves_no_folder_behind(scenario: Path, tmp_path: Path) -> None:
    done = cli("run", scenario, "--set", "faults=[{kind: outage, region: Mars}]", "--out", tmp_path / "deep" / "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "Mars" in done.stderr
    assert not (tmp_path / "deep").exists()
    (tmp_path / "mine").mkdir()
    cli("run", scenario, "--set", "faults=[{kind: outage, region: Mars}]", "--out", tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_a_run_that_stalls_is_saved_and_said_in_one_line(scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    crash = "faults=[{kind: takedown, share: 1, at_s: 1}]"
    more = "protocol={kind: dpsgd, rounds: 50}", "topology=ring", crash
    done = cli("run", scenario, *(word for change in more for word in ("--set", change)), "--out", out, "--json")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "the run stalled after" in done.stderr
    assert "dpsgd waits for a node to come online" in done.stderr
    assert str(out) in done.stderr
    run = ds.Run.load(out)
    assert not run.complete
    assert len(json.loads(done.stdout)["rounds"]) == len(run.rounds) >= 1


def test_yaml_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 3000)
    done = cli("run", path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


def test_ctrl_c_leaves_a_usable_partial_run(scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "decai_sim.cli", "run", str(scenario), "--set", "protocol.rounds=100000", "--out", str(out)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it is ignored in what a shell runs in the background
    ) as process:
        assert process.stderr is not None
        seen = ""
        while "accuracy" not in seen:  # the progress bar shows that rounds are being done
            chunk = os.read(process.stderr.fileno(), 4096).decode()
            assert chunk, seen
            seen += chunk
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    run = ds.Run.load(out)
    assert not run.complete
    assert len(run.rounds) >= 1


def test_demo_runs_every_pairing_and_says_where_things_are(tmp_path: Path) -> None:
    done = cli("demo", "--seeds", "1", "--rounds", "1", "--nodes", "60", "--workers", "1", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "comparison.png" in done.stdout
    assert "ALIE" in done.stdout
    assert (tmp_path / "demo" / "comparison.png").is_file()
    assert len((tmp_path / "demo" / "headline.csv").read_text().splitlines()) == 4
    assert len((tmp_path / "demo" / "pairings.csv").read_text().splitlines()) == 4


def test_reproduce_says_what_was_measured_and_whether_it_is_met() -> None:
    done = cli("reproduce", "one-peer-exponential")
    assert done.returncode == 0, done.stderr
    assert "8 of 8 targets met" in done.stdout
    answer = json.loads(cli("reproduce", "one-peer-exponential", "one-peer-exponential", "--json").stdout)
    assert set(answer) == {"rows", "machine"}
    assert len(answer["rows"]) == 8
    assert all(list(row) == ["name", "value", "unit", "target", "meets", "source"] for row in answer["rows"])
    assert answer["machine"]["cpu_count"] == os.cpu_count()
    assert socket.gethostname() not in json.dumps(answer["machine"])
    assert "percolation" in cli("reproduce").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["reproduce", "spectral-gab"], "did you mean 'spectral-gap'"),
        (["reproduce", "--json"], "bitcoin-propagation"),
        (["reproduce", "--all", "--profile", "quick"], "smoke"),
        (["bench", "wurld"], "did you mean 'world'"),
    ],
)
def test_reproduce_and_bench_refuse_in_one_line(arguments: list[str], said: str) -> None:
    done = cli(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert said in done.stderr


def test_a_claim_that_is_not_met_ends_in_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from decai_sim.cli import app
    from decai_sim.papers import claims
    from decai_sim.papers.rows import Row

    @claims.claim("two-and-two", paper="nobody", where="nowhere", statement="2 + 2 = 5.")
    def wrong(profile: str) -> list[Row]:
        return [Row.near("2 + 2", 4, "", 5, 0, "nobody"), Row("seen", 1.0)]

    monkeypatch.setattr(claims, "claims", lambda: {"two-and-two": wrong})
    done = CliRunner().invoke(app, ["reproduce", "--all"])
    assert done.exit_code == 1
    assert "0 of 1 targets met" in done.stdout
    assert CliRunner().invoke(app, ["reproduce", "two-and-two", "--json"]).exit_code == 1


def test_a_bench_that_misses_its_targets_ends_in_exit_code_0(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from decai_sim.benches import bench
    from decai_sim.cli import app
    from decai_sim.papers.rows import Row

    slow = bench.Bench("slow", "Something slow.", lambda: [Row.at_least("speed", 1.0, 2.0, "hope")])
    monkeypatch.setattr(bench, "benches", lambda: {"slow": slow})
    done = CliRunner().invoke(app, ["bench", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["rows"][0]["meets"] is False


def test_lab_serves_the_quickstart_notebook(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token=t"]
    command = [sys.executable, "-m", "decai_sim.cli", "lab", *options]
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path)}
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}/api/contents/00_quickstart.ipynb?token=t"
        for _ in range(240):
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    found = json.loads(answer.read())
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.5)
        assert found["type"] == "notebook"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
        log.close()


def test_a_killed_run_goes_on_where_it_was(scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    longer = ("run", scenario, "--set", "protocol.rounds=40", "--set", "protocol.fraction=1.0", "--json", "--out")
    whole = json.loads(cli(*longer, tmp_path / "whole").stdout)
    command = [sys.executable, "-m", "decai_sim.cli", *map(str, longer), str(out), "--resume"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 120
        while len(list(out.glob("journal/*.safetensors"))) < 3 and time.monotonic() < ends:
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert not (out / "provenance.json").exists()
    assert (out / "journal").is_dir()
    again = json.loads(cli(*longer, out, "--resume").stdout)
    assert again["digest"] == whole["digest"]
    assert again["rounds"] == whole["rounds"]
    assert not (out / "journal").exists()
    assert ds.Run.load(out).complete


SWEEP = """
scenario: {nodes: 8, task: digits, attack: sign_flip, protocol: {kind: federated, rounds: 2, fraction: 1}}
grid: {attack.fraction: [0, 0.25], defense: [mean, [nnm, trimmed_mean]]}
seeds: [0, 1]
"""


def test_sweep_prints_medians_saves_tables_and_runs_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(SWEEP)
    done = cli("sweep", "grid.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nnm" in done.stdout
    out = tmp_path / "runs" / "grid"
    assert {path.name for path in out.iterdir()} == {"runs.parquet", "rounds.parquet", "table.csv", "sweep.png"}
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "sweeps").iterdir()}
    assert len(kept) == 8
    again = cli("sweep", "grid.yaml", "--workers", "2", "--json", "--out", "other", cwd=tmp_path)
    answer = json.loads(again.stdout)
    assert answer["complete"] is True
    assert [row["runs"] for row in answer["table"]] == [2] * 4
    assert [(row["attack.fraction"], row["seed"]) for row in answer["rows"][:3]] == [(0.0, 0), (0.0, 1), (0.0, 0)]
    assert answer["rows"][0]["error"] is None
    assert answer["rows"][0]["attack_success"] is None
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "sweeps").iterdir()} == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scenario: {nodez: 5}", "scenario.nodez"),
        ("scenario: {}\nscenarios: {}", "scenarios"),
        ("scenarios: [1]", "scenarios: [1] is not allowed"),
        ("scenarios: {a: {nodes: 0}}", "scenarios.a.nodes: 0 is not allowed"),
        ("scenario: 3", "scenario: 3 is not allowed"),
        ("grids: {}", "grids: not allowed: unknown key"),
        ("grid: [1]", "grid: [1] is not allowed"),
        ("grid: {defense: mean}", "grid.defense: 'mean' is not allowed"),
        ("grid: {protocol.rounds: [1, 0]}", "protocol.rounds: 0 is not allowed"),
        ("seeds: 3", "seeds: 3 is not allowed"),
        ("- 1", "list is not allowed"),
        ("a: [", "not plain YAML"),
        ("scenario: {nodes: 8, defense: {kind: krum, f: 4}, protocol: {kind: federated, fraction: 1}}", "defense.f: 4"),
    ],
)
def test_bad_sweeps_end_in_one_line_and_exit_code_2(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    done = cli("sweep", "bad.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "runs" / "bad").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", "missing.yaml"],
        ["sweep", "sweep.yaml", "--executor", "cloud"],
        ["sweep", "sweep.yaml", "--executor", "serial", "--workers", "2"],
        ["sweep", "sweep.yaml", "--executor", "processes", "--address", "auto"],
        ["sweep", "sweep.yaml", "--cache", "sweep.yaml"],
        ["robustness", "--attacks", "sing_flip"],
        ["robustness", "--attacks", "{kind: sign_flip, scale: -1}"],
        ["robustness", "--defenses", "[nnm"],
        ["robustness", "--defenses", "nnm", "--attacks", "alie"],
        ["robustness", "--fractions", "2", "--attacks", "alie", "--defenses", "mean"],
        ["robustness", "--profile", "huge"],
    ],
)
def test_wrong_sweeps_and_tables_end_in_one_line_and_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    done = cli(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.stderr


@pytest.mark.parametrize("command", [("sweep", "sweep.yaml"), ("robustness", "--attacks", "label_flip", "--defenses", "mean")])
def test_a_place_that_cannot_be_saved_in_is_found_before_anything_runs(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "taken").write_text("")
    done = cli(*command, "--out", "taken/there", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.stderr
    assert "'taken/there' is not allowed as a folder to save in" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_sweep_with_failures_says_so_and_ends_in_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(SWEEP.replace("[nnm, trimmed_mean]", "{kind: krum, f: 4}"))
    done = cli("sweep", "some.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("failed: fraction=") and "defense.f: 4" in line for line in lines)
    assert sum(row["error"] is not None for row in json.loads(done.stdout)["rows"]) == 4


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_leaves_a_usable_partial_sweep(workers: str, tmp_path: Path) -> None:
    long = SWEEP.replace("rounds: 2", "rounds: 40").replace("seeds: [0, 1]", f"seeds: {list(range(40))}")
    (tmp_path / "long.yaml").write_text(long)
    command = [sys.executable, "-m", "decai_sim.cli", "sweep", "long.yaml", "--workers", workers]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        ends = time.monotonic() + 120
        while len(list(tmp_path.glob("runs/sweeps/[0-9a-f]*"))) < 3 and time.monotonic() < ends:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "stopped early" in errors
    assert 2 <= len(pd.read_parquet(tmp_path / "runs" / "long" / "runs.parquet")) < 160
    assert (tmp_path / "runs" / "long" / "sweep.png").is_file()


def test_robustness_makes_the_table_by_one_command(tmp_path: Path) -> None:
    attacks = "sign_flip,{kind: label_flip}"
    command = ("robustness", "--attacks", attacks, "--defenses", "mean,[nnm, trimmed_mean]", "--workers", "2")
    done = cli(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nnm" in done.stdout
    assert "2 attacks, 2 defenses, 3 settings: 12 runs under attack" in done.stdout
    out = tmp_path / "runs" / "robustness-smoke"
    assert {path.name for path in out.iterdir()} == {
        *("robustness.parquet", "clean.parquet", "robustness.csv", "worst.csv", "robustness.png")
    }
    answer = json.loads(cli(*command, "--json", cwd=tmp_path).stdout)
    assert (len(answer["rows"]), len(answer["worst"])) == (12, 6)
    assert len(list((tmp_path / "runs" / "sweeps").iterdir())) == 18
    worst = {(row["setting"], row["defense"]): row["accuracy"] for row in answer["worst"]}
    assert worst["iid", "mean"] < 0.3 < 0.8 < worst["iid", "nnm >> trimmed_mean"]
