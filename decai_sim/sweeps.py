"""Many runs: labelled scenarios or grids of them, over several seeds, under common random numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from decai_sim.comparison import Comparison
from decai_sim.errors import DecaiError, ScenarioError, explain
from decai_sim.executors import Executor, OnRay, Serial, executor_of
from decai_sim.grids import Grid, Scenarios, points
from decai_sim.kept_runs import KeptRuns
from decai_sim.runs import STALLED, Run, run
from decai_sim.scenario import Scenario, parse_yaml

__all__ = ["CACHE", "Comparison", "compare", "each_run", "read_sweep", "seeded", "sweep"]

K = TypeVar("K")
_KEYS = ("scenario", "scenarios", "grid", "seeds")

CACHE = "runs/sweeps"
"""Where finished runs are kept and found again, from the working directory."""


def compare(
    scenarios: Mapping[str, Scenario],
    seeds: Sequence[int] | None = None,
    *,
    workers: int = 1,
    progress: bool = True,
) -> Comparison:
    """Run labelled scenarios, each with every seed.

    Scenarios with the same seed share their world: who is online when, who holds which data, who is an attacker and how long a
    message takes do not depend on the attack or the defense (common random numbers).

    Args:
        scenarios: what to run, by label.
        seeds: of each; None: each scenario's own.
        workers: processes to run them in, with Ray; 1: here, one after the other.
        progress: show a progress bar.

    Returns:
        The :class:`Comparison`; after Ctrl-C, what there is of it. A run that fails is listed in ``failures``.

    Raises:
        ScenarioError: a scenario cannot be run; nothing has been run then.

    Example:
        >>> import decai_sim as ds
        >>> base = ds.Scenario(nodes=10, task="digits", protocol={"kind": "federated", "rounds": 1, "fraction": 0.5})
        >>> both = ds.compare({"mean": base, "median": base.but(defense="median")}, seeds=[1], progress=False)
        >>> both.table().scenario.tolist()
        ['mean', 'median']
    """
    jobs = seeded(scenarios, seeds)
    for _, scenario in jobs:
        scenario.check()
    result = Comparison({label: [] for label in scenarios})
    return _collected(result, jobs, Serial() if workers == 1 else OnRay(workers), None, progress)


def sweep(
    scenarios: Scenarios,
    grid: Grid | None = None,
    seeds: Sequence[int] | None = None,
    executor: Executor | str | int | None = None,
    cache: str | Path | None = CACHE,
    progress: bool = True,
) -> Comparison:
    """Run scenarios with every combination of values of some of their fields, each with every seed.

    Every finished run is kept in ``cache`` and found again, by this call or another, as long as nothing that decides it has
    changed: see :class:`~decai_sim.kept_runs.KeptRuns`. So a sweep that was stopped, or killed, goes on where it was, and loses
    at most the runs under way. Runs that failed are tried again.

    Args:
        scenarios: one, several, or several by name.
        grid: per field the values that it takes: ``{"attack.fraction": [0, 0.2], "defense": ["mean", ["nnm", "krum"]]}``. A field
            is dotted or written with ``__``; a value is what :meth:`Scenario.but` takes; a mapping from names to values names
            them.
        seeds: of each; None: each scenario's own.
        executor: who runs them: see :func:`~decai_sim.executors.executor_of`. None: here, one after the other; a number of
            processes; ``processes``; ``ray``; ``ds.executors.OnRay(address="auto")`` for a cluster.
        cache: a folder; None: nothing is kept.
        progress: show how many are done and how long the others will take.

    Returns:
        The :class:`Comparison`; after Ctrl-C, what there is of it. A run that cannot be done is listed in ``failures``.

    Raises:
        ScenarioError: a field or value is not allowed, the folder cannot be written to, or none of the scenarios can be run;
            nothing has been run then.

    Example:
        >>> import decai_sim as ds
        >>> protocol = {"kind": "federated", "rounds": 1, "fraction": 1}
        >>> base = ds.Scenario(nodes=10, task="digits", attack="sign_flip", protocol=protocol)
        >>> found = ds.sweep(base, {"attack.fraction": [0, 0.3], "defense": ["mean", "median"]}, cache=None, progress=False)
        >>> found.frame()[["attack.fraction", "defense", "seed"]].values.tolist()
        [[0.0, 'mean', 0], [0.0, 'median', 0], [0.3, 'mean', 0], [0.3, 'median', 0]]
    """
    laid_out = points(scenarios, grid)
    labelled = {point.label: point.scenario for point in laid_out}
    if len(labelled) < len(laid_out):
        raise ScenarioError(f"grid: two points have the label {_twice([p.label for p in laid_out])!r}: name values by a mapping")
    jobs = seeded(labelled, seeds)
    result = Comparison({label: [] for label in labelled}, points={point.label: point.at for point in laid_out if point.at})
    return _collected(result, jobs, executor_of(executor), None if cache is None else KeptRuns(cache), progress)


def read_sweep(path: str | Path) -> dict[str, Any]:
    r"""What a file says of a sweep, as arguments of :func:`sweep`.

    The file is YAML: ``scenario`` with one, or ``scenarios`` with several by name; ``grid``, ``seeds``, as there; nothing else.

    Args:
        path: the file.

    Returns:
        ``scenarios``, ``grid``, ``seeds``.

    Raises:
        ScenarioError: the file cannot be read, is not YAML, or describes no sweep; one line says where and why.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "sweep.yaml"
        >>> _ = path.write_text("scenario: {nodes: 8}\ngrid: {defense: [mean, [nnm, krum]]}\nseeds: [1, 2]")
        >>> found = read_sweep(path)
        >>> found["scenarios"].nodes, found["grid"], found["seeds"]
        (8, {'defense': ['mean', ['nnm', 'krum']]}, [1, 2])
    """
    path = Path(path)
    try:
        config = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: is not a text file; a sweep is YAML") from None
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise ScenarioError(f"{path}: {type(config).__name__} is not allowed: a sweep is a mapping of {', '.join(_KEYS)}")
    for key in config:
        if key not in _KEYS:
            raise ScenarioError(f"{path}: {key}: not allowed: unknown key: a sweep has {', '.join(_KEYS)}")
    if "scenario" in config and "scenarios" in config:
        raise ScenarioError(f"{path}: scenarios: not allowed beside scenario: give one of the two")
    several, grid = config.get("scenarios"), config.get("grid")
    if grid is not None and not (isinstance(grid, dict) and all(isinstance(name, str) for name in grid)):
        raise ScenarioError(f"{path}: grid: {grid!r} is not allowed: give a mapping from fields to values")
    if "scenarios" not in config:
        found: Scenarios = _scenario(path, "scenario", config.get("scenario"))
    elif isinstance(several, dict) and several:
        found = {str(name): _scenario(path, f"scenarios.{name}", part) for name, part in several.items()}
    else:
        raise ScenarioError(f"{path}: scenarios: {several!r} is not allowed: give a mapping from names to scenarios")
    return {"scenarios": found, "grid": grid, "seeds": config.get("seeds")}


def _scenario(path: Path, where: str, config: Any) -> Scenario:
    if config is not None and not isinstance(config, dict):
        raise ScenarioError(f"{path}: {where}: {config!r} is not allowed: a scenario is a mapping of fields")
    try:
        return Scenario.model_validate(config or {})
    except ValidationError as error:
        raise ScenarioError(f"{path}: {where}.{explain(error)}") from None


def each_run(
    scenarios: Sequence[Scenario],
    executor: Executor,
    kept: KeptRuns | None,
    progress: bool,
    named: Callable[[int], str] = str,
) -> Iterator[tuple[int, Run | str]]:
    """Run scenarios, or find their runs; equal ones are run once.

    Args:
        scenarios: what to run.
        executor: who runs them.
        kept: where finished runs are looked for and kept; None: nowhere.
        progress: show how many are done and how long the others will take.
        named: what the scenario with this number is called beside the bar.

    Yields:
        The number of a scenario, and its run or why there is none, in one line; those found come first.

    Raises:
        KeyboardInterrupt: a run was stopped.
        ScenarioError: none of the scenarios can be run.
    """
    from tqdm.auto import tqdm

    same: dict[str, list[int]] = {}
    for index, scenario in enumerate(scenarios):
        same.setdefault(scenario.id, []).append(index)
    missing: list[int] = []
    refused: list[tuple[int, str]] = []
    for index, *_ in same.values():
        scenario = scenarios[index]
        try:
            found = None if kept is None else kept.find(scenario)
            if found is None:
                scenario.check()
        except Exception as error:
            refused.append((index, _line(error)))
            continue
        if found is None:
            missing.append(index)
            continue
        yield from ((each, found) for each in same[scenario.id])
    if len(refused) == len(same) and refused:
        raise ScenarioError(refused[0][1])
    for index, reason in refused:
        yield from ((each, reason) for each in same[scenarios[index].id])
    if not missing:
        return
    work = partial(_attempt, progress=progress) if executor.here else _attempt_there
    # Those found are no measure of how long the others take.
    with tqdm(total=len(same), initial=len(same) - len(missing), unit="run", disable=not progress) as bar:
        for number, outcome in executor.each(work, [scenarios[index] for index in missing]):
            index = missing[number]
            result = _result(outcome, scenarios[index])
            if isinstance(result, Run):
                if kept is not None:
                    kept.keep(result)
                bar.set_postfix_str(f"{named(index)}: {result.accuracy:.1%}", refresh=False)
            bar.update()
            yield from ((each, result) for each in same[scenarios[index].id])


def _result(outcome: Run | Exception, scenario: Scenario) -> Run | str:
    """A finished run, or why there is none."""
    if isinstance(outcome, Exception):
        return _line(outcome)
    outcome.scenario = scenario
    if outcome.stalled is not None:
        return outcome.stalled
    if not outcome.complete:
        raise KeyboardInterrupt
    return outcome


def seeded(scenarios: Mapping[K, Scenario], seeds: Sequence[int] | None) -> list[tuple[K, Scenario]]:
    """Every scenario with every seed, seed by seed, for runs of one seed share their data split, which is kept.

    Args:
        scenarios: by anything.
        seeds: None: each scenario's own.

    Raises:
        ScenarioError: these are no seeds.
    """
    if seeds is None:
        return list(scenarios.items())
    wrong = isinstance(seeds, str) or not isinstance(seeds, Sequence | range)
    if wrong or not seeds or any(isinstance(s, bool) or not isinstance(s, Integral) or s < 0 for s in seeds):
        raise ScenarioError(f"seeds: {seeds!r} is not allowed: give a list of whole numbers from 0")
    if len(set(seeds)) < len(seeds):
        raise ScenarioError(f"seeds: {seeds!r} is not allowed: one stands there twice")
    return [(label, scenario.but(seed=int(seed))) for seed in seeds for label, scenario in scenarios.items()]


def _collected(
    result: Comparison, jobs: list[tuple[str, Scenario]], executor: Executor, kept: KeptRuns | None, progress: bool
) -> Comparison:
    done: dict[int, Run] = {}
    try:
        for index, outcome in each_run([s for _, s in jobs], executor, kept, progress, lambda index: jobs[index][0]):
            label, scenario = jobs[index]
            if isinstance(outcome, Run):
                done[index] = outcome
            else:
                result.failures.append({"label": label, "seed": scenario.seed, "error": outcome})
    except KeyboardInterrupt:
        result.complete = False
    for index in sorted(done):
        result.runs[jobs[index][0]].append(done[index])
    return result


def _attempt(scenario: Scenario, progress: bool) -> Run:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=STALLED)  # it is among the failures
        return run(scenario, progress=progress)


def _attempt_there(scenario: Scenario) -> Run:
    outcome = _attempt(scenario, progress=False)
    del outcome.scenario  # the caller has it; a class of a notebook would come back as another one of its kind
    return outcome


def _line(error: Exception) -> str:
    """Why there is no run, in one line."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, DecaiError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _twice(labels: Sequence[str]) -> str:
    return next(label for label in labels if labels.count(label) > 1)
