"""A replay says of every node what the events say, at every time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import decai_sim as ds
from decai_sim.seeding import Streams
from decai_sim.viz import figures
from decai_sim.viz.palette import BYZANTINE, INFORMED, ONLINE, REJECTED, STATES, TRAINING, shown_as
from decai_sim.viz.replay import Replay
from decai_sim.world import Exponential, Internet, Mix, SmallWorld, World
from decai_sim.world.dissemination import Flood

KINDS = ("online", "offline", "job_start", "job_end", "job_lost", "rejected", "timeout", "published", "informed", "informed")
NOBODY = {"offline": 0, "rejected": 0, "training": 0, "informed": 0, "byzantine": 0, "online": 0}
Event = tuple[float, int, str, str]


def frame(events: list[Event] | list[tuple[float, int, str]], text: str = "object") -> pd.DataFrame:
    names = ("t_s", "node", "kind", "detail")[: len(events[0]) if events else 4]
    types = {"t_s": float, "node": int, "kind": text, "detail": text}
    return pd.DataFrame(events, columns=list(names)).astype({name: types[name] for name in names})


def told_slowly(events: list[Event], byzantine: list[bool], round_ends: list[float], t_s: float) -> list[int]:
    """The same states, event by event."""
    online, training, rejected, informed = (np.zeros(len(byzantine), bool) for _ in range(4))
    newest = None
    steps = [(t, 0, 0, -1, "round", "") for t in round_ends] + [(t, 1, i, *what) for i, (t, *what) in enumerate(events)]
    for t, _, _, node, kind, detail in sorted(steps):
        if t > t_s:
            break
        if kind == "round":
            rejected[:] = False
        elif kind == "published":
            newest, informed[:] = detail, False
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
        elif kind == "informed" and newest in (None, detail):
            informed[node] = True
    bits = ONLINE * online + TRAINING * training + REJECTED * rejected + INFORMED * informed + BYZANTINE * np.array(byzantine)
    return bits.tolist()


times = st.integers(0, 12).map(lambda x: x / 2)
events_of = st.tuples(times, st.integers(-1, 3), st.sampled_from(KINDS), st.sampled_from(["item 0", "item 1", "item 2"]))


@given(
    events=st.lists(events_of, max_size=40),
    byzantine=st.lists(st.booleans(), min_size=4, max_size=5),
    round_ends=st.lists(times, max_size=5),
    text=st.sampled_from(["object", "category"]),
)
def test_states_are_those_of_the_events(events: list[Event], byzantine: list[bool], round_ends: list[float], text: str) -> None:
    replay = Replay.of(frame(events, text), byzantine, round_ends=round_ends)  # in whatever order they were recorded
    for t_s in np.arange(0, 7, 0.25):
        assert replay.states(t_s).tolist() == told_slowly(events, byzantine, round_ends, t_s)
    assert replay.end_s == max([0.0, *(t for t, *_ in events), *round_ends])
    assert (np.diff(replay.t_s) >= 0).all()


@given(st.lists(events_of, max_size=40))
def test_every_change_changes_something(events: list[Event]) -> None:
    replay = Replay.of(frame(events), [False] * 4)
    states = replay.initial.copy()
    for node, state in zip(replay.node, replay.state, strict=True):
        assert states[node] != state
        states[node] = state


@given(events=st.lists(events_of, max_size=30), end_s=times)
def test_a_replay_can_end_early(events: list[Event], end_s: float) -> None:
    whole, part = (Replay.of(frame(events), [False] * 4, end_s=end) for end in (None, end_s))
    assert part.states(99).tolist() == whole.states(end_s).tolist()


def test_rejection_is_seen_for_one_round() -> None:
    events = frame([(0.0, 0, "online"), (10.0, 0, "rejected")])
    replay = Replay.of(events, [False], round_ends=[10.0, 20.0, 30.0])
    assert [replay.counts(t)["rejected"] for t in (9.9, 10.0, 19.9, 20.0)] == [0, 1, 1, 0]


def informed(replay: Replay, t_s: float) -> list[int]:
    return np.flatnonzero(replay.states(t_s) & INFORMED).tolist()


def test_who_is_informed_has_the_newest_item() -> None:
    events = frame(
        [
            *((0.0, node, "online", "") for node in range(3)),
            *((1.0, 0, kind, "item 0") for kind in ("published", "informed")),
            (2.0, 1, "informed", "item 0"),
            *((3.0, 2, kind, "item 1") for kind in ("published", "informed")),
            (4.0, 2, "informed", "item 0"),  # late: it is not news any more
            (5.0, 1, "informed", "item 1"),
        ]
    )
    replay = Replay.of(events, [False] * 3)
    moments = [(0.9, []), (1.0, [0]), (2.0, [0, 1]), (2.9, [0, 1]), (3.0, [2]), (4.5, [2]), (5.0, [1, 2])]
    assert [(t, informed(replay, t)) for t, _ in moments] == moments
    assert replay.counts(2.0) == NOBODY | {"informed": 2, "online": 1}


def test_who_was_away_still_has_the_item() -> None:
    events = [(0.0, 0, "online"), (1.0, 0, "published"), (1.0, 0, "informed"), (2.0, 0, "offline"), (3.0, 0, "online")]
    replay = Replay.of(frame(events), [False])
    names = [STATES[shown_as(replay.states(t))[0]].name for t in (0.5, 1.0, 2.0, 3.0)]
    assert names == ["online", "informed", "offline", "informed"]


def test_what_the_server_publishes_is_news_too() -> None:
    events = [(0.0, 0, "informed", "item 0"), (1.0, -1, "published", "item 1"), (2.0, -1, "informed", "item 1")]
    replay = Replay.of(frame(events), [False])
    assert [informed(replay, t) for t in (0.0, 1.0, 2.0)] == [[0], [], []]


def test_a_flood_replayed_is_as_far_as_the_spread_says() -> None:
    world = World(200, Internet(), Exponential(mean_online_s=20, mean_offline_s=5), Mix(laptop=1), Streams(3), SmallWorld())
    spread = Flood().start(world)
    for until_s in (0.3, 2.0):  # the second one is published while the first is still on its way
        origin = int(np.flatnonzero(world.nodes.online[:200])[0])
        spread.publish(origin, nbytes=10_000)
        world.run(until_s)
    replay = Replay.of(world.trace.events(), [False] * 200, end_s=2.0)
    moments = [0.0, 0.1, 0.2, 0.299, 0.3, 0.301, 0.4, 0.5, 1.0, 2.0]
    expected = [np.flatnonzero(spread.reached_s[int(t >= spread.published_s[1])] <= t).tolist() for t in moments]
    assert [informed(replay, t) for t in moments] == expected
    assert 0 < len(expected[1]) < len(expected[3]) < 200
    assert (spread.reached_s[0] > 0.3).any()
    assert np.isfinite(spread.reached_s[0][spread.reached_s[0] > 0.3]).any()


def test_nobody_is_there_who_never_came() -> None:
    replay = Replay.of(frame([(0.0, 0, "online"), (5.0, 1, "online")]), [False, False, True])
    assert replay.counts(0.0)["offline"] == 2
    assert replay.counts(5.0) == NOBODY | {"offline": 1, "online": 2}


def test_the_first_state_that_fits_is_shown() -> None:
    def name(state: int) -> str:
        return STATES[shown_as(np.array([state], dtype=np.uint8))[0]].name

    assert name(TRAINING | BYZANTINE | REJECTED) == "offline"
    assert name(ONLINE | TRAINING | BYZANTINE | REJECTED) == "rejected"
    assert name(ONLINE | TRAINING | BYZANTINE | INFORMED) == "training"
    assert name(ONLINE | INFORMED | BYZANTINE) == "informed"
    assert name(INFORMED) == "offline"
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
