"""A live figure grows with its run, and costs little."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from nbclient import NotebookClient

import decai_sim as ds
from decai_sim.viz import figures, live
from decai_sim.viz.live import LiveFigure

TINY = ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 1})


def row(number: int, accuracy: float = 0.5) -> dict[str, Any]:
    return {"round": number, "t_s": 60.0 * number, "accuracy": accuracy, "bytes_up": 1e6, "bytes_down": 1e6}


class Watch:
    """A clock that only drawing moves, by ``drawing_s``, and whoever calls :meth:`sleep`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, drawing_s: float) -> None:
        self.now, self.drawn = 0.0, 0
        svg = figures.svg

        def slow(fig: Any, title: str) -> str:
            self.sleep(drawing_s)
            self.drawn += 1
            return svg(fig, title)

        monkeypatch.setattr(live.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(figures, "svg", slow)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_it_draws_what_is_added_and_says_so() -> None:
    figure = LiveFigure("calm")
    empty = figure.value
    assert 'aria-label="Test accuracy against virtual time: nothing yet"' in empty
    figure.add(row(1, 0.25))
    figure.draw()
    one = figure.value
    assert 'aria-label="Test accuracy against virtual time: calm 25.0%"' in one
    figure.add(row(2, 0.75))
    figure.draw()
    assert "calm 75.0%" in figure.value
    assert len({empty, one, figure.value}) == 3


def test_finished_curves_stay_beside_the_growing_one() -> None:
    frame = pd.DataFrame([{"run_id": "a", **row(1, 0.1)}, {"run_id": "a", **row(2, 0.2)}])
    figure = LiveFigure("new", {"old": frame, "empty": frame[:0]})
    assert "virtual time: old 20.0%" in figure.value
    figure.add(row(1, 0.9))
    figure.draw()
    assert "virtual time: old 20.0%; new 90.0%" in figure.value
    figure.begin("next")
    assert "nothing yet" in figure.value


def test_where_nothing_is_learned_it_shows_the_traffic() -> None:
    nan = float("nan")
    figure = LiveFigure("flood")
    figure.add(row(1, nan))
    figure.draw()
    assert 'aria-label="Bytes sent and received against virtual time: flood 2.0 MB"' in figure.value
    figure.begin("calm", {"flood": pd.DataFrame([{"run_id": "a", **row(1, nan)}])})
    figure.add(row(1, 0.5))
    figure.draw()
    assert 'aria-label="Test accuracy against virtual time: flood –; calm 50.0%"' in figure.value


def test_labels_cannot_break_out_of_the_figure() -> None:
    figure = LiveFigure('"><script>x</script>')
    figure.add(row(1))
    figure.draw()
    assert "<script" not in figure.value


def test_the_first_round_after_a_pause_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch, drawing_s=1.0)
    figure = LiveFigure()
    watch.sleep(3.0)
    figure.add(row(1))
    assert "this run 50.0%" in figure.value
    assert watch.drawn == 2


@pytest.mark.parametrize("between_s", [0.01, 0.4, 3.0, 5.0])
def test_it_never_draws_for_more_than_a_quarter_of_the_time(monkeypatch: pytest.MonkeyPatch, between_s: float) -> None:
    watch = Watch(monkeypatch, drawing_s=1.0)
    figure = LiveFigure()
    rounds = min(200, int(20 / between_s))
    for number in range(1, rounds + 1):
        watch.sleep(between_s)
        figure.add(row(number))
    assert watch.drawn - 1 <= watch.now / 4  # the first one, empty, has no time before it
    assert watch.drawn - 1 >= int(watch.now / (4 + between_s)) - 1  # and not more seldom than that asks for
    figure.draw()
    assert "50.0%" in figure.value


def test_many_quick_rounds_are_drawn_a_few_times() -> None:
    figure = LiveFigure()
    drawn: list[object] = []
    figure.observe(drawn.append, "value")
    for number in range(1, 201):
        figure.add(row(number))
    assert len(drawn) < 20
    figure.draw()
    assert drawn


def test_it_grows_while_a_run_in_virtual_time_is_under_way() -> None:
    figure = LiveFigure()
    figure._not_before = time.perf_counter()  # over, in real time, when the first round has been run
    run = ds.run(TINY.but(protocol__rounds=1), progress=False, on_round=figure.add)
    assert f"this run {run.accuracy:.1%}" in figure.value


def test_it_leaves_no_figure_in_pyplot() -> None:
    before = plt.get_fignums()
    LiveFigure().draw()
    assert plt.get_fignums() == before


def test_outside_a_notebook_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(ds.protocols.Federated, "run", lambda self, lab: started.append(lab))
    with pytest.raises(ds.ScenarioError, match="live figure needs a notebook"):
        LiveFigure.displayed()
    with pytest.raises(ds.ScenarioError, match="live: True is not allowed here") as caught:
        ds.run(TINY, live=True, progress=False)
    assert "\n" not in str(caught.value)
    assert started == []


def test_in_a_notebook_it_is_shown_and_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(Path(ds.__file__).parents[1]))
    code = f"import decai_sim as ds\nrun = ds.run(ds.Scenario.model_validate({TINY.to_config()!r}), live=True, progress=False)"
    after = "print(run.complete, round(100 * run.accuracy, 1))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (code, after)])
    notebook = NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    first, second = notebook.cells
    (view,) = (output.data["application/vnd.jupyter.widget-view+json"] for output in first.outputs)
    complete, accuracy = second.outputs[0].text.split()
    assert complete == "True"
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    shown = states[view["model_id"]]["state"]["value"]
    assert f"this run {accuracy}%" in shown
    assert shown.startswith("<svg")
