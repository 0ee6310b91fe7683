"""The app of ``tests/flower_apps``, unmodified, on a lossy and churning internet."""

from __future__ import annotations

from pathlib import Path

import decai_sim as ds

NODES, ROUNDS, TIMEOUT = 12, 4, 90.0


def test_it_sees_deadlines_missing_replies_and_late_listings_in_virtual_time(digits_app: Path) -> None:
    scenario = ds.Scenario(
        nodes=NODES,
        seed=5,
        network={"kind": "internet", "loss": 0.1},
        churn={"kind": "exponential", "mean_online_s": 200, "mean_offline_s": 60},
    )
    config = {"num-rounds": ROUNDS, "timeout": TIMEOUT, "min-nodes": 4}
    run = ds.flower.run(str(digits_app), scenario, run_config=config)
    rounds, messages = run.rounds, run.messages

    # Missing replies: lost on the way, or their node was gone.
    assert (rounds["n_replied"] < rounds["n_selected"]).any()
    assert (messages["outcome"] == "lost").any()
    assert len(rounds) == ROUNDS

    # Deadlines: no round outlasts its timeout, and one that misses a reply for good ends just there.
    lengths = rounds["t_s"].diff().fillna(rounds["t_s"].iloc[0])
    assert (lengths <= TIMEOUT + 1e-6).all()
    assert (abs(lengths - TIMEOUT) < 1e-6).any()

    # Late listings: with fraction 1 the app asks all it believes to be there, which now and then includes one that is not.
    online = {node: [] for node in range(NODES)}
    for event in run.events[run.events["kind"].isin(["online", "offline"])].itertuples():
        online[event.node].append((event.t_s, event.kind == "online"))

    def was_online(node: int, t_s: float) -> bool:
        states = [state for t, state in online[node] if t <= t_s]
        return bool(states) and states[-1]

    asked = messages[messages["kind"] == "train"]
    absent = [row for row in asked.itertuples() if not was_online(row.dst, row.t_sent_s)]
    assert absent, "nobody was asked after it had left: choose another seed"
    assert {row.outcome for row in absent} <= {"offline", "lost"}
