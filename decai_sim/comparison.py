"""Runs side by side: tables, intervals over seeds, figures."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from decai_sim.errors import ScenarioError
from decai_sim.files import whole
from decai_sim.runs import Run, writable
from decai_sim.viz import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = ("accuracy", "attack_success", "silenced", "seconds", "bytes", "wall_s")
"""What is measured of a run, as columns are called."""
_MAYBE = ("attack_success", "silenced")
LABELS = {
    "accuracy": "final test accuracy (%)",
    "attack_success": "attack success (%)",
    "silenced": "honest nodes silenced",
    "seconds": "virtual seconds",
    "bytes": "bytes sent and received",
    "wall_s": "seconds on this machine",
}
"""What they are called beside an axis."""
_SHARES = ("accuracy", "attack_success")
_CURVES = 8
"""More lines than that nobody can tell apart."""


def measures(run: Run) -> dict[str, float]:
    """What a table says of a run.

    Args:
        run: a finished one.

    Returns:
        ``accuracy`` after the last round; ``attack_success`` likewise, where attackers want something in particular;
        ``silenced``, how many honest nodes the rule silenced, where there was one; virtual ``seconds``; ``bytes`` that nodes have
        sent and received; and ``wall_s``, how long it took here. What is not known is NaN.
    """
    last: Mapping[Any, Any] = run.rounds.iloc[-1].to_dict() if len(run.rounds) else {}
    return {
        "accuracy": run.accuracy,
        "attack_success": float(last.get("attack_success", math.nan)),
        "silenced": run.silenced,
        "seconds": float(last.get("t_s", math.nan)),
        "bytes": float(last.get("bytes_up", math.nan)) + float(last.get("bytes_down", math.nan)),
        "wall_s": float(run.provenance["wall_s"]),
    }


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Where the median of what the values are drawn from lies: between two of them, as far in as the confidence allows.

    Nothing is assumed of the distribution: of ``n`` independent values the ``k``-th least and the ``k``-th greatest enclose the
    median with probability ``1 − 2·P(Bin(n, ½) < k)``. Fewer than six cannot reach 95 %: then it is their range, and less is
    covered than was asked for (two: 50 %, three: 75 %, five: 94 %, one: nothing).

    Args:
        values: one a seed; those not known (NaN) are left out.
        confidence: what is asked for, between 0 and 1.

    Returns:
        The lower end, the upper end, and the probability that they enclose it; NaN and 0 of no values.

    Raises:
        ScenarioError: the confidence is not between 0 and 1.

    Example:
        >>> median_interval([3, 1, 2])
        (1.0, 3.0, 0.75)
        >>> low, high, covered = median_interval(range(20))
        >>> low, high, round(covered, 3)
        (5.0, 14.0, 0.959)
    """
    from scipy.special import bdtr

    if not 0 < confidence < 1:
        raise ScenarioError(f"confidence: {confidence!r} is not allowed: between 0 and 1")
    known = sorted(float(value) for value in values if not math.isnan(value))
    if not known:
        return math.nan, math.nan, 0.0
    covered = [1 - 2 * float(bdtr(k, len(known), 0.5)) for k in range((len(known) + 1) // 2)]
    cut = max((k for k, share in enumerate(covered) if share >= confidence), default=0)
    return known[cut], known[-1 - cut], covered[cut]


@dataclass(eq=False)
class Comparison:
    """Runs of labelled scenarios, one per seed.

    Attributes:
        runs: per label its runs, in the order of the seeds; a run that was stopped or failed is left out.
        failures: ``label, seed, error`` of runs that could not be done, or stalled.
        complete: False if the comparison was stopped before its end.
        points: of scenarios laid out over a grid, per label the values that it stands for, by the fields' names.
    """

    runs: dict[str, list[Run]]
    failures: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = True
    points: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The fields of the grid."""
        return list(next(iter(self.points.values()), {}))

    @property
    def rounds(self) -> pd.DataFrame:
        """All rounds, with columns ``label``, those of the grid, and ``seed`` in front."""
        first = ["label", *self.columns, "seed"]
        frames = [
            one.rounds.assign(label=label, seed=one.scenario.seed, **self.points.get(label, {}))
            for label, runs in self.runs.items()
            for one in runs
        ]
        if not frames:
            return pd.DataFrame(columns=[*first, "run_id", "round", "t_s", "accuracy"])
        frame = pd.concat(frames, ignore_index=True)
        return frame[[*first, *(c for c in frame.columns if c not in first)]]

    @property
    def final(self) -> dict[str, list[float]]:
        """Per label the final accuracies of its runs, 0…1."""
        return {label: [one.accuracy for one in runs] for label, runs in self.runs.items() if runs}

    def frame(self) -> pd.DataFrame:
        """A row a run, those that failed included: ``label``, the columns of the grid, ``seed``, ``run_id``, measures, ``error``.

        See :func:`measures`; ``error`` is None where there was none.

        Example:
            >>> import decai_sim as ds
            >>> base = ds.Scenario(nodes=8, task="digits", protocol={"kind": "federated", "rounds": 1, "fraction": 1})
            >>> found = ds.sweep(base, {"nodes": [4, 8]}, cache=None, progress=False)
            >>> found.frame()[["label", "nodes", "seed", "error"]].values.tolist()
            [['nodes=4', 4, 0, None], ['nodes=8', 8, 0, None]]
        """
        rows: list[dict[str, Any]] = []
        for label, runs in self.runs.items():
            at = {"label": label, **self.points.get(label, {})}
            mine = [{**at, "seed": one.scenario.seed, "run_id": one.run_id, **measures(one), "error": None} for one in runs]
            unknown = dict.fromkeys(MEASURES, math.nan)
            lost = [failure for failure in self.failures if failure["label"] == label]
            mine += [{**at, "seed": one["seed"], "run_id": None, **unknown, "error": one["error"]} for one in lost]
            rows += mine
        columns = ["label", *self.columns, "seed", "run_id", *MEASURES, "error"]
        frame = pd.DataFrame(rows, columns=columns)
        for name in ("run_id", "error"):  # pandas would make None a number that is none
            frame[name] = pd.Series([row[name] for row in rows], dtype=object)
        return frame

    def table(self, confidence: float = 0.95) -> pd.DataFrame:
        """A row a label: final accuracy, virtual minutes and gigabytes, as medians over the seeds.

        ``lowest`` and ``highest`` are the least and the greatest accuracy. ``low`` and ``high`` enclose the median with
        probability ``coverage``, which is at least ``confidence`` from six seeds on: see :func:`median_interval`.

        Args:
            confidence: of the interval.
        """
        rows = []
        for label, runs in self.runs.items():
            if not runs:
                continue
            measured = pd.DataFrame([measures(one) for one in runs])
            accuracy = measured["accuracy"]
            low, high, coverage = median_interval(accuracy.tolist(), confidence)
            row = {
                "scenario": label,
                **self.points.get(label, {}),
                "runs": len(runs),
                "accuracy": accuracy.median(),
                "lowest": accuracy.min(),
                "highest": accuracy.max(),
                "low": low,
                "high": high,
                "coverage": coverage,
                "virtual_minutes": measured["seconds"].median() / 60,
                "gigabytes": measured["bytes"].median() / 1e9,
            }
            rows.append(row | {name: measured[name].median() for name in _MAYBE if measured[name].notna().any()})
        return pd.DataFrame(rows)

    def plot(self, x: str | None = None, value: str = "accuracy", confidence: float = 0.95) -> Figure:
        """What is measured against a field that takes numbers, a line for each combination of the others, a band for the seeds.

        Without such a field: accuracy against time and bytes, who was online when, and the final accuracies.

        Args:
            x: a field of the grid; None: the one with most numbers, if any has two.
            value: what is measured: a column of :meth:`frame`.
            confidence: of the band: see :func:`median_interval`.

        Raises:
            ScenarioError: no run was finished, or there is no such column.
        """
        first = next((one for runs in self.runs.values() for one in runs), None)
        if first is None:
            raise ScenarioError("nothing to plot: no run of the comparison was finished")
        frame, numbers = self.frame(), self._numbers()
        x = x or max(numbers, key=lambda name: numbers[name], default=None)
        if x is None:
            series = {label: pd.concat([one.rounds for one in runs]) for label, runs in self.runs.items() if runs}
            return figures.comparison(series, self.final, first.events, first.scenario.nodes)
        _one_of("x", x, list(numbers))
        _one_of("value", value, MEASURES)
        others = [name for name in self.columns if name != x and frame[name].nunique() > 1]
        lines = {}
        for words, part in frame.groupby(others, sort=False) if others else [((), frame)]:
            rows = []
            for at, seeds in part.groupby(x):
                values = (_factor(value) * seeds[value]).tolist()
                low, high, _ = median_interval(values, confidence)
                rows.append({"x": at, "y": pd.Series(values).median(), "low": low, "high": high})
            lines[", ".join(map(str, words)) or value] = pd.DataFrame(rows)
        fig, (ax,) = figures.panels(1, 1, (7.5, 4.5))
        figures.bands(ax, lines, x, LABELS[value])
        return fig

    def heatmap(
        self,
        rows: str | None = None,
        columns: str | None = None,
        value: str = "accuracy",
        where: Mapping[str, Any] | None = None,
    ) -> Figure:
        """What is measured, as medians over the seeds, over two fields of the grid.

        Args:
            rows: a field; None: the first.
            columns: another; None: the next.
            value: what is measured: a column of :meth:`frame`.
            where: of each further field that takes several values, the one to show.

        Raises:
            ScenarioError: there are no such fields, or a further one takes several values.
        """
        frame = self.frame()
        if len(self.columns) < 2:
            raise ScenarioError("heatmap: there is nothing to lay out: it takes a grid of two fields at least")
        rows = rows or next(name for name in self.columns if name != columns)
        columns = columns or next(name for name in self.columns if name != rows)
        for name, given in (("rows", rows), ("columns", columns)):
            _one_of(name, given, self.columns)
        _one_of("value", value, MEASURES)
        for name, wanted in (where or {}).items():
            _one_of("where", name, self.columns)
            _one_of(f"where.{name}", wanted, frame[name].unique().tolist())
            frame = frame[frame[name] == wanted]
        for name in self.columns:
            if name not in (rows, columns) and frame[name].nunique() > 1:
                several = ", ".join(map(str, frame[name].unique()))
                raise ScenarioError(f"heatmap: {name} takes several values: choose one of {several} with where={{{name!r}: ...}}")
        order = [frame[name].drop_duplicates().tolist() for name in (rows, columns)]
        cells = frame.pivot_table(index=rows, columns=columns, values=value, aggfunc="median", dropna=False)
        cells = _factor(value) * cells.reindex(index=order[0], columns=order[1])
        fig, (ax,) = figures.panels(1, 1, figures.heatmap_size(cells))
        figures.heatmap(ax, cells, LABELS[value])
        return fig

    def save(self, folder: str | Path) -> Path:
        """Write every run (see :meth:`Run.save`) to ``folder/LABEL/seed-N`` and the figure beside them.

        Labels are made fit for folders; equal ones are told apart by a number.
        """
        folder = writable(folder)
        taken: set[str] = set()
        for label, runs in self.runs.items():
            name = base = slug(label)
            while name in taken:
                name = f"{base}-{len(taken)}"
            taken.add(name)
            for one in runs:
                one.save(folder / name / f"seed-{one.scenario.seed}")
        if any(self.runs.values()):
            figures.save(self.plot(), str(folder / "comparison.png"))
        return folder

    def save_tables(self, folder: str | Path) -> Path:
        """Write :meth:`frame` and :attr:`rounds` as Parquet, :meth:`table` as CSV and the figure, without the runs themselves.

        Returns:
            The folder, with ``runs.parquet``, ``rounds.parquet``, ``table.csv`` and, if a run was finished, ``sweep.png``.

        Raises:
            ScenarioError: it cannot be written to.
        """
        folder = writable(folder)
        for name, frame in (("runs", self.frame()), ("rounds", self.rounds)):
            with whole(folder / f"{name}.parquet") as part:
                frame.to_parquet(part, index=False)
        with whole(folder / "table.csv") as part:
            self.table().to_csv(part, index=False)
        if any(self.runs.values()):
            many = len(self.runs) > _CURVES and len(self.columns) == 2 and not self._numbers()
            figures.save(self.heatmap() if many else self.plot(), folder / "sweep.png")
        return folder

    def _numbers(self) -> dict[str, int]:
        """Fields of the grid that take several numbers, and how many."""
        frame = self.frame()
        counts = {name: frame[name].nunique() for name in self.columns if pd.api.types.is_numeric_dtype(frame[name])}
        return {name: count for name, count in counts.items() if count > 1}

    def __repr__(self) -> str:
        done = ", ".join(f"{label}: {len(runs)}" for label, runs in self.runs.items())
        return f"<Comparison ({done}{'' if self.complete else '; stopped early'})>"

    def _repr_html_(self) -> str:
        shown = self.table().style.hide(axis="index").format(precision=3, escape="html")
        note = "" if self.complete else "<p>Stopped early.</p>"
        problems = "".join(
            f"<p>{html.escape(f['label'])}, seed {f['seed']}: {html.escape(f['error'])}</p>" for f in self.failures
        )
        return str(shown.to_html()) + note + problems


def _factor(value: str) -> float:
    return 100.0 if value in _SHARES else 1.0


def _one_of(field: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        there = ", ".join(map(str, allowed)) or "nothing"
        raise ScenarioError(f"{field}: {value!r} is not allowed: choose from {there}")


def slug(label: str) -> str:
    """A label as a folder's name.

    Example:
        >>> slug("NNM + trimmed mean, f>1")
        'nnm-trimmed-mean-f-1'
    """
    return "-".join("".join(c if c.isalnum() else " " for c in label.lower()).split()) or "run"
