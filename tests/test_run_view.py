"""Running, watching, stopping and comparing by buttons."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets
import pytest
import torch

import decai_sim as ds
from decai_sim.component import _FAMILIES
from decai_sim.viz.live import LiveFigure
from decai_sim.viz.palette import MARKERS

TINY = ds.Scenario(nodes=6, seed=2, task="digits", protocol={"kind": "federated", "rounds": 2, "fraction": 1, "lr": 0.05})
ENDLESS = TINY.but(protocol__rounds=100_000)
CHOICES = ["attack", "attack.fraction", "defense"]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test leaves a run behind."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name in ("RunView", "ServerApp")] == []


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for family, members in list(_FAMILIES.items()):
        monkeypatch.setitem(_FAMILIES, family, dict(members))


class Hand:
    """Somebody with a mouse and eyes."""

    def __init__(self, view: ds.RunView) -> None:
        self.view = view
        parts = [part for child in view.children[1:] for part in (child, *getattr(child, "children", ()))]
        buttons = {part.description: part for part in parts if isinstance(part, ipywidgets.Button)}
        self.run, self.stop, self.clear = (buttons[name] for name in ("Run", "Stop", "Clear"))
        (self.bar,) = (part for part in parts if isinstance(part, ipywidgets.IntProgress))
        (self.figure,) = (part for part in parts if isinstance(part, LiveFigure))
        self.status, self.table = (part for part in parts if type(part) is ipywidgets.HTML)

    def choose(self, path: str, label: str) -> None:
        menu = self.view.controls.widget(path)
        menu.value = dict(menu.options)[label]

    def run_through(self) -> None:
        self.run.click()
        self.view.wait(60)
        assert not self.view.running

    def when(self, widget: Any, holds: Callable[[Any], bool]) -> threading.Event:
        """Set once ``holds`` is true of the widget's value."""
        event = threading.Event()
        widget.observe(lambda change: event.set() if holds(change.new) else None, "value")
        return event

    @property
    def said(self) -> str:
        return html.unescape(re.sub(r"<[^>]*>", "", self.status.value))

    @property
    def complains(self) -> bool:
        return "role='alert'" in self.status.value

    @property
    def buttons(self) -> tuple[bool, bool, bool]:
        """Which of Run, Stop, Clear can be pressed."""
        return not self.run.disabled, not self.stop.disabled, not self.clear.disabled

    @property
    def rows(self) -> list[list[str]]:
        """The table's cells."""
        rows = re.findall(r"<tr>(.*?)</tr>", self.table.value)[1:]
        return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]

    @property
    def drawn(self) -> str:
        """What the figure tells those who cannot see it."""
        return html.unescape(re.search(r'aria-label="([^"]*)"', self.figure.value)[1])


@pytest.fixture
def hand() -> Hand:
    return Hand(ds.RunView(TINY, CHOICES))


@pytest.fixture
def endless() -> Iterator[Hand]:
    hand = Hand(ds.RunView(ENDLESS, CHOICES))
    yield hand
    hand.view.stop()
    hand.view.wait(60)


# -- running ------------------------------------------------------------------------------------------------------------------


def test_a_run_by_button_is_the_run_by_code(hand: Hand) -> None:
    assert hand.buttons == (True, False, False)
    hand.choose("attack", "sign flip")
    hand.view.controls.widget("attack.fraction").value = 0.4
    hand.run_through()
    scenario = TINY.but(attack={"kind": "sign_flip", "fraction": 0.4})
    expected = ds.run(scenario, progress=False)
    (run,) = hand.view.runs
    assert run.scenario == scenario == hand.view.scenario
    assert run.complete
    assert (run.trace_digest, run.accuracy) == (expected.trace_digest, expected.accuracy)
    assert hand.said.startswith("Finished after 2 rounds")
    assert hand.bar.value == hand.bar.max == 2
    assert hand.buttons == (True, False, True)
    assert hand.rows[0][1:3] == [f"{expected.accuracy:.1%}", "2"]
    assert hand.drawn.endswith(f"{expected.accuracy:.1%}")


def test_where_nothing_is_learned_it_shows_how_far_news_gets() -> None:
    scenario = ds.Scenario(nodes=30, network="internet", protocol={"kind": "broadcast", "items": 2, "interval_s": 5})
    hand = Hand(ds.RunView(scenario, ["protocol.dissemination", "faults"]))
    told = hand.when(hand.status, lambda value: "Round 2: 30 nodes reached after" in value)
    hand.run_through()
    assert told.is_set()
    (run,) = hand.view.runs
    traffic = run.rounds[["bytes_up", "bytes_down"]].iloc[-1].sum()
    assert hand.rows[0][1:3] == ["–", "2"]
    assert hand.drawn == f"Bytes sent and received against virtual time: flood {traffic / 1e6:,.1f} MB"
    hand.choose("protocol.dissemination", "gossipsub")
    hand.view.controls.widget("faults").value = "[{kind: crash, share: 0.5}]"
    hand.run_through()
    assert labels(hand) == ["flood, no faults", "gossipsub, crash"]
    assert hand.view.runs[1].rounds["n_replied"].max() <= 15
    hand.view.show_map()
    (shown,) = hand.view.children[-1].children
    shown.t_s = 4.9
    assert shown.states()["informed"] > 0


def test_bar_status_and_figure_move_while_it_runs_and_the_controls_rest(endless: Hand) -> None:
    moved = endless.when(endless.bar, lambda value: value >= 1)
    told = endless.when(endless.status, lambda value: "accuracy" in value and "virtual time" in value)
    drawn = endless.when(endless.figure, lambda value: "nothing yet" not in value)
    endless.run.click()
    assert moved.wait(60)
    assert told.wait(60)
    assert drawn.wait(60)
    assert endless.view.running
    assert endless.buttons == (False, True, False)
    assert all(endless.view.controls.widget(path).disabled for path in CHOICES)
    assert endless.bar.max == 100_000
    endless.stop.click()
    endless.view.wait(60)
    assert [endless.view.controls.widget(path).disabled for path in CHOICES] == [False, True, False]


def test_a_stopped_run_is_kept_and_usable(endless: Hand, tmp_path: Path) -> None:
    moved = endless.when(endless.bar, lambda value: value >= 2)
    endless.run.click()
    assert moved.wait(60)
    endless.stop.click()
    endless.view.wait(60)
    (run,) = endless.view.runs
    assert not run.complete
    assert 2 <= len(run.rounds) < 100_000
    assert run.rounds["round"].tolist() == list(range(1, len(run.rounds) + 1))
    assert len(run.plot().axes) == 3
    assert ds.Run.load(run.save(tmp_path)).rounds.equals(run.rounds)
    assert not endless.view.comparison.complete
    assert endless.said.startswith(f"Stopped after {len(run.rounds)} rounds")
    assert endless.rows[0][2] == f"{len(run.rounds)} (stopped)"
    assert endless.buttons == (True, False, True)


def test_a_run_stopped_before_its_first_round_is_shown_all_the_same(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ds.protocols.Federated.run

    def stopped_first(self: ds.protocols.Federated, lab: Any) -> None:
        hand.stop.click()
        original(self, lab)

    monkeypatch.setattr(ds.protocols.Federated, "run", stopped_first)
    hand.run_through()
    (run,) = hand.view.runs
    assert (run.complete, len(run.rounds)) == (False, 0)
    assert hand.rows[0][1:3] == ["none yet", "0 (stopped)"]
    monkeypatch.undo()
    hand.run_through()
    assert [one.complete for one in hand.view.runs] == [True]  # a stop is not remembered


def test_starting_and_clearing_do_nothing_while_a_run_is_under_way(endless: Hand) -> None:
    endless.run.click()
    threads = [thread for thread in threading.enumerate() if thread.name == "RunView"]
    endless.view.start()
    endless.run.click()
    endless.view.clear()
    assert [thread for thread in threading.enumerate() if thread.name == "RunView"] == threads
    assert not endless.said.startswith("Choose")
    endless.stop.click()
    endless.view.wait(60)
    assert len(endless.view.runs) == 1


def test_stopping_and_waiting_without_a_run_do_nothing(hand: Hand) -> None:
    before = hand.said
    hand.view.stop()
    hand.view.wait()
    hand.view.clear()
    assert (hand.said, hand.view.runs, hand.view.running) == (before, [], False)


# -- comparing ----------------------------------------------------------------------------------------------------------------


def labels(hand: Hand) -> list[str]:
    assert [row[0] for row in hand.rows] == list(hand.view.comparison.runs)
    return [row[0] for row in hand.rows]


def test_runs_accumulate_and_are_told_apart_by_what_differs(hand: Hand) -> None:
    hand.run_through()
    assert labels(hand) == ["no attack, no defense"]
    hand.choose("attack", "sign flip")
    hand.run_through()
    assert labels(hand) == ["no attack", "sign flip, attackers' share 20%"]
    hand.view.controls.widget("attack.fraction").value = 0.4
    hand.choose("defense", "median")
    hand.run_through()
    assert labels(hand) == [
        "no attack, no defense",
        "sign flip, attackers' share 20%, no defense",
        "sign flip, attackers' share 40%, median",
    ]
    assert hand.drawn.count("%;") == 2
    assert hand.view.comparison.table()["accuracy"].tolist() == [run.accuracy for run in hand.view.runs]


def test_only_what_differs_is_said() -> None:
    hand = Hand(ds.RunView(TINY.but(attack="alie"), ["attack", "defense", "protocol.rounds"]))
    hand.run_through()
    hand.choose("defense", "krum")
    hand.run_through()
    assert labels(hand) == ["no defense", "krum"]


def test_values_that_read_alike_are_numbered() -> None:
    hand = Hand(ds.RunView(TINY.but(attack="sign_flip"), ["attack.fraction"]))
    hand.run_through()
    hand.view.controls.widget("attack.fraction").value = 0.2001
    hand.run_through()
    assert labels(hand) == ["attackers' share 20%", "attackers' share 20% (2)"]


def test_the_same_scenario_again_replaces_what_it_gave(hand: Hand) -> None:
    hand.run_through()
    (first,) = hand.view.runs
    hand.choose("defense", "median")
    hand.run_through()
    hand.choose("defense", "no defense")
    hand.run_through()
    assert [run.scenario.defense is None for run in hand.view.runs] == [False, True]
    assert hand.view.runs[1] is not first
    assert hand.view.runs[1].trace_digest == first.trace_digest
    assert labels(hand) == ["median", "no defense"]


def test_clear_forgets(hand: Hand) -> None:
    hand.run_through()
    hand.clear.click()
    assert hand.view.runs == []
    assert (hand.rows, hand.buttons) == ([], (True, False, False))
    assert hand.drawn.endswith("nothing yet")
    assert hand.said.startswith("Choose above")
    hand.run_through()
    assert len(hand.view.runs) == 1


def test_there_is_room_for_as_many_curves_as_can_be_told_apart() -> None:
    hand = Hand(ds.RunView(TINY.but(nodes=3, protocol__rounds=1), ["protocol.lr"]))
    for step in range(len(MARKERS)):
        hand.view.controls.widget("protocol.lr").value = 0.01 * (step + 1)
        hand.run_through()
    assert len(hand.view.runs) == len(MARKERS) == len(set(labels(hand)))
    hand.view.controls.widget("protocol.lr").value = 0.5
    hand.run_through()
    assert hand.complains
    assert hand.said == "✗ there is no room for more curves; press Clear first"
    assert len(hand.view.runs) == len(MARKERS)
    hand.view.controls.widget("protocol.lr").value = 0.01  # one of those there
    hand.run_through()
    assert not hand.complains
    assert len(hand.view.runs) == len(MARKERS)


# -- what goes wrong ----------------------------------------------------------------------------------------------------------


def complained(hand: Hand) -> str:
    assert hand.complains
    assert "\n" not in hand.said
    assert hand.buttons[:2] == (True, False)
    return hand.said


def test_what_does_not_go_together_is_said_in_one_line_and_nothing_runs() -> None:
    hand = Hand(ds.RunView(TINY.but(protocol={"kind": "dpsgd", "rounds": 1}, topology="ring"), ["defense", "devices.laptop"]))
    hand.choose("defense", "zeno")
    hand.run_through()
    assert complained(hand).endswith("there is no server whose samples it could use")
    hand.choose("defense", "no defense")
    hand.view.controls.widget("devices.laptop").value = 0.5
    hand.run_through()
    assert "must sum to 1" in complained(hand)
    assert hand.view.runs == []
    hand.view.controls.widget("devices.laptop").value = 1
    hand.run_through()
    assert not hand.complains
    assert len(hand.view.runs) == 1


def test_a_control_that_leads_nowhere_is_refused_at_once() -> None:
    with pytest.raises(ds.ScenarioError, match=r"controls: 'attack\.volume' is not allowed"):
        ds.RunView(TINY, ["attack.volume"])


@pytest.mark.usefixtures("_registry")
def test_a_run_that_fails_says_why_and_the_next_one_works() -> None:
    class Bomb(ds.attacks.UpdateAttack):
        """Goes off."""

        def __call__(self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: Any = None) -> torch.Tensor:
            raise RuntimeError("<img src=x onerror=alert(1)>\nand a second line")

    hand = Hand(ds.RunView(TINY, ["attack"]))
    hand.run_through()
    hand.choose("attack", "bomb")
    hand.run_through()
    assert "<img src=x onerror=alert(1)> and a second line" in complained(hand)
    assert "<img" not in hand.status.value
    assert "&lt;img" in hand.status.value
    assert (len(hand.view.runs), len(hand.rows)) == (1, 1)
    assert "bomb" not in hand.drawn
    hand.choose("attack", "ALIE")
    hand.run_through()
    assert labels(hand) == ["no attack", "ALIE"]
    assert not hand.complains


@pytest.mark.usefixtures("_registry")
def test_a_scenario_run_again_that_fails_keeps_what_it_gave_before() -> None:
    class Fickle(ds.attacks.SignFlip):
        """Works until it does not."""

        works: ClassVar[bool] = True

        def __call__(self, *args: Any) -> torch.Tensor:
            if not type(self).works:
                raise ValueError
            return super().__call__(*args)

    hand = Hand(ds.RunView(TINY.but(attack={"kind": "fickle", "fraction": 0.4}), ["attack"]))
    hand.run_through()
    assert len(hand.rows) == 1
    Fickle.works = False
    hand.run_through()
    assert "ValueError" in complained(hand)
    assert len(hand.view.runs) == len(hand.rows) == 1
    assert hand.view.runs[0].complete
    assert "fickle" in hand.drawn
    assert hand.buttons == (True, False, True)


@pytest.mark.usefixtures("_registry")
def test_whatever_a_check_raises_is_said() -> None:
    class Careless(ds.attacks.LabelFlip):
        """Cannot even be checked."""

        def check(self, classes: int) -> None:
            raise KeyError("nowhere")

    hand = Hand(ds.RunView(TINY.but(attack="careless"), ["attack"]))
    hand.run_through()
    assert "nowhere" in complained(hand)
    assert hand.view.runs == []


def test_a_finished_run_is_worth_more_than_the_same_one_stopped() -> None:
    hand = Hand(ds.RunView(TINY, ["attack"]))
    hand.run_through()
    hand.view.start()
    hand.view.stop()
    hand.view.wait()
    assert [one.complete for one in hand.view.runs] == [True]
