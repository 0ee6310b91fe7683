"""The lesson on learning without a server: what its tables are made of, and whether its exercises are solved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from decai_sim.errors import ScenarioError
from decai_sim.papers.each_node import each_node
from decai_sim.papers.scattered import apart, first_models
from decai_sim.protocols.peer_to_peer import PeerToPeer

if TYPE_CHECKING:
    from decai_sim.runs import Run

ROUNDING = 1e-5
"""What is closer than that, beside the beginning, is so by chance."""
AGREED, AGREED_ROUNDS, MOST_SENT, MANY = 0.01, 8, 6.0, 32
"""Exercise 1: how far models may be apart, beside at the beginning, after how many rounds, with how many messages; nodes."""
LEVEL, LEVEL_S = 0.72, 1.0
"""Exercise 2: the mean accuracy of the nodes' models that is wanted, and within how long, beside a slow node."""


def agreement(run: Run, at: str = "round") -> pd.Series:
    """How far apart models are after each round, beside at the beginning: 1, and then less.

    Args:
        run: as from :func:`~decai_sim.papers.scattered.averaged`.
        at: what the index is: ``round`` or ``t_s``, virtual seconds.
    """
    import numpy as np

    first = first_models(run.scenario.nodes)
    start = np.linalg.norm(first - first.mean(0))
    return pd.Series([1.0, *(apart(run) / start)], index=[0, *run.rounds[at]], name="apart")


def pace(run: Run, of: int = 5) -> float:
    """What a round left of the distance, on average of the last few before rounding is all there is.

    Args:
        run: as for :func:`agreement`.
        of: how many rounds.
    """
    left = agreement(run)
    left = left[left > ROUNDING].tail(of + 1)
    return float((left.iloc[-1] / left.iloc[0]) ** (1 / (len(left) - 1))) if len(left) > 1 else 0.0


def sent(run: Run) -> float:
    """Messages that a node sends a round, on average."""
    return float(run.traffic["messages"].sum()) / run.scenario.nodes / len(run.rounds)


def nodes_do(runs: Mapping[str, Run]) -> pd.DataFrame:
    """How the nodes' own models do at the end, and what it took; a row a run.

    Columns:
        ``mean``, mean accuracy of the nodes' models; ``worst tenth``, that of the tenth that does worst; ``mean model``, the
        accuracy of the mean of all models; ``end_s``, when the last round ended; ``waited``, the share of the time that nodes
        waited for others; ``MB``, what a node sent on average, megabytes.

    Args:
        runs: per label a run without a server.
    """
    rows = []
    for run in runs.values():
        _check(run)
        last = run.models[run.models["round"] == run.models["round"].max()]
        end_s = float(run.rounds["t_s"].iloc[-1])
        rows.append(
            {
                "mean": last["accuracy"].mean(),
                "worst tenth": run.worst_decile(),
                "mean model": run.rounds["accuracy"].iloc[-1],
                "end_s": end_s,
                "waited": last["waited_s"].mean() / end_s,
                "MB": run.nodes["bytes_up"].mean() / 1e6,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(list(runs)))


def by_hop(run: Run) -> pd.DataFrame:
    """Accuracy on what is held 0, 1, 2 … links away: a row a round, a column a hop."""
    return run.hops.pivot(index="round", columns="hop", values="accuracy")


# -- exercises -----------------------------------------------------------------------------------------------------------------


def check_agreement(run: Run) -> str:
    """Exercise 1: do 32 nodes agree to a hundredth within 8 rounds, with no more than 6 messages a node and round?

    Raises:
        ScenarioError: there is a server.
    """
    _check(run)
    if run.scenario.nodes != MANY:
        return f"Not yet: leave it at {MANY} nodes."
    left = agreement(run)
    many = sent(run)
    if left.index.max() < AGREED_ROUNDS:
        return f"Not yet: let it run for {AGREED_ROUNDS} rounds."
    reached = float(left.loc[AGREED_ROUNDS])
    found = f"{reached:.2%} of the distance is left after {AGREED_ROUNDS} rounds, with {many:.1f} messages a node and round"
    if many > MOST_SENT:
        return f"Not yet: {found}; no more than {MOST_SENT:g} may be sent."
    return f"Solved: {found}." if reached <= AGREED else f"Not yet: {found}; {AGREED:.0%} is wanted."


def check_slow(run: Run) -> str:
    """Exercise 2: do the nodes' models reach 72 % on average within one virtual second, though one node is slow?

    Raises:
        ScenarioError: there is a server.
    """
    _check(run)
    if not run.scenario.faults:
        return "Not yet: leave the slow node slow."
    rounds = each_node(run).dropna(subset="accuracy")
    soon = rounds[rounds["t_s"] <= LEVEL_S]["accuracy"]
    best = float(soon.max()) if len(soon) else 0.0
    found = f"{best:.1%} within {LEVEL_S:g} s"
    return f"Solved: {found}." if best >= LEVEL else f"Not yet: {found}; {LEVEL:.0%} is wanted."


def _check(run: Run) -> None:
    if not isinstance(run.scenario.protocol, PeerToPeer):
        kind = run.scenario.protocol.kind
        raise ScenarioError(f"protocol: {kind!r} is not allowed: the exercise is about learning without a server")
