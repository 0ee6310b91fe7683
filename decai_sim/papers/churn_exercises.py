"""What the notebook on churn and failures measures in a run, and how it checks exercises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from decai_sim.protocols import Broadcast
from decai_sim.runs import Run, run
from decai_sim.scenario import Scenario
from decai_sim.seeding import Streams
from decai_sim.world import Churn, Crash, Internet, Mix, Permanent, World
from decai_sim.world.heartbeats import Heartbeats
from decai_sim.world.topologies import Star

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOUR_S, DAY_S = 3600.0, 86_400.0
NOON_S, SHIFT_S, CREW, LEAST_STAYED = 2.5 * DAY_S, 6 * HOUR_S, 50, 0.5
"""The first exercise: of those there at noon of the third day choose a crew of 50, half of which is to stay for six hours."""
SIZE, STAY_S, SIZE_SLACK = 300, 1800.0, 0.1
"""The second one: a network that newcomers who stay for half an hour keep at 300 nodes."""
LOSS, LEAST_INTERVAL_S, LONGEST_DELAY_S, NODES, HALF_HOUR_S, MOST_WRONG = 0.1, 2.0, 12.0, 100, 1800.0, 2
"""The third one: a detector for 100 nodes. In half an hour they live two node-days: one false alarm each is what is allowed."""


def lives(churn: Churn, hours: float, nodes: int = 1000, seed: int = 1) -> Run:
    """Let nodes come and go on an ideal network, where nothing else happens but one piece of news at the beginning.

    Example:
        >>> len(lives(Permanent(present=1.0), hours=1, nodes=10).online())
        1
    """
    quiet = Broadcast(items=1, interval_s=hours * HOUR_S)
    return run(Scenario(nodes=nodes, seed=seed, topology=Star(), churn=churn, protocol=quiet), progress=False)


def sessions(of: Run) -> pd.DataFrame:
    """Everybody's online periods: ``node, began_s, length_s``, in the order of their beginnings.

    Those under way at time 0, whose beginning nobody saw, have ``began_s`` 0 and the length of what was left of them. Those not
    over at the end have length NaN.

    Args:
        of: the run.
    """
    events = of.events[of.events["kind"].isin(["online", "offline"]) & (of.events["node"] >= 0)]
    events = events.sort_values(["node", "t_s"], kind="stable")
    is_start = (events["kind"] == "online").to_numpy()
    node, t_s = events["node"].to_numpy(), events["t_s"].to_numpy()
    ends = np.full(len(events), np.nan)
    if len(events):
        same = (node[1:] == node[:-1]) & ~is_start[1:]
        ends[:-1][same] = t_s[1:][same]
    found = pd.DataFrame({"node": node, "began_s": t_s, "length_s": ends - t_s})[is_start]
    return found.sort_values("began_s", kind="stable").reset_index(drop=True)


def there(of: Run, at_s: float) -> pd.DataFrame:
    """Who is online at ``at_s``, and what is known of them: ``node, uptime_s``, how long they have been there, at least."""
    known = sessions(of)
    ended_s = (known["began_s"] + known["length_s"]).fillna(math.inf)
    here = known[(known["began_s"] <= at_s) & (ended_s > at_s)]
    return pd.DataFrame({"node": here["node"], "uptime_s": at_s - here["began_s"]}).sort_values("node").reset_index(drop=True)


def share_staying(of: Run, nodes: Sequence[int] | pd.Series, at_s: float, for_s: float) -> float:
    """Share of ``nodes``, all online at ``at_s``, that stay ``for_s`` longer without a break."""
    known = sessions(of)
    ended_s = (known["began_s"] + known["length_s"]).fillna(math.inf)
    staying = known[(known["began_s"] <= at_s) & (ended_s > at_s + for_s)]["node"]
    return float(np.isin(np.asarray(nodes), staying).mean())


def delays_s(of: Run, item: int) -> NDArray[np.float64]:
    """``(n,)`` seconds from the publication of ``item`` until each node had it, ascending; ``inf``: never."""
    mine = of.events[of.events["detail"] == f"item {item}"]
    began = mine.loc[mine["kind"] == "published", "t_s"].iloc[0]
    came = mine.loc[mine["kind"] == "informed", "t_s"].to_numpy() - began
    delays = np.full(of.scenario.nodes, math.inf)
    delays[: len(came)] = np.sort(came)
    return delays


# -- exercises ------------------------------------------------------------------------------------------------------------------


def check_crew(of: Run, crew: Sequence[int] | pd.Series) -> str:
    """Say whether ``crew`` solves the first exercise.

    Example:
        >>> check_crew(lives(Permanent(present=1.0), hours=1, nodes=10), [1, 1])
        'Not yet: choose 50 different nodes, not 1.'
    """
    chosen = sorted({int(node) for node in crew})
    if len(chosen) != CREW:
        return f"Not yet: choose {CREW} different nodes, not {len(chosen)}."
    away = set(chosen) - set(there(of, NOON_S)["node"])
    if away:
        return f"Not yet: node {min(away)} is not online at noon."
    stayed = share_staying(of, chosen, NOON_S, SHIFT_S)
    if stayed >= LEAST_STAYED:
        return f"Solved: {stayed:.0%} of your crew are still there after six hours."
    return f"Not yet: {stayed:.0%} of your crew are still there after six hours; {LEAST_STAYED:.0%} are wanted."


def check_size(of: Run) -> str:
    """Say whether a run solves the second exercise.

    Example:
        >>> check_size(lives(Permanent(present=1.0), hours=1, nodes=10))
        'Not yet: begin with nobody (present=0) and let everybody stay for half an hour (mean_stay_s=1800).'
    """
    churn = of.scenario.churn
    if not (isinstance(churn, Permanent) and churn.present == 0 and churn.mean_stay_s == STAY_S):
        return "Not yet: begin with nobody (present=0) and let everybody stay for half an hour (mean_stay_s=1800)."
    end_s = float(of.provenance["virtual_s"])
    size = _mean_online(of, end_s / 2, end_s)
    if abs(size - SIZE) <= SIZE_SLACK * SIZE:
        return f"Solved: {size:.0f} nodes on average in the second half."
    return f"Not yet: {size:.0f} nodes on average in the second half; {SIZE} are wanted, give or take {SIZE_SLACK:.0%}."


def _mean_online(of: Run, from_s: float, to_s: float) -> float:
    online = of.online()
    t_s = np.clip(np.append(online["t_s"], to_s), from_s, to_s)
    return float((online["online"] * np.diff(t_s)).sum() / (to_s - from_s))


def check_detector(interval_s: float, timeout_s: float) -> str:
    """Say whether heartbeats of these settings solve the third exercise; it tries them out for half an hour of virtual time.

    Example:
        >>> check_detector(1, 5)
        'Not yet: a heartbeat every 1 s is more than a battery can bear; at most one every 2 s.'
    """
    if interval_s < LEAST_INTERVAL_S:
        most = f"at most one every {LEAST_INTERVAL_S:g} s"
        return f"Not yet: a heartbeat every {interval_s:g} s is more than a battery can bear; {most}."
    world = World(NODES, Internet(loss=LOSS), None, Mix(laptop=1), Streams(1))
    for i in range(NODES // 2):
        Crash(nodes=[i], at_s=60 + 30.0 * i, for_s=29).install(world)
    detector = Heartbeats(world, interval_s, timeout_s)
    detector.start()
    world.run(HALF_HOUR_S)
    found = detector.detections()
    wrong, delays = int(found["wrong"].sum()), found.loc[found["first"], "delay_s"]
    delay = float(delays.mean()) if len(delays) else math.inf
    seen = f"{wrong} false alarms in two node-days; a crash is noticed after {delay:.1f} s on average"
    if wrong <= MOST_WRONG and delay <= LONGEST_DELAY_S:
        return f"Solved: {seen}."
    return f"Not yet: {seen}. At most {MOST_WRONG}, and {LONGEST_DELAY_S:g} s, are wanted."
