"""A replay says of every node what the events say, at every time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import decai_sim as ds
from decai_sim.viz import figures
from decai_sim.viz.palette import BYZANTINE, ONLINE, REJECTED, STATES, TRAINING, shown_as
from decai_sim.viz.replay import Replay

KINDS = ("online", "offline", "job_start", "job_end", "job_lost", "rejected", "timeout")
Event = tuple[float, int, str]


def frame(events: list[Event]) -> pd.DataFrame:
    t_s, node, kind = zip(*events, strict=True) if events else ((), (), ())
    return pd.DataFrame({"t_s": np.array(t_s, float), "node": np.array(node, int), "kind": pd.Series(kind, dtype=object)})


def told_slowly(events: list[Event], byzantine: list[bool], round_ends: list[float], t_s: float) -> list[int]:
    """The same states, event by event."""
    online, training, rejected = (np.zeros(len(byzantine), bool) for _ in range(3))
    steps = [(t, 0, 0, -1, "round") for t in round_ends] + [(t, 1, i, node, kind) for i, (t, node, kind) in enumerate(events)]
    for t, _, _, node, kind in sorted(steps):
        if t > t_s:
            break
        if kind == "round":
            rejected[:] = False
        elif node < 0:
            continue
        elif kind == "online":
            online[node] = True
        elif kind == "offline":
            online[node] = training[node] = False
        elif kind == "job_start":
            training[node], rejected[node] = True, False
        elif kind in ("job_end", "job_lost"):
            training[node] = False
        elif kind == "rejected":
            rejected[node] = True
    return (ONLINE * online + TRAINING * training + REJECTED * rejected + BYZANTINE * np.array(byzantine)).tolist()


times = st.integers(0, 12).map(lambda x: x / 2)


@given(
    events=st.lists(st.tuples(times, st.integers(-1, 3), st.sampled_from(KINDS)), max_size=40),
    byzantine=st.lists(st.booleans(), min_size=4, max_size=5),
    round_ends=st.lists(times, max_size=5),
)
def test_states_are_those_of_the_events(events: list[Event], byzantine: list[bool], round_ends: list[float]) -> None:
    events.sort(key=lambda event: event[0])
    replay = Replay.of(frame(events), byzantine, round_ends=round_ends)
    for t_s in np.arange(0, 7, 0.25):
        assert replay.states(t_s).tolist() == told_slowly(events, byzantine, round_ends, t_s)
    assert replay.end_s == max([0.0, *(t for t, _, _ in events), *round_ends])
    assert (np.diff(replay.t_s) >= 0).all()


@given(st.lists(st.tuples(times, st.integers(0, 3), st.sampled_from(KINDS)), max_size=40))
def test_every_change_changes_something(events: list[Event]) -> None:
    events.sort(key=lambda event: event[0])
    replay = Replay.of(frame(events), [False] * 4)
    states = replay.initial.copy()
    for node, state in zip(replay.node, replay.state, strict=True):
        assert states[node] != state
        states[node] = state


@given(
    events=st.lists(st.tuples(times, st.integers(0, 3), st.sampled_from(KINDS)), max_size=30),
    end_s=times,
)
def test_a_replay_can_end_early(events: list[Event], end_s: float) -> None:
    events.sort(key=lambda event: event[0])
    whole, part = (Replay.of(frame(events), [False] * 4, end_s=end) for end in (None, end_s))
    assert part.states(99).tolist() == whole.states(end_s).tolist()


def test_rejection_is_seen_for_one_round() -> None:
    events = frame([(0.0, 0, "online"), (10.0, 0, "rejected")])
    replay = Replay.of(events, [False], round_ends=[10.0, 20.0, 30.0])
    assert [replay.counts(t)["rejected"] for t in (9.9, 10.0, 19.9, 20.0)] == [0, 1, 1, 0]


def test_nobody_is_there_who_never_came() -> None:
    replay = Replay.of(frame([(0.0, 0, "online"), (5.0, 1, "online")]), [False, False, True])
    assert replay.counts(0.0)["offline"] == 2
    assert replay.counts(5.0) == {"offline": 1, "rejected": 0, "training": 0, "byzantine": 0, "online": 2}


def test_the_first_state_that_fits_is_shown() -> None:
    def name(state: int) -> str:
        return STATES[shown_as(np.array([state], dtype=np.uint8))[0]].name

    assert name(TRAINING | BYZANTINE | REJECTED) == "offline"
    assert name(ONLINE | TRAINING | BYZANTINE | REJECTED) == "rejected"
    assert name(ONLINE | TRAINING | BYZANTINE) == "training"
    assert name(ONLINE | BYZANTINE) == "byzantine"
    assert name(ONLINE) == "online"


def test_wrong_events_are_refused() -> None:
    with pytest.raises(ds.ScenarioError, match=r"events\.node: 2 is not allowed"):
        Replay.of(frame([(0.0, 2, "online")]), [False, False])
    with pytest.raises(ds.ScenarioError, match=r"events\.t_s"):
        Replay.of(frame([(float("nan"), 0, "online")]), [False, False])


def test_a_real_run_replayed_has_as_many_online_as_its_figure() -> None:
    scenario = ds.Scenario(
        nodes=60,
        task="digits",
        network="internet",
        churn={"kind": "exponential", "mean_online_s": 5, "mean_offline_s": 2.5},
        protocol={"kind": "federated", "rounds": 3, "fraction": 0.3},
    )
    run = ds.run(scenario, progress=False)
    replay = Replay.of(run.events, run.nodes["byzantine"].to_numpy(), round_ends=run.rounds["t_s"].to_numpy())
    t, online = figures.online_count(run.events)
    some = slice(None, None, len(t) // 100)
    assert len(t) > 100
    assert [60 - replay.counts(moment)["offline"] for moment in t[some]] == online[some].tolist()
    assert any(replay.counts(moment)["training"] for moment in replay.t_s[:200])
