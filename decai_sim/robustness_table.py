"""The robustness table: every attack against every defense, with the price of each defense in peace."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import ValidationError

from decai_sim.comparison import LABELS, MEASURES, measures, slug
from decai_sim.component import parse, whole_share
from decai_sim.defenses.chain import parse_defense
from decai_sim.errors import ScenarioError, explain
from decai_sim.executors import Executor, executor_of
from decai_sim.files import whole
from decai_sim.grids import changed, names
from decai_sim.kept_runs import KeptRuns
from decai_sim.runs import Run, writable
from decai_sim.scenario import Scenario
from decai_sim.sweeps import CACHE, each_run, seeded
from decai_sim.viz import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _knowing(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "omniscient": True, **fields}


ATTACKS: dict[str, Any] = {
    "label_flip": {"kind": "label_flip"},
    "sign_flip": _knowing("sign_flip", scale=4),
    "gaussian": _knowing("gaussian"),
    "alie": _knowing("alie"),
    "optimised_alie": _knowing("optimised_alie"),
    "ipm": _knowing("ipm"),
    "optimised_ipm": _knowing("optimised_ipm"),
    "min_max": _knowing("min_max"),
    "min_sum": _knowing("min_sum"),
    "mimic": _knowing("mimic"),
    "fang": _knowing("fang"),
    "badnets": {"kind": "badnets"},
    "model_replacement": _knowing("model_replacement"),
}
"""The table's attacks: those on updates see all honest ones first, as in the literature they come from."""

DEFENSES: dict[str, Any] = {
    "mean": "mean",
    "median": "median",
    "trimmed_mean": "trimmed_mean",
    "meamed": "meamed",
    "geometric_median": "geometric_median",
    "krum": "krum",
    "multi_krum": "multi_krum",
    "bulyan": "bulyan",
    "centered_clipping": {"kind": "centered_clipping", "tau": 0.3},  # about twice as far as honest updates go in the first round
    "nnm >> trimmed_mean": ["nnm", "trimmed_mean"],
    "nnm >> krum": ["nnm", "krum"],
    "nnm >> geometric_median": ["nnm", "geometric_median"],
    "bucketing >> krum": ["bucketing", "krum"],
    "dnc": "dnc",
    "sign_guard": "sign_guard",
    "clipped_clustering": "clipped_clustering",
}
"""The table's defenses."""

SETTINGS: dict[str, dict[str, Any]] = {
    "iid": {"task.partition": "iid"},
    "dirichlet 1": {"task.partition": {"kind": "dirichlet", "alpha": 1.0}},
    "dirichlet 0.1": {"task.partition": {"kind": "dirichlet", "alpha": 0.1}},
}
"""The table's three heterogeneities: labels alike at all nodes, unlike, and one or two labels at most nodes."""

SEEDS = {"smoke": (0,), "paper": (0, 1, 2, 3, 4)}
_NEVER = 10**9
_KEYS = ("setting", "fraction", "defense")


def base_scenario(profile: str = "smoke") -> Scenario:
    """What the table is measured on: 25 nodes, all asked every round, who keep a momentum of 0.9 over single steps.

    So a round is a step of SGD with worker momentum, the setting that most of the attacks and defenses were published in.

    Args:
        profile: ``smoke``: handwritten digits and a perceptron of 32 units, one to four seconds a run; ``paper``: Fashion-MNIST
            and 64 units, ten to twenty seconds.

    Example:
        >>> base_scenario().nodes, base_scenario("paper").task.kind
        (25, 'fashion_mnist')
    """
    small = profile == "smoke"
    return Scenario.model_validate(
        {
            "nodes": 25,
            "network": "internet",
            "task": {"kind": "digits" if small else "fashion_mnist", "model": {"kind": "mlp", "hidden": [32 if small else 64]}},
            "protocol": {
                "kind": "federated",
                "rounds": 100 if small else 200,
                "fraction": 1.0,
                "local_steps": 1,
                "batch_size": 16 if small else 32,
                "lr": 0.05,
                "optimiser": {"kind": "sgd", "momentum": 0.9},
                "keep_state": True,
            },
        }
    )


@dataclass(eq=False)
class Robustness:
    """Every attack against every defense.

    Attributes:
        frame: a row a run under attack: ``setting, attack, fraction, defense, seed, clean_accuracy, accuracy, attack_success,
            silenced, seconds, bytes, wall_s, passed_over, error``. Accuracies are final ones, 0…1; ``clean_accuracy`` is that of
            the same defense, which expects as many attackers, with everybody honest; for the others see
            :func:`~decai_sim.comparison.measures` and :attr:`decai_sim.Run.passed_over`. What failed, or learned nothing because
            the defense never had enough updates, has its ``error`` and NaN.
        clean: a row a run without attack, with the same columns but ``attack`` and ``clean_accuracy``.
        complete: False if it was stopped before its end; what was not run is not there.
    """

    frame: pd.DataFrame
    clean: pd.DataFrame
    complete: bool = True

    @property
    def failures(self) -> pd.DataFrame:
        """Runs that failed: ``setting, attack, fraction, defense, seed, error``; the attack is ``none`` of those without."""
        columns = ["setting", "attack", "fraction", "defense", "seed", "error"]
        both = pd.concat([self.frame[columns], self.clean.assign(attack=CALM)[columns]], ignore_index=True)
        return both[both["error"].notna()].reset_index(drop=True)

    def worst(self) -> pd.DataFrame:
        """The attack that each defense fares worst against, a row for every setting, fraction and defense.

        Returns:
            ``setting, fraction, defense, clean_accuracy, accuracy, by, lost, attack_success, success_by, silenced, seconds,
            bytes, attacks``: medians over the seeds under the attack ``by``; ``lost`` is what it took of the clean accuracy,
            ``attack_success`` the highest of all attacks, that of ``success_by``, ``attacks`` how many were measured.
        """
        rows = []
        over_seeds = [name for name in ("clean_accuracy", *MEASURES) if name != "wall_s"]
        for key, part in self.frame.groupby(list(_KEYS), sort=False):
            middle = part.groupby("attack", sort=False)[over_seeds].median()
            known = middle.dropna(subset=["accuracy"]).sort_values("accuracy", kind="stable")
            by = known.index[0] if len(known) else None
            found = {name: float(known[name].iloc[0]) if len(known) else math.nan for name in over_seeds}
            found["clean_accuracy"] = float(part["clean_accuracy"].median())
            lost = found["clean_accuracy"] - found["accuracy"]
            success = middle["attack_success"].dropna()
            who = {"by": by, "success_by": success.idxmax() if len(success) else None}
            found["attack_success"] = float(success.max())
            rows.append({**dict(zip(_KEYS, key, strict=True)), **found, **who, "lost": lost, "attacks": len(known)})
        first = [*_KEYS, "clean_accuracy", "accuracy", "by", "lost", "attack_success", "success_by"]
        table = pd.DataFrame(rows, columns=[*first, *(name for name in over_seeds if name not in first), "attacks"])
        for name in ("by", "success_by"):  # pandas would make None a number that is none
            table[name] = pd.Series([row[name] for row in rows], dtype=object)
        return table

    def cells(self, setting: str, fraction: float | None = None, value: str = "accuracy") -> pd.DataFrame:
        """One setting as a table: a row a defense, a column an attack.

        In front is ``none``, what it is in peace; of accuracies and attack success ``worst`` comes last, the least and the most.
        Attacks of which nothing is known, such as the success of those that want nothing in particular, are left out.

        Args:
            setting: which.
            fraction: share of attackers; None: the only one, or the first.
            value: a column of :attr:`frame`; medians over the seeds.

        Raises:
            ScenarioError: there is no such setting, fraction or column.
        """
        fraction = self._fraction(fraction)
        _one_of("setting", setting, self.frame["setting"].unique().tolist())
        _one_of("value", value, MEASURES)

        def mine(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[(frame["setting"] == setting) & (frame["fraction"] == fraction)]

        there = mine(self.frame)
        cells = there.groupby(["defense", "attack"], sort=False)[value].median().unstack(sort=False)
        cells = cells.loc[:, cells.notna().any() | (value == "accuracy")]
        worst = {"accuracy": cells.min(axis=1), "attack_success": cells.max(axis=1)}.get(value)
        calm = mine(self.clean).groupby("defense", sort=False)[value].median().reindex(cells.index)
        if calm.notna().any() or value == "accuracy":
            cells.insert(0, CALM, calm)
        if worst is not None:
            cells["worst"] = worst
        return cells.rename_axis(index="defense", columns="attack")

    def heatmap(self, setting: str | None = None, fraction: float | None = None, value: str = "accuracy") -> Figure:
        """:meth:`cells` as colours.

        Args:
            setting: which; None: all of them, one under the other.
            fraction: share of attackers; None: the only one, or the first.
            value: a column of :attr:`frame`.

        Raises:
            ScenarioError: nothing was run, or there is no such setting, fraction or column.
        """
        if self.frame.empty:
            raise ScenarioError("heatmap: nothing to show: no run under attack was finished")
        settings = self.frame["setting"].unique().tolist() if setting is None else [setting]
        percent = value in ("accuracy", "attack_success")
        tables = [(100 if percent else 1) * self.cells(name, fraction, value) for name in settings]
        alike = all(tables[0].columns.equals(cells.columns) for cells in tables)
        named = [not alike or number == len(tables) - 1 for number in range(len(tables))]
        sizes = [figures.heatmap_size(cells) for cells in tables]
        unnamed = [0.0 if shown else 0.9 for shown in named]
        high = sum(h + 0.3 - less for (_, h), less in zip(sizes, unnamed, strict=True))
        fig, axes = figures.panels(len(tables), 1, (max(w for w, _ in sizes), high))
        what = LABELS[value]
        share = f"{self._fraction(fraction):.0%} attackers"
        for ax, name, cells, shown in zip(axes, settings, tables, named, strict=True):
            limits = {"low": 0.0, "high": 100.0, "digits": 0} if percent else {}
            figures.heatmap(ax, cells, f"{name}, {share}: {what}", **limits)  # type: ignore[arg-type]
            if not shown:  # the last one's names are everybody's
                ax.tick_params(axis="x", labelbottom=False)
                ax.set_xlabel("")
            for column in (1 if cells.columns[0] == CALM else 0, len(cells.columns) - (cells.columns[-1] == "worst")):
                ax.axvline(column - 0.5, color="white", linewidth=4)
        return fig

    def save(self, folder: str | Path) -> Path:
        """Write both frames as Parquet, all rows and the worst cases as CSV, and a heat map of each fraction as PNG.

        Returns:
            The folder: ``robustness.parquet``, ``clean.parquet``, ``robustness.csv``, ``worst.csv``, ``robustness.png`` (of
            several fractions with the share in the name).

        Raises:
            ScenarioError: it cannot be written to.
        """
        folder = writable(folder)
        for name, frame in (("robustness", self.frame), ("clean", self.clean)):
            with whole(folder / f"{name}.parquet") as part:
                frame.to_parquet(part, index=False)
        for name, frame in (("robustness", self.frame), ("worst", self.worst())):
            with whole(folder / f"{name}.csv") as part:
                frame.to_csv(part, index=False)
        fractions = self.frame["fraction"].unique().tolist()
        for fraction in fractions:
            if self.frame.loc[self.frame["fraction"] == fraction, "accuracy"].notna().any():
                more = "" if len(fractions) == 1 else f"-{slug(f'{fraction:g}')}"
                figures.save(self.heatmap(fraction=fraction), folder / f"robustness{more}.png")
        return folder

    def _fraction(self, fraction: float | None) -> float:
        there = self.frame["fraction"].unique().tolist()
        if fraction is None and there:
            return float(there[0])
        _one_of("fraction", fraction, there)
        return float(fraction)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        count = {name: self.frame[name].nunique() for name in ("attack", "defense", "setting")}
        state = "" if self.complete else "; stopped early"
        text = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for name, number in count.items())
        return f"<Robustness ({text}: {len(self.frame)} runs under attack{state})>"

    def _repr_html_(self) -> str:
        shown = self.worst()
        percent = [name for name in ("clean_accuracy", "accuracy", "lost", "attack_success") if shown[name].notna().any()]
        more = [name for name in ("silenced",) if shown[name].notna().any()]
        shown = shown[[*_KEYS, *percent, "by", *more]]
        styled = shown.style.hide(axis="index").format(
            {"fraction": "{:.0%}", **dict.fromkeys(percent, "{:.1%}")}, precision=3, escape="html"
        )
        styled = styled.set_caption("What the worst of the attacks leaves of each defense; medians over the seeds")
        lines = [
            f"{row.setting}, {row.attack}, {row.defense}, seed {row.seed}: {row.error}" for row in self.failures.itertuples()
        ]
        notes = [*([] if self.complete else ["Stopped early."]), *lines]
        return str(styled.to_html()) + "".join(f"<p>{html.escape(note)}</p>" for note in notes)


CALM = "none"
"""What having no attack is called."""


def robustness(
    attacks: Sequence[Any] | Mapping[str, Any] | None = None,
    defenses: Sequence[Any] | Mapping[str, Any] | None = None,
    fractions: Sequence[float] = (0.2,),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: Sequence[int] = (0,),
    *,
    base: Scenario | None = None,
    executor: Executor | str | int | None = None,
    cache: str | Path | None = CACHE,
    progress: bool = True,
) -> Robustness:
    """Run every attack against every defense, and every defense in peace.

    Runs are kept and found again as by :func:`~decai_sim.sweep`: a table that was stopped, or killed, goes on where it was.

    In peace a defense expects as many attackers as under attack, for what it costs is the price of that: these attackers are
    there and sleep. So a clean run depends on the fraction, too.

    Args:
        attacks: names from :data:`ATTACKS`, or what a scenario takes as ``attack``, in a list or by name; None: :data:`ATTACKS`,
            most of which see all updates first, as attackers can under protocols with a server alone.
        defenses: likewise, of :data:`DEFENSES`.
        fractions: shares of attackers.
        settings: by name what to change in ``base``, as dotted fields; None: the three heterogeneities of :data:`SETTINGS`.
        seeds: of every run. Runs of one seed share their world.
        base: what is attacked; None: :func:`base_scenario`.
        executor: who runs them, as for :func:`~decai_sim.sweep`.
        cache: a folder; None: nothing is kept.
        progress: show how many are done and how long the others will take.

    Returns:
        The :class:`Robustness`; after Ctrl-C, what there is of it. Runs that fail are rows with an error.

    Raises:
        ScenarioError: a name, a field or a value is not allowed, a share makes no attacker, or nothing of it can be run; nothing
            has been run then.

    Example:
        >>> import decai_sim as ds
        >>> quick = ds.Scenario(nodes=8, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 1})
        >>> options = {"settings": {"as it is": {}}, "base": quick, "cache": None, "progress": False}
        >>> table = ds.robustness(["sign_flip"], ["mean", "median"], **options)
        >>> table.worst()[["setting", "defense", "by"]].values.tolist()
        [['as it is', 'mean', 'sign_flip'], ['as it is', 'median', 'sign_flip']]
    """
    base = base_scenario() if base is None else base
    against = _chosen("attacks", attacks, ATTACKS, lambda value: parse("attacks", value))
    rules = _chosen("defenses", defenses, DEFENSES, parse_defense)
    shares = _fractions(fractions)
    places = {name: _changed(f"settings.{name}", base, changes) for name, changes in _settings(settings).items()}
    if CALM in against:
        raise ScenarioError(f"attacks: {CALM!r} is not allowed as a name: every defense is run without attack anyway")
    for setting, place in places.items():
        for share in shares:
            if not whole_share(share, place.nodes):
                raise ScenarioError(
                    f"fractions: {share:g} is not allowed: of {place.nodes} nodes in setting {setting!r} that makes no attacker; "
                    f"at least 1/{place.nodes}"
                )
    asleep = {"kind": "sign_flip", "from_round": _NEVER}
    scenarios: dict[tuple[str, str, float, str], Scenario] = {}
    for setting, place in places.items():
        for defense, rule in rules.items():
            defended = _changed("defenses", place, {"defense": rule})
            for share in shares:
                for attack, made in {CALM: asleep, **against}.items():
                    config = made if isinstance(made, dict) else made.to_config()
                    named = f"attacks.{attack}"
                    scenarios[setting, attack, share, defense] = _changed(
                        named, defended, {"attack": {**config, "fraction": share}}
                    )
    jobs = seeded(scenarios, seeds)
    rows: dict[int, dict[str, Any]] = {}
    complete = True
    kept = None if cache is None else KeptRuns(cache)
    try:
        for index, outcome in each_run([s for _, s in jobs], executor_of(executor), kept, progress, lambda i: _said(*jobs[i][0])):
            rows[index] = _row(jobs[index][0], jobs[index][1].seed, outcome)
    except KeyboardInterrupt:
        complete = False
    return _table([rows[index] for index in sorted(rows)], [*scenarios], complete)


def _said(setting: str, attack: str, share: float, defense: str) -> str:
    return f"{attack}, {defense}, {setting}"


def _row(key: tuple[str, str, float, str], seed: int, outcome: Run | str) -> dict[str, Any]:
    setting, attack, share, defense = key
    row = {"setting": setting, "attack": attack, "fraction": share, "defense": defense, "seed": seed}
    nothing = dict.fromkeys(MEASURES, math.nan)
    if not isinstance(outcome, Run):
        return row | nothing | {"passed_over": math.nan, "error": outcome}
    missed = outcome.passed_over
    if missed == 1:  # what it measures is the model that it began with
        said = f"defense: {defense} is not allowed: every round had too few updates for it and was passed over"
        return row | nothing | {"passed_over": missed, "error": said}
    return row | measures(outcome) | {"passed_over": missed, "error": None}


def _table(rows: list[dict[str, Any]], order: list[tuple[str, str, float, str]], complete: bool) -> Robustness:
    places = {key: number for number, key in enumerate(order)}
    rows = sorted(rows, key=lambda row: places[row["setting"], row["attack"], row["fraction"], row["defense"]])
    columns = ["setting", "attack", "fraction", "defense", "seed", *MEASURES, "passed_over", "error"]
    calm = {
        (row["setting"], row["fraction"], row["defense"], row["seed"]): row["accuracy"] for row in rows if row["attack"] == CALM
    }

    def frame(part: list[dict[str, Any]]) -> pd.DataFrame:
        made = pd.DataFrame(part, columns=columns)
        made["error"] = pd.Series([row["error"] for row in part], dtype=object)
        return made

    attacked = [row for row in rows if row["attack"] != CALM]
    whole_frame = frame(attacked)
    clean = [calm.get((r["setting"], r["fraction"], r["defense"], r["seed"]), math.nan) for r in attacked]
    whole_frame.insert(columns.index("accuracy"), "clean_accuracy", pd.Series(clean, dtype=float))
    return Robustness(whole_frame, frame([row for row in rows if row["attack"] == CALM]).drop(columns="attack"), complete)


def _chosen(field: str, values: Any, known: Mapping[str, Any], made: Any) -> dict[str, Any]:
    """Components by name."""
    given = values
    if values is None:
        values = known
    elif isinstance(values, Sequence) and not isinstance(values, str):
        values = dict(zip(names(values), (known.get(v, v) if isinstance(v, str) else v for v in values), strict=True))
    elif not isinstance(values, Mapping) or "kind" in values:
        raise ScenarioError(f"{field}: {values!r} is not allowed: give a list, or a mapping from names")
    if not values:
        raise ScenarioError(f"{field}: {given!r} is not allowed: give at least one")
    found = {}
    for name, value in values.items():
        try:
            found[str(name)] = made(value)
        except ValidationError as error:
            raise ScenarioError(f"{field}.{name}: {explain(error)}") from None
        except ValueError as error:
            raise ScenarioError(f"{field}.{name}: {error}") from None
        if value is None:
            raise ScenarioError(f"{field}.{name}: None is not allowed")
    return found


def _fractions(fractions: Any) -> list[float]:
    values = list(fractions) if isinstance(fractions, Sequence) and not isinstance(fractions, str) else None
    if not values or any(isinstance(v, bool) or not isinstance(v, int | float) or not 0 < v < 1 for v in values):
        raise ScenarioError(f"fractions: {fractions!r} is not allowed: give a list of shares between 0 and 1")
    if len(set(values)) < len(values):
        raise ScenarioError(f"fractions: {fractions!r} is not allowed: one stands there twice")
    return [float(value) for value in values]


def _settings(settings: Any) -> Mapping[str, Mapping[str, Any]]:
    settings = SETTINGS if settings is None else settings
    if not isinstance(settings, Mapping) or not settings or not all(isinstance(v, Mapping) for v in settings.values()):
        raise ScenarioError(f"settings: {settings!r} is not allowed: give a mapping from names to fields and values")
    return settings


def _changed(where: str, base: Scenario, changes: Mapping[str, Any]) -> Scenario:
    try:
        return changed(base, changes)
    except ScenarioError as error:
        raise ScenarioError(f"{where}: {error}") from None


def _one_of(field: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ScenarioError(f"{field}: {value!r} is not allowed: choose from {', '.join(map(str, allowed)) or 'nothing'}")
