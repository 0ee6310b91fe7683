"""The command line: parses, calls, prints."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click
import typer

from decai_sim.errors import DecaiError, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from decai_sim.papers.claims import Claim
    from decai_sim.papers.rows import Row

_WIDE = 140
"""Characters of a line where there is no terminal to say."""

app = typer.Typer(
    help="A laboratory for decentralized AI.", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def _changes(pairs: list[str]) -> dict[str, Any]:
    from decai_sim.scenario import parse_yaml

    changes = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ScenarioError(f"--set: {pair!r} is not allowed: write key=value, as in protocol.rounds=5")
        try:
            changes[key] = parse_yaml(text)
        except ScenarioError as error:
            raise ScenarioError(f"--set: {pair!r} is not allowed: {error}") from None
    return changes


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A scenario in YAML.")],
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a dotted field.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to save; default: runs/RUN_ID.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what is trained beside what is saved, and go on from what is there.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes of Ray that train; 0: this one.")] = 0,
    as_json: Json = False,
) -> None:
    """Run a scenario, save its tables and figure, print its rounds.

    With --resume results of training lie in the folder until the run is complete: one that was interrupted, even killed, goes on
    from there when the same command is given again, to the same end.

    Exit code 130 if it was stopped early, 2 if somebody in it waits for what cannot come; what there is of it is saved.
    """
    import warnings

    from decai_sim.runs import STALLED, writable
    from decai_sim.runs import run as execute
    from decai_sim.scenario import Scenario
    from decai_sim.viz import figures

    scenario = Scenario.load(file, _changes(changes or []))
    scenario.check()
    folder = out or Path("runs") / scenario.id
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    writable(folder)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=STALLED)  # it is said below
            result = execute(scenario, progress=not as_json, workers=workers, journal=folder / "journal" if resume else None)
    except BaseException:
        for path in missing:  # the innermost first
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    if not result.complete and (folder / "provenance.json").exists():
        folder = folder.with_name(f"{folder.name}-partial")  # what was finished before is worth more
    result.save(folder)
    if resume and result.complete:
        shutil.rmtree(folder / "journal")
    if len(result.rounds):
        figures.save(result.plot(), str(folder / "overview.png"))
    if as_json:
        rounds = [{key: _plain(value) for key, value in row.items()} for row in result.rounds.to_dict("records")]
        typer.echo(json.dumps({"run_id": result.run_id, "digest": result.trace_digest, "rounds": rounds}))
    else:
        console = _console()
        shown = result.rounds.drop(columns="run_id")
        console.print(_table(f"run {result.run_id}", shown.assign(accuracy=100 * shown["accuracy"])))
        console.print(repr(result), highlight=False, markup=False)
        typer.echo(f"saved in {folder}")
    if result.stalled is not None:
        raise DecaiError(f"the run stalled after {len(result.rounds)} rounds, which are saved in {folder}: {result.stalled}")
    if not result.complete:
        typer.echo("stopped early: what was measured until then is saved", err=True)
        raise typer.Exit(130)


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep in YAML: scenario or scenarios, grid, seeds.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time; with --executor by default all processors.")] = None,
    executor: Annotated[
        Literal["serial", "processes", "ray"] | None,
        typer.Option(help="Who runs them; default: processes, if there are --workers."),
    ] = None,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster, such as auto; default: this machine.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to save; default: runs/NAME_OF_FILE.")] = None,
    cache: Annotated[Path, typer.Option(help="Where finished runs are kept and found again.")] = Path("runs/sweeps"),
    as_json: Json = False,
) -> None:
    """Run a scenario over a grid and several seeds; save the tables and a figure, print medians with intervals.

    Finished runs are kept: one that was interrupted, even killed, goes on from there when the same command is given again. The
    file names fields and the values they take:

        scenario: {nodes: 50, task: digits}

        grid: {attack.fraction: [0, 0.2], defense: [mean, [nnm, krum]]}

        seeds: [0, 1, 2]

    Exit code 1 if a run failed, 130 if it was stopped early; what there is of it is saved.
    """
    from decai_sim.sweeps import read_sweep
    from decai_sim.sweeps import sweep as execute

    asked = read_sweep(file)
    chosen = _executor(executor, workers, address)
    with _kept_for(out or Path("runs") / file.stem) as folder:
        result = execute(**asked, executor=chosen, cache=cache, progress=not as_json)
    result.save_tables(folder)
    table = result.table()
    if as_json:
        rows = {"rows": _records(result.frame()), "table": _records(table)}
        typer.echo(json.dumps({"complete": result.complete, "folder": str(folder), **rows}))
    elif len(table):
        shown = table.drop(columns=["lowest", "highest", *(["scenario"] if result.columns else [])])
        for name in ("accuracy", "low", "high", "coverage"):
            shown[name] *= 100
        shown = shown.rename(columns={"virtual_minutes": "virtual min", "gigabytes": "GB", "coverage": "% sure"})
        shown = shown.rename(columns={name: name.rpartition(".")[2] for name in _unlike(result.columns)})
        _console().print(_table("Final test accuracy in %: medians over the seeds, between low and high", shown))
        typer.echo(f"saved in {folder}")
    failures = [(f"{failure['label']}, seed {failure['seed']}", failure["error"]) for failure in result.failures]
    _end(failures, result.complete)


@contextlib.contextmanager
def _kept_for(folder: Path) -> Iterator[Path]:
    """A folder that can be saved in, which is found out before hours of runs; not left behind if nothing can be run."""
    from decai_sim.runs import writable

    there = folder.exists()
    writable(folder)
    try:
        yield folder
    except DecaiError:
        if not there:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _unlike(columns: Sequence[str]) -> list[str]:
    """Dotted fields that can be told apart by their last words."""
    last = [name.rpartition(".")[2] for name in columns]
    return [name for name, word in zip(columns, last, strict=True) if last.count(word) == 1]


def _executor(name: str | None, workers: int | None, address: str | None) -> Any:
    """Who runs many runs, as options say."""
    from decai_sim.executors import OnRay, Processes, Serial

    if address is not None and name not in (None, "ray"):
        raise ScenarioError(f"--address: {address!r} is not allowed with --executor {name}: only with ray")
    if name == "serial" and workers not in (None, 1):
        raise ScenarioError(f"--workers: {workers} is not allowed with --executor serial: at most 1")
    if name == "ray" or address is not None:
        return OnRay(workers, address)
    if name == "processes" or (workers or 1) > 1:
        return Processes(workers)
    return Serial()


def _end(failures: Sequence[tuple[str, str]], complete: bool) -> None:
    """Say what failed, and leave with what that means."""
    for what, error in failures:
        typer.echo(f"failed: {what}: {error}", err=True)
    if not complete:
        typer.echo("stopped early: what was measured until then is saved", err=True)
        raise typer.Exit(130)
    if failures:
        raise typer.Exit(1)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


@app.command()
def robustness(
    profile: Annotated[
        Literal["smoke", "paper"], typer.Option(help="smoke: minutes, one seed; paper: hours, five seeds and a larger task.")
    ] = "smoke",
    attacks: Annotated[
        str | None, typer.Option(help="Names or components, as in 'alie,{kind: sign_flip, scale: 2}'; default: all of the table.")
    ] = None,
    defenses: Annotated[str | None, typer.Option(help="Likewise, as in 'mean,\\[nnm, krum]'.")] = None,
    fractions: Annotated[str, typer.Option(help="Shares of attackers.")] = "0.2",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all processors.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to save; default: runs/robustness-PROFILE.")] = None,
    cache: Annotated[Path, typer.Option(help="Where finished runs are kept and found again.")] = Path("runs/sweeps"),
    as_json: Json = False,
) -> None:
    """Run every attack against every defense at three heterogeneities; print what the worst attack leaves of each defense.

    Finished runs are kept: one that was interrupted, even killed, goes on from there when the same command is given again.

    Exit code 1 if a run failed, 130 if it was stopped early; what there is of it is saved.
    """
    from decai_sim.executors import Processes, Serial
    from decai_sim.robustness_table import SEEDS, base_scenario
    from decai_sim.robustness_table import robustness as execute

    asked = (
        None if attacks is None else _list(attacks, "--attacks"),
        None if defenses is None else _list(defenses, "--defenses"),
        _list(fractions, "--fractions"),
    )
    began = time.perf_counter()
    with _kept_for(out or Path("runs") / f"robustness-{profile}") as folder:
        table = execute(
            *asked,
            seeds=SEEDS[profile],
            base=base_scenario(profile),
            executor=Serial() if workers == 1 else Processes(workers),
            cache=cache,
            progress=not as_json,
        )
    table.save(folder)
    worst = table.worst()
    if as_json:
        rows = {"rows": _records(table.frame), "worst": _records(worst)}
        typer.echo(json.dumps({"complete": table.complete, "folder": str(folder), **rows}))
    elif len(worst):
        console = _console()
        shown = worst[["setting", "fraction", "defense"]].assign(
            **{"in peace": 100 * worst["clean_accuracy"], "worst": 100 * worst["accuracy"], "by": worst["by"]}
        )
        if worst["attack_success"].notna().any():
            shown["backdoor"] = 100 * worst["attack_success"]
        shown["silenced"] = worst["silenced"]
        console.print(_table("What the worst attack leaves of each defense (final test accuracy in %, medians)", shown))
        told = "backdoor: success of the attack that most often gets what it wants, %; " if "backdoor" in shown else ""
        silenced = "silenced: honest nodes most of whose updates the rule left out, under the worst attack"
        console.print(told + silenced, soft_wrap=True)
        console.print(repr(table), highlight=False, markup=False)
        console.print(f"done in {time.perf_counter() - began:.0f} s", highlight=False)
        typer.echo(f"saved in {folder}")
    lost = table.failures
    named = (lost["attack"] + " | " + lost["defense"] + ", " + lost["setting"] + ", seed " + lost["seed"].astype(str)).tolist()
    _end(list(zip(named, lost["error"].tolist(), strict=True)), table.complete)


def _list(text: str, option: str) -> list[Any]:
    from decai_sim.scenario import parse_yaml

    try:
        values: list[Any] = parse_yaml(f"[{text}]")
    except ScenarioError as error:
        raise ScenarioError(f"{option}: {text!r} is not allowed: {error}") from None
    return values


@app.command()
def deploy(
    file: Annotated[Path, typer.Argument(help="A scenario in YAML, of protocol federated.")],
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a dotted field.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="SuperNodes; default: the scenario's nodes.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to save; default: runs/RUN_ID-deployed.")] = None,
    as_json: Json = False,
) -> None:
    """Run a scenario's apps on a real Flower SuperLink with SuperNodes, on this machine; save and print wall times.

    Exit code 130 if it was stopped early; what there is of it is saved.
    """
    from decai_sim import deployment
    from decai_sim.runs import writable
    from decai_sim.scenario import Scenario

    scenario = Scenario.load(file, {**_changes(changes or []), **({} if nodes is None else {"nodes": nodes})})
    deployment.check(scenario)
    folder = writable(out or Path("runs") / f"{scenario.id}-deployed")
    say = (lambda row: None) if as_json else _say_round
    if not as_json:
        typer.echo(f"{scenario.nodes} SuperNodes, {scenario.protocol.total_rounds} rounds; Ctrl-C stops all of them")
    result = deployment.deploy(scenario, logs=folder / "logs", on_round=say)
    result.save(folder)
    if as_json:
        rounds = [{key: _plain(value) for key, value in row.items()} for row in result.rounds.to_dict("records")]
        typer.echo(json.dumps({"run_id": scenario.id, "complete": result.complete, "rounds": rounds}))
    else:
        shown = result.rounds.drop(columns="run_id")
        _console().print(_table(f"deployed {scenario.id} (seconds of real time)", shown.assign(accuracy=100 * shown["accuracy"])))
        typer.echo(f"saved in {folder}")
    if not result.complete:
        typer.echo("stopped early: what was measured until then is saved", err=True)
        raise typer.Exit(130)


def _say_round(row: dict[str, Any]) -> None:
    typer.echo(f"round {row['round']}: {row['n_replied']} replied, accuracy {row['accuracy']:.1%}, {row['t_s']:.1f} s")


@app.command(name="list")
def list_(
    family: Annotated[str | None, typer.Argument(help="A family of components; none: the families.")] = None,
    as_json: Json = False,
) -> None:
    """List the components of a family."""
    import decai_sim.scenario  # noqa: F401  (registers all families)
    from decai_sim.component import families, kinds

    if family is None:
        rows = [(name, ", ".join(kinds(name))) for name in families()]
    else:
        rows = [(kind, (cls.__doc__ or "").strip().splitlines()[0]) for kind, cls in kinds(family).items()]
    if as_json:
        typer.echo(json.dumps({"family": family, "rows": [{"kind": kind, "about": about} for kind, about in rows]}))
        return
    from rich.table import Table

    table = Table(*(("family", "kinds") if family is None else ("kind", "about")), title=family or "families")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to save.")] = Path("runs/demo"),
    seeds: Annotated[int, typer.Option(min=1, max=3, help="Seeds per scenario.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Processes to run in.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of training.")] = 30,
    nodes: Annotated[int, typer.Option(min=10, help="Nodes.")] = 1000,
) -> None:
    """The quickstart experiment: what an attack costs 1,000 nodes, what a defense buys back, and the subtler attacks."""
    from decai_sim.papers import quickstart
    from decai_sim.runs import writable
    from decai_sim.sweeps import compare

    console = _console()
    began = time.perf_counter()
    base = quickstart.scenario().but(protocol__rounds=rounds, nodes=nodes)
    writable(out)
    headline = quickstart.headline(base)
    console.print(
        f"{base.nodes:,} nodes on the simulated internet train a real model on Fashion-MNIST; 20 % of them attack. "
        f"{seeds} seeds, {rounds} rounds each."
    )
    both = compare({**headline, **quickstart.pairings(base)}, quickstart.SEEDS[:seeds], workers=workers)
    main_runs, others = _split(both, list(headline))
    for failure in both.failures:
        typer.echo(f"failed: {failure['label']}, seed {failure['seed']}: {failure['error']}", err=True)
    if not main_runs.final:
        typer.echo("no run was finished", err=True)
        raise typer.Exit(1 if both.failures else 130)
    folder = main_runs.save(out)
    table = main_runs.table().drop(columns=["low", "high", "coverage"])  # of three seeds the range is all there is
    for column in ("accuracy", "lowest", "highest"):
        table[column] *= 100
    table = table.rename(columns={"virtual_minutes": "virtual min", "gigabytes": "GB"})
    console.print(_table("Three runs side by side (final test accuracy in %, median of the seeds)", table))
    console.print(
        _table(
            "Every attack by every rule (final test accuracy in %, median of the seeds), as found",
            quickstart.pairings_table(others).reset_index(),
        )
    )
    if both.complete and not both.failures:
        p = quickstart.price(main_runs.final)
        expected = f"at least {quickstart.LEAST_POINTS_LOST:g} points lost and {quickstart.LEAST_SHARE_REGAINED:.0%} regained"
        console.print(
            f"The attack cost {p.points_lost:.1f} points of accuracy; the defense bought back {p.share_regained:.0%} of them "
            f"(medians of {p.seeds} seeds; expected: {expected}: {'met' if p.meets else 'not met'}).",
            highlight=False,
        )
        subtle = quickstart.pairings_table(others)["mean"]
        cost = ", ".join(f"{attack} {p.calm - accuracy:+.1f}" for attack, accuracy in subtle.items())
        console.print(f"What the subtler attacks cost the plain mean, in points: {cost}.", highlight=False)
    others.rounds.to_parquet(folder / "pairings.parquet", index=False)
    main_runs.table().to_csv(folder / "headline.csv", index=False)
    quickstart.pairings_table(others).to_csv(folder / "pairings.csv")
    (folder / "scenario.yaml").write_text(base.to_yaml(), encoding="utf-8")
    typer.echo(f"figure: {folder / 'comparison.png'}")  # paths are not to be wrapped
    typer.echo(f"tables, runs and scenario: {folder}")
    console.print(f"done in {time.perf_counter() - began:.0f} s", highlight=False)
    if not both.complete:
        raise typer.Exit(130)
    if both.failures:
        raise typer.Exit(1)


def _split(result: Any, first: list[str]) -> tuple[Any, Any]:
    from decai_sim.sweeps import Comparison

    mine = {label: runs for label, runs in result.runs.items() if label in first}
    others = {label: runs for label, runs in result.runs.items() if label not in first}
    return Comparison(mine, complete=result.complete), Comparison(others, complete=result.complete)


@app.command()
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Claims.")] = None,
    all_claims: Annotated[bool, typer.Option("--all", help="All claims.")] = False,
    profile: Annotated[
        Literal["smoke", "paper"], typer.Option(help="smoke: seconds each; paper: as published, as far as possible.")
    ] = "smoke",
    as_json: Json = False,
) -> None:
    """Check what publications claim: exit code 0 if it is so here, 1 if not. Without a name: list the claims."""
    from decai_sim.papers.claims import claims
    from decai_sim.papers.rows import named

    known = claims()
    if not names and not all_claims:
        if as_json:
            raise DecaiError(f"reproduce: name a claim or say --all: there are {', '.join(known)}")
        _list_claims(known.values())
        return
    chosen = named([*(names or []), *(known if all_claims else [])], known, "claim")
    rows = _measured(chosen, lambda one: one.rows(profile), lambda one: f"{one.name}: {one.statement}", as_json)
    if any(row.meets is False for row in rows):
        raise typer.Exit(1)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Benches; none: all.")] = None,
    as_json: Json = False,
) -> None:
    """Measure how fast things are, as ratios in one run; whatever comes out, the exit code is 0."""
    from decai_sim.benches.bench import benches
    from decai_sim.papers.rows import named

    known = benches()
    chosen = named(names or list(known), known, "bench")
    _measured(chosen, lambda one: one.rows(), lambda one: f"{one.name}: {one.about}", as_json)


def _measured(
    chosen: Sequence[Any], rows_of: Callable[[Any], list[Row]], title: Callable[[Any], str], as_json: bool
) -> list[Row]:
    """Measure one after the other, and print each as soon as it is done, or all as JSON."""
    from decai_sim.papers.rows import machine, report

    console = _console()
    rows: list[Row] = []
    for one in chosen:
        if as_json:
            rows += rows_of(one)
            continue
        with console.status(one.name):
            mine = rows_of(one)
        rows += mine
        console.print(_rows_table(title(one), mine, f"{one.name}: "))
    if as_json:
        typer.echo(json.dumps(report(rows)))
        return rows
    judged = [row.meets for row in rows if row.meets is not None]
    here = machine()
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    console.print(f"{sum(judged)} of {len(judged)} targets met", highlight=False)
    console.print(
        f"on {here['system']} {here['architecture']}, {here['cpu_count']} processors; Python {here['python']}, {versions}",
        highlight=False,
    )
    return rows


def _list_claims(claims: Iterable[Claim]) -> None:
    from rich.table import Table

    table = Table("claim", "statement", "paper", title="claims", show_lines=True)
    for one in claims:
        table.add_row(one.name, one.statement, f"{one.paper}: {one.where}")
    _console().print(table)


def _rows_table(title: str, rows: Sequence[Row], prefix: str) -> Table:
    from rich.table import Table

    met = {None: "", True: "yes", False: "no"}
    table = Table(title=title, title_justify="left")
    for name in ("measured", "value", "unit", "target", "met"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for row in rows:
        style = "bold red" if row.meets is False else None
        table.add_row(row.name.removeprefix(prefix), f"{row.value:,.5g}", row.unit, row.target, met[row.meets], style=style)
    return table


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open the quickstart notebook in JupyterLab; further options go to JupyterLab."""
    notebooks = Path(__file__).resolve().parent.parent / "notebooks"
    start = notebooks / "00_quickstart.ipynb"
    if not start.is_file():
        raise DecaiError(f"lab: {start} is missing: the notebooks come with a checkout of the project")
    command = [sys.executable, "-m", "jupyterlab", str(start), f"--ServerApp.root_dir={notebooks}", *context.args]
    os.execv(sys.executable, command)  # JupyterLab takes over: Ctrl-C is its own to handle


def _console() -> Console:
    """Where tables are printed; into files and pipes as wide as they need, for nobody can widen those."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)


def _table(title: str, frame: pd.DataFrame) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in frame.columns:
        table.add_column(str(name), justify="right" if frame[name].dtype.kind in "iufb" else "left")
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else f"{value}" for value in row))
    return table


def main() -> None:
    """Entry point: what a user can cause ends in one line on stderr and exit code 2."""
    from pydantic import ValidationError

    from decai_sim.errors import explain

    try:
        code = app(standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        code = _complain(error.format_message())
    except ValidationError as error:
        code = _complain(explain(error))
    except DecaiError as error:
        code = _complain(str(error))
    sys.exit(code)


def _complain(message: str) -> int:
    print("decai-sim: " + " ".join(message.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
