"""Several scenarios side by side, over several seeds, under common random numbers."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from decai_sim.errors import DecaiError, ScenarioError
from decai_sim.processes import start_ray
from decai_sim.runs import Run, run, writable
from decai_sim.scenario import Scenario
from decai_sim.viz import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(eq=False)
class Comparison:
    """Runs of labelled scenarios, one per seed.

    Attributes:
        runs: per label its runs, in the order of the seeds; a run that was stopped or failed is left out.
        failures: ``label, seed, error`` of runs that could not be done, or stalled.
        complete: False if the comparison was stopped before its end.
    """

    runs: dict[str, list[Run]]
    failures: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = True

    @property
    def rounds(self) -> pd.DataFrame:
        """All rounds, with columns ``label`` and ``seed`` in front."""
        frames = [one.rounds.assign(label=label, seed=one.scenario.seed) for label, runs in self.runs.items() for one in runs]
        if not frames:
            return pd.DataFrame(columns=["label", "seed", "run_id", "round", "t_s", "accuracy"])
        frame = pd.concat(frames, ignore_index=True)
        return frame[["label", "seed", *(c for c in frame.columns if c not in ("label", "seed"))]]

    @property
    def final(self) -> dict[str, list[float]]:
        """Per label the final accuracies of its runs, 0…1."""
        return {label: [one.accuracy for one in runs] for label, runs in self.runs.items() if runs}

    def table(self) -> pd.DataFrame:
        """A row a label: final accuracy (median, least, most over the seeds), virtual minutes and gigabytes (medians)."""
        rows = []
        for label, runs in self.runs.items():
            summaries = pd.DataFrame([one.summary() for one in runs])
            if summaries.empty:
                continue
            accuracy = summaries["accuracy"]
            rows.append(
                {
                    "scenario": label,
                    "runs": len(runs),
                    "accuracy": accuracy.median(),
                    "lowest": accuracy.min(),
                    "highest": accuracy.max(),
                    "virtual_minutes": 60 * summaries["virtual_hours"].median(),
                    "gigabytes": summaries["gigabytes"].median(),
                }
            )
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Accuracy against time and bytes, who was online when, and the final accuracies.

        Raises:
            ScenarioError: no run was finished.
        """
        first = next((one for runs in self.runs.values() for one in runs), None)
        if first is None:
            raise ScenarioError("nothing to plot: no run of the comparison was finished")
        series = {label: pd.concat([one.rounds for one in runs]) for label, runs in self.runs.items() if runs}
        return figures.comparison(series, self.final, first.events, first.scenario.nodes)

    def save(self, folder: str | Path) -> Path:
        """Write every run (see :meth:`Run.save`) to ``folder/LABEL/seed-N`` and the figure beside them.

        Labels are made fit for folders; equal ones are told apart by a number.
        """
        folder = writable(folder)
        taken: set[str] = set()
        for label, runs in self.runs.items():
            name = slug = _slug(label)
            while name in taken:
                name = f"{slug}-{len(taken)}"
            taken.add(name)
            for one in runs:
                one.save(folder / name / f"seed-{one.scenario.seed}")
        if any(self.runs.values()):
            figures.save(self.plot(), str(folder / "comparison.png"))
        return folder

    def __repr__(self) -> str:
        done = ", ".join(f"{label}: {len(runs)}" for label, runs in self.runs.items())
        return f"<Comparison ({done}{'' if self.complete else '; stopped early'})>"

    def _repr_html_(self) -> str:
        shown = self.table().style.hide(axis="index").format(precision=3)
        note = "" if self.complete else "<p>Stopped early.</p>"
        problems = "".join(
            f"<p>{html.escape(f['label'])}, seed {f['seed']}: {html.escape(f['error'])}</p>" for f in self.failures
        )
        return str(shown.to_html()) + note + problems


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
    from tqdm.auto import tqdm

    jobs = [
        (label, scenario if seed is None else scenario.but(seed=seed))
        for seed in (seeds if seeds is not None else (None,))  # seed by seed: its data split is shared and kept
        for label, scenario in scenarios.items()
    ]
    for _, scenario in jobs:
        scenario.check()
    result = Comparison({label: [] for label in scenarios})
    done: dict[int, Run] = {}
    try:
        results = _here(jobs, progress) if workers == 1 else _on_ray(jobs, workers)
        with tqdm(total=len(jobs), unit="run", disable=not progress) as bar:
            for index, outcome in results:
                label, scenario = jobs[index]
                if isinstance(outcome, Run) and outcome.stalled is None:
                    if not outcome.complete:
                        raise KeyboardInterrupt
                    done[index] = outcome
                    bar.set_postfix_str(f"{label}: {outcome.accuracy:.1%}", refresh=False)
                else:
                    error = outcome.stalled if isinstance(outcome, Run) else str(outcome)
                    result.failures.append({"label": label, "seed": scenario.seed, "error": error})
                bar.update()
    except KeyboardInterrupt:
        result.complete = False
    for index in sorted(done):
        result.runs[jobs[index][0]].append(done[index])
    return result


def _attempt(scenario: Scenario, progress: bool) -> Run | Exception:
    try:
        return run(scenario, progress=progress)
    except (DecaiError, ValueError) as error:
        return error


def _here(jobs: list[tuple[str, Scenario]], progress: bool) -> Iterator[tuple[int, Run | Exception]]:
    for index, (_, scenario) in enumerate(jobs):
        yield index, _attempt(scenario, progress)


def _on_ray(jobs: list[tuple[str, Scenario]], workers: int) -> Iterator[tuple[int, Run | Exception]]:
    import ray

    started = start_ray(workers)

    @ray.remote(num_cpus=1, max_retries=0)
    def work(scenario: Scenario) -> Run | Exception:
        import torch

        torch.set_num_threads(1)  # the workers share the cores
        outcome = _attempt(scenario, progress=False)
        if isinstance(outcome, Run):
            del outcome.scenario  # the caller has it; a class of a notebook would come back as another one of its kind
        return outcome

    waiting = {work.remote(scenario): index for index, (_, scenario) in enumerate(jobs)}
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            index = waiting.pop(ready[0])
            try:
                outcome = ray.get(ready[0])
            except ray.exceptions.RayError as error:  # the worker died, or could not be told what to run
                cause = getattr(error, "cause", None) or error
                outcome = RuntimeError(f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}")
            if isinstance(outcome, Run):
                outcome.scenario = jobs[index][1]
            yield index, outcome
    finally:
        if started:
            ray.shutdown()
        else:
            for pending in waiting:
                ray.cancel(pending, force=True)


def _slug(label: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in label.lower()).split()) or "run"
