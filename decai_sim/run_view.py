"""An app for a notebook: choose, run, watch, compare, with the mouse alone."""

from __future__ import annotations

import contextlib
import html
import math
import threading
from collections.abc import Sequence
from typing import Any

import ipywidgets

from decai_sim.runs import Run, duration, run
from decai_sim.scenario import Scenario
from decai_sim.seeding import Streams
from decai_sim.sweeps import Comparison
from decai_sim.viz.controls import Controls
from decai_sim.viz.live import LiveFigure, percent
from decai_sim.viz.palette import MARKERS

CONTROLS = ("attack", "attack.fraction", "defense", "churn", "topology")


class RunView(ipywidgets.VBox):
    """Controls for a scenario, a Run and a Stop button, and the accuracy against virtual time, drawn while it grows.

    Every run's curve stays beside the next one's, so that pressing Run twice makes a comparison. Runs go on in a thread: the
    notebook stays free. Stop ends a run within about a second; what it had measured is kept.

    Args:
        scenario: what to start from; None: the default one.
        controls: dotted fields to be changed by hand.

    Attributes:
        runs: what has been run, in that order; a scenario run again replaces what it gave before.

    Raises:
        ScenarioError: a control leads to no field.

    Example:
        >>> import decai_sim as ds
        >>> scenario = ds.Scenario(nodes=10, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 0.5})
        >>> view = ds.RunView(scenario, controls=["attack", "protocol.rounds"])
        >>> view.start()
        >>> view.wait()
        >>> view.runs[0].complete, view.comparison.table()["runs"].tolist()
        (True, [1])
    """

    def __init__(self, scenario: Scenario | None = None, controls: Sequence[str] = CONTROLS) -> None:
        self._lock = threading.RLock()  # the garbage collector may close an app whose lock this thread holds
        self._under_way = False
        scenario = scenario or Scenario()
        self.controls = Controls(scenario, controls)
        _load_libraries(scenario)
        self._paths = tuple(controls)
        self._done: dict[str, tuple[Run, dict[str, str]]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._run = _button("Run", "play", "Run the scenario above", button_style="primary")
        self._halt = _button("Stop", "stop", "Stop and keep what there is", disabled=True)
        self._clear = _button("Clear", "trash", "Forget all runs", disabled=True)
        self._map = _button("Map", "share-alt", "Replay the last run on a map of its network", disabled=True)
        self._bar = ipywidgets.IntProgress(layout={"width": "180px", "flex": "none"})
        self._status = ipywidgets.HTML()
        self._figure = LiveFigure()
        self._table = ipywidgets.HTML()
        self._place = ipywidgets.VBox()
        self._run.on_click(lambda _: self.start())
        self._halt.on_click(lambda _: self.stop())
        self._clear.on_click(lambda _: self.clear())
        self._map.on_click(lambda _: self.show_map())
        self._say("Choose above, then press Run.")
        buttons = ipywidgets.HBox([self._run, self._halt, self._clear, self._map, self._bar], layout={"align_items": "center"})
        super().__init__([self.controls, buttons, self._status, self._figure, self._table, self._place])
        self.add_class("decai-run-view")

    @property
    def scenario(self) -> Scenario:
        """The scenario as the controls say.

        Raises:
            ScenarioError: they do not suit each other.
        """
        return self.controls.scenario()

    @property
    def runs(self) -> list[Run]:
        """What has been run."""
        return [result for result, _ in self._done.values()]

    @property
    def comparison(self) -> Comparison:
        """All runs side by side, labelled by what differs."""
        labels = self._labels([words for _, words in self._done.values()])
        runs = {label: [result] for label, result in zip(labels, self.runs, strict=True)}
        return Comparison(runs, complete=all(result.complete for result in self.runs))

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._under_way

    def start(self) -> None:
        """Run what the controls say, in a thread; as pressing Run does. Nothing happens while a run is under way."""
        with self._lock:
            if self._under_way:
                return
            try:
                scenario = self.scenario
                scenario.check()
            except Exception as error:  # whatever it is, it belongs where the person who pressed Run looks
                self._complain(error)
                return
            others = [done for key, done in self._done.items() if key != scenario.id]
            if len(others) == len(MARKERS):
                self._complain("there is no room for more curves; press Clear first")
                return
            said = self.controls.described()
            *labels, label = self._labels([*(words for _, words in others), said])
            self._stop.clear()
            self._put_map()
            self._busy(True, scenario.protocol.total_rounds or 0)
            self._say("Starting …")
            self._figure.begin(label, {name: result.rounds for name, (result, _) in zip(labels, others, strict=True)})
            # A daemon: a kernel that is shut down does not wait for a run to end.
            self._thread = threading.Thread(target=self._work, args=(scenario, said), name="RunView", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the run under way; as pressing Stop does. A finished run of the same scenario is worth more and stays."""
        with self._lock:
            if self._under_way:
                self._halt.disabled = True
                self._say("Stopping …")
                self._stop.set()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the run under way to end."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def clear(self) -> None:
        """Forget all runs; as pressing Clear does. Nothing happens while a run is under way."""
        with self._lock:
            if not self._under_way:
                self._done.clear()
                self._put_map()
                self._busy(False)
                self._show()
                self._say("Choose above, then press Run.")

    def show_map(self) -> None:
        """Replay the last run on a map of its network; as pressing Map does. Nothing happens before there is one."""
        if self._done:
            label = self._labels([words for _, words in self._done.values()])[-1]
            try:
                view = self.runs[-1].network_view(label)
            except Exception as error:
                self._complain(error)
            else:
                self._put_map(view)

    def close(self) -> None:
        """Stop what is under way and take the app off the page."""
        self.stop()
        super().close()

    def _put_map(self, *maps: Any) -> None:
        for old in self._place.children:
            old.close()  # or its data would stay for as long as the kernel
        self._place.children = maps

    def _work(self, scenario: Scenario, said: dict[str, str]) -> None:
        outcome: Run | Exception
        try:
            outcome = run(scenario, progress=False, on_round=self._on_round, stop=self._stop)
        except Exception as error:
            outcome = error
        with self._lock:
            if isinstance(outcome, Run):
                before = self._done.get(scenario.id)
                if before is None or outcome.complete or not before[0].complete:
                    self._done.pop(scenario.id, None)
                    self._done[scenario.id] = outcome, said
                how = "Finished" if outcome.complete else "Stopped" if outcome.stalled is None else "Stalled"
                after = f"{how} after {len(outcome.rounds)} rounds"
                if outcome.stalled is None:
                    self._say(f"{after}. Change something and press Run again to compare.")
                else:
                    self._complain(f"{after}: {outcome.stalled}")
            else:
                self._complain(outcome)
            self._show()
            self._busy(False)

    def _on_round(self, row: dict[str, Any]) -> None:
        self._bar.value = row["round"]
        self._figure.add(row)
        if not self._stop.is_set():  # or it would write over "Stopping …"
            learned = not math.isnan(row["accuracy"])
            what = f"accuracy {row['accuracy']:.1%}" if learned else f"{row['n_replied']:,} nodes reached"
            self._say(f"Round {row['round']}: {what} after {duration(row['t_s'])} of virtual time")

    def _show(self) -> None:
        labels = self._labels([words for _, words in self._done.values()])
        self._figure.begin("this run", dict(zip(labels, (one.rounds for one in self.runs), strict=True)))
        self._table.value = _table(labels, self.runs) if self.runs else ""

    def _labels(self, all_said: Sequence[dict[str, str]]) -> list[str]:
        """What tells runs apart, from what the controls said of each."""
        paths = [path for path in self._paths if any(path in said for said in all_said)]
        differing = [path for path in paths if len({said.get(path) for said in all_said}) > 1]
        if not differing:
            differing = [path for path in ("attack", "defense") if path in paths] or paths[:1]
        labels = [", ".join(said[path] for path in differing if path in said) or "run" for said in all_said]
        return [f"{label} ({labels[:i].count(label) + 1})" if label in labels[:i] else label for i, label in enumerate(labels)]

    def _busy(self, busy: bool, rounds: int = 0) -> None:
        self._under_way = busy
        self.controls.lock(busy)
        self._run.disabled, self._halt.disabled = busy, not busy
        self._clear.disabled = self._map.disabled = busy or not self._done
        if busy:
            self._bar.value, self._bar.max = 0, max(rounds, 1)

    def _say(self, text: str) -> None:
        self._status.value = f"<span role='status' style='line-height: 1.3'>{html.escape(text)}</span>"

    def _complain(self, error: object) -> None:
        line = " ".join(str(error).split()) or type(error).__name__
        self._status.value = f"<span role='alert' style='color: #B00020'><b>✗</b> {html.escape(line)}</span>"


def _load_libraries(scenario: Scenario) -> None:
    """Import what the first run of a process would, so that a Stop never waits for it."""
    if not scenario.protocol.learns:
        return
    import decai_sim.flower.strategies  # noqa: F401
    from decai_sim.learning.problem import Problem

    with contextlib.suppress(Exception):  # what is wrong with the data is said when a run needs them
        Problem(scenario.task, 2, Streams(scenario.seed))


def _button(name: str, icon: str, tooltip: str, **options: Any) -> Any:
    return ipywidgets.Button(description=name, icon=icon, tooltip=tooltip, layout={"width": "90px", "flex": "none"}, **options)


def _table(labels: Sequence[str], runs: Sequence[Run]) -> str:
    head = ("", "final accuracy", "rounds", "virtual time", "traffic")
    cells = []
    for label, one in zip(labels, runs, strict=True):
        s = one.summary()
        rounds = f"{s['rounds']}" + ("" if one.complete else " (stopped)")
        accuracy = percent(one.accuracy) if s["rounds"] else "none yet"
        cells.append((label, accuracy, rounds, duration(3600 * s["virtual_hours"]), f"{s['gigabytes']:.2f} GB"))
    style = "padding: 2px 12px; text-align: "
    rows = [
        "<tr>"
        + "".join(f"<td style='{style}{'left' if i == 0 else 'right'}'>{html.escape(c)}</td>" for i, c in enumerate(row))
        + "</tr>"
        for row in cells
    ]
    top = "".join(f"<th style='{style}{'left' if i == 0 else 'right'}'>{name}</th>" for i, name in enumerate(head))
    look = "border-collapse: collapse; line-height: 1.4"
    return f"<table style='{look}'><thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
