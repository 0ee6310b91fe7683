"""A figure that grows while a run is under way."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Mapping
from typing import Any

import ipywidgets
import pandas as pd

from decai_sim.errors import ScenarioError
from decai_sim.viz import figures


class LiveFigure(ipywidgets.HTML):
    """Accuracy against virtual time, drawn anew as rounds finish, though never for more than a quarter of the time.

    Where nothing is learned, and so there is no accuracy, it is the traffic. Finished curves stay beside the growing one, as far
    as there are markers to tell them apart.

    Args:
        label: of the growing curve.
        finished: the ``rounds`` frames of finished runs, by label.

    Example:
        >>> figure = LiveFigure("a run")
        >>> figure.add({"run_id": "x", "round": 1, "t_s": 60.0, "accuracy": 0.5})
        >>> figure.draw()
        >>> figure.value[:4], "a run" in figure.value
        ('<svg', True)
    """

    def __init__(self, label: str = "this run", finished: Mapping[str, pd.DataFrame] | None = None) -> None:
        super().__init__()
        self._not_before = 0.0
        self.begin(label, finished)

    @classmethod
    def displayed(cls) -> LiveFigure:
        """A new one, shown in the notebook cell under way.

        Raises:
            ScenarioError: this is no notebook.
        """
        from IPython import get_ipython
        from IPython.display import display

        shell: Any = get_ipython()
        if getattr(shell, "kernel", None) is None:
            raise ScenarioError("live: True is not allowed here: a live figure needs a notebook")
        figure = cls()
        display(figure)  # type: ignore[no-untyped-call]
        return figure

    def begin(self, label: str, finished: Mapping[str, pd.DataFrame] | None = None) -> None:
        """Start an empty curve beside ``finished`` ones, and draw."""
        self._label, self._finished = label, dict(finished or {})
        self._rows: list[dict[str, Any]] = []
        self.draw()

    def add(self, row: dict[str, Any]) -> None:
        """Add a round, a row of :attr:`decai_sim.Run.rounds`, to the growing curve."""
        self._rows.append({"run_id": "", **row})
        if time.perf_counter() >= self._not_before:  # never virtual, as other clocks are inside a Flower app
            self.draw()

    def draw(self) -> None:
        """Draw all that has been added."""
        began = time.perf_counter()
        growing = {self._label: pd.DataFrame(self._rows)} if self._rows else {}
        series = {textwrap.fill(label, 36): rounds for label, rounds in {**self._finished, **growing}.items()}
        # Measuring all texts for a layout would take as long as drawing them.
        fig, (ax,) = figures.panels(1, 1, (10, 3.6), layout=None)
        fig.subplots_adjust(left=0.065, right=0.7 if len(series) > 1 else 0.98, bottom=0.14, top=0.96)
        learned = not series or any(rounds["accuracy"].notna().any() for rounds in series.values())
        (figures.accuracy if learned else figures.traffic)(ax, series)
        if len(series) > 1:
            ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=9)
        if not ax.lines:
            ax.set_xlim(0, 60)
        what = "Test accuracy" if learned else "Bytes sent and received"
        self.value = figures.svg(fig, f"{what} against virtual time: {self._said(learned)}")
        now = time.perf_counter()
        self._not_before = now + 3 * (now - began)

    def _said(self, learned: bool) -> str:
        last: dict[str, Any] = {label: rounds.iloc[-1] for label, rounds in self._finished.items() if len(rounds)}
        if self._rows:
            last[self._label] = self._rows[-1]
        words = {label: percent(row["accuracy"]) if learned else _traffic(row) for label, row in last.items()}
        return "; ".join(f"{label} {said}" for label, said in words.items()) or "nothing yet"


def percent(accuracy: float) -> str:
    """An accuracy in words; a dash where there is none.

    Example:
        >>> percent(0.5), percent(float("nan"))
        ('50.0%', '–')
    """
    return "–" if math.isnan(accuracy) else f"{accuracy:.1%}"


def _traffic(row: Any) -> str:
    return f"{(row['bytes_up'] + row['bytes_down']) / 1e6:,.1f} MB"
