"""The lesson on federated learning: what its tables are made of, and whether its exercises are solved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from decai_sim.errors import ScenarioError
from decai_sim.learning.partitions import Pathological
from decai_sim.papers.curves import reaching, settled
from decai_sim.papers.fedbuff import answered, share_from
from decai_sim.protocols import Federated
from decai_sim.protocols.served import Served

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.learning.problem import Problem
    from decai_sim.runs import Run

DRIFT_REPLIES, DRIFT_ACCURACY, DRIFT_LAST = 150, 0.75, 5
"""Exercise 1: what is to be reached with two classes a node, and with how many replies."""
LEAST_REPLIED, LONGEST_S, SLOW = 0.85, 8.0, tuple(range(10))
"""Exercise 2: the share of those asked that reply in time, and how long all rounds may take; who is behind slow links."""
SOON, SOON_S, LEAST_SLOW, MOST_AT_WORK = 0.75, 2.5, 0.04, 0.2
"""Exercise 3: which accuracy, by when, with which share of the replies from slow nodes, and with which share of nodes at work."""

APP_ACCURACY, APP_S, APP_REPLIES = 0.85, 75.0, 8
"""The exercise of the notebook on Flower apps: an accuracy, by when, and with how many replies in every round."""


def classes_held(problem: Problem, nodes: int = 6) -> pd.DataFrame:
    """How many samples of each class the first nodes hold.

    Args:
        problem: a task laid out over nodes.
        nodes: how many to show.

    Example:
        >>> import decai_sim as ds
        >>> from decai_sim.learning.problem import Problem
        >>> task = ds.tasks.Digits(partition={"kind": "pathological", "classes_per_node": 2})
        >>> (classes_held(Problem(task, 10, ds.Streams(1)), 4) > 0).sum(axis=1).tolist()
        [2, 2, 2, 2]
    """
    counts = problem.class_counts()[:nodes]
    return pd.DataFrame(counts, index=[f"node {node}" for node in range(len(counts))], columns=list(problem.class_names))


def costs(runs: Mapping[str, Run], accuracy: float, slow: tuple[int, ...] = ()) -> pd.DataFrame:
    """What runs came to, and what it cost; a row a run.

    Columns:
        ``final``, accuracy at the end, mean of the last five rounds in which it was measured; ``round``, ``seconds`` and
        ``replies`` until ``accuracy`` was reached, ``inf``: never; ``end_s``, when the run ended; ``MB``, all that nodes sent and
        received, megabytes; ``from slow``, the share of replies in models that came from ``slow`` nodes, where some are named.

    Args:
        runs: per label a run under ``federated``, ``fedbuff`` or ``fedasync``.
        accuracy: test accuracy, 0…1.
        slow: nodes to be looked at.
    """
    rows = []
    for run in runs.values():
        rounds, reached = run.rounds, reaching(run.rounds, accuracy)
        row = {
            "final": settled(rounds, 5),
            "round": reached["round"],
            "seconds": reached["t_s"],
            "replies": reached["replies"],
            "end_s": float(rounds["t_s"].iloc[-1]),
            "MB": float((rounds["bytes_up"] + rounds["bytes_down"]).iloc[-1]) / 1e6,
        }
        rows.append(row | ({"from slow": share_from(run, list(slow))} if slow else {}))
    return pd.DataFrame(rows, index=pd.Index(list(runs)))


def response_s(run: Run) -> np.ndarray:
    """How long each reply took, from the server's instruction to its arrival, virtual seconds.

    Args:
        run: under a protocol with a server, of nodes that stay and links that lose nothing.
    """
    replies = answered(run)
    return (replies["t_delivered_s"] - replies["t_asked_s"]).to_numpy()


# -- exercises ------------------------------------------------------------------------------------------------------------------


def check_drift(run: Run) -> str:
    """Exercise 1: does a model learn from nodes of two classes each, with at most 150 replies?

    Raises:
        ScenarioError: there is no server.
    """
    partition = run.scenario.task.partition
    if not (
        run.scenario.task.kind == "fashion_mnist" and isinstance(partition, Pathological) and partition.classes_per_node == 2
    ):
        return "Not yet: leave the data as they are, two kinds of clothing a node."
    _served(run)
    replies, final = int(run.rounds["n_replied"].sum()), settled(run.rounds, DRIFT_LAST)
    if replies > DRIFT_REPLIES:
        return f"Not yet: {replies} replies; {DRIFT_REPLIES} must do."
    if final < DRIFT_ACCURACY:
        return f"Not yet: {final:.1%} in the last {DRIFT_LAST} rounds; {DRIFT_ACCURACY:.0%} are wanted."
    return f"Solved: {final:.1%} in the last {DRIFT_LAST} rounds, with {replies} replies."


def check_deadline(run: Run) -> str:
    """Exercise 2: do 14 rounds take at most 8 s, and do 85 % of those asked reply in time?

    Raises:
        ScenarioError: there is no server.
    """
    protocol = _served(run)
    if (
        not isinstance(protocol, Federated)
        or protocol.over_select > 1
        or len(run.rounds) < 14
        or protocol.fraction < MOST_AT_WORK
    ):
        return "Not yet: change nothing but deadline_s: 14 rounds, a fifth of the nodes, no over-selection."
    end_s = float(run.rounds["t_s"].iloc[-1])
    replied = float(run.rounds["n_replied"].sum() / run.rounds["n_selected"].sum())
    found = f"{replied:.0%} reply in time, and the rounds take {end_s:.1f} s"
    if replied < LEAST_REPLIED:
        return f"Not yet: {found}; {LEAST_REPLIED:.0%} are wanted."
    if end_s > LONGEST_S:
        return f"Not yet: {found}; {LONGEST_S:g} s are allowed."
    return f"Solved: {found}."


def check_race(run: Run) -> str:
    """Exercise 3: is 75 % reached within 2.5 s, by a model in which slow nodes have their say?

    Raises:
        ScenarioError: there is no server.
    """
    if _served(run).fraction > MOST_AT_WORK:
        return f"Not yet: at most {MOST_AT_WORK:.0%} of the nodes may be at work at a time."
    at_s, share = reaching(run.rounds, SOON)["t_s"], share_from(run, list(SLOW))
    found = f"{SOON:.0%} after {at_s:.2f} s" if math.isfinite(at_s) else f"{SOON:.0%} is never reached"
    if at_s > SOON_S:
        return f"Not yet: {found}; it is wanted within {SOON_S:g} s."
    if share < LEAST_SLOW:
        return f"Not yet: {found}, but {share:.1%} of the replies come from the slow tenth; at least {LEAST_SLOW:.0%} are wanted."
    return f"Solved: {found}, and {share:.1%} of the replies come from the slow tenth."


def check_app(rounds: pd.DataFrame) -> str:
    """The exercise of the notebook on Flower apps: is 85 % reached within 75 s, with eight replies or more in every round?

    Args:
        rounds: of the app's run, with the accuracies that the app found.

    Example:
        >>> check_app(pd.DataFrame({"round": [1], "t_s": [14.0], "accuracy": [0.9], "n_replied": [3]}))
        'Not yet: only 3 replies in round 1; at least 8 are wanted in every round.'
    """
    fewest = rounds.iloc[int(rounds["n_replied"].to_numpy().argmin())]
    if fewest["n_replied"] < APP_REPLIES:
        few = f"only {fewest['n_replied']:.0f} replies in round {fewest['round']:.0f}"
        return f"Not yet: {few}; at least {APP_REPLIES} are wanted in every round."
    at_s = reaching(rounds, APP_ACCURACY)["t_s"]
    found = f"{APP_ACCURACY:.0%} after {at_s:.0f} s" if math.isfinite(at_s) else f"{APP_ACCURACY:.0%} is never reached"
    return f"Solved: {found}." if at_s <= APP_S else f"Not yet: {found}; it is wanted within {APP_S:g} s."


def _served(run: Run) -> Served:
    protocol = run.scenario.protocol
    if not isinstance(protocol, Served):
        raise ScenarioError(f"protocol: {protocol.kind!r} is not allowed: the exercise is about federations with a server")
    return protocol
