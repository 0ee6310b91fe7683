"""The lesson on networks: what its tables are made of, and whether its exercises are solved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from decai_sim.errors import ScenarioError
from decai_sim.protocols import Broadcast
from decai_sim.world.graphs import clustering, diameter
from decai_sim.world.topologies import SmallWorld

if TYPE_CHECKING:
    from decai_sim.runs import Run

UPLOAD_BPS, DELAY_S = 10e6, 0.05
"""The plain network of the lesson: everybody's upload rate, bits per second, and every link's one-way latency."""
LEAST_ITEM_BYTES, MOST_S, MOST_COPIES = 100_000, 5.0, 1.5
"""Exercise 2: how large the news must be, when everybody must have it, and how many copies a node it may cost."""
SHORTCUT_NODES, SHORTCUT_DEGREE, MOST_STEPS, LEAST_CLUSTERING = 1_000, 8, 12, 0.5
"""Exercise 3: the ring, how far apart its nodes may be, and how clustered they must stay."""


def delays_s(run: Run) -> np.ndarray:
    """When news reached whom.

    Args:
        run: under the protocol ``broadcast``.

    Returns:
        ``(items, n)`` seconds from the publication of each item until each node had it; ``inf``: never.

    Example:
        >>> import decai_sim as ds
        >>> run = ds.run(ds.Scenario(nodes=20, topology="ring", protocol={"kind": "broadcast", "items": 2}), progress=False)
        >>> delays_s(run).shape
        (2, 20)
    """
    named = run.events[run.events["kind"].isin(["published", "informed"])]
    item = named["detail"].astype(str).str.removeprefix("item ").astype(int).to_numpy()
    t_s, node, is_new = named["t_s"].to_numpy(), named["node"].to_numpy(), (named["kind"] == "published").to_numpy()
    published = np.full(int(is_new.sum()), np.nan)
    published[item[is_new]] = t_s[is_new]
    found = np.full((len(published), run.scenario.nodes), np.inf)
    found[item[~is_new], node[~is_new]] = t_s[~is_new] - published[item[~is_new]]
    return found


def speed_and_price(runs: Mapping[str, Run]) -> pd.DataFrame:
    """How fast news spread, and what it cost; a row a run of ``broadcast``, medians over its items.

    Columns:
        ``reached``, share of nodes; ``half_s`` and ``all_s``, seconds until half and until all nodes had an item (``inf``:
        never); ``MB``, all that was sent, megabytes an item; ``copies``, the same in sizes of an item for each node it had to
        reach.

    Args:
        runs: per label a run.

    Raises:
        ScenarioError: a run is of another protocol.

    Example:
        >>> import decai_sim as ds
        >>> ring = ds.Scenario(nodes=20, topology="ring", protocol={"kind": "broadcast", "items": 2})
        >>> speed_and_price({"ring": ds.run(ring, progress=False)}).loc["ring", ["reached", "MB"]].round(3).tolist()
        [1.0, 0.021]
    """
    rows = []
    for run in runs.values():
        protocol = _broadcast(run)
        n, table = run.scenario.nodes, run.propagation()
        sent = float(run.traffic["bytes"].sum()) / len(table)
        rows.append(
            {
                "reached": table["reached"].median() / n,
                "half_s": table["t50_s"].median(),
                "all_s": table["t_all_s"].median(),
                "MB": sent / 1e6,
                "copies": sent / protocol.nbytes / max(n - 1, 1),
            }
        )
    return pd.DataFrame(rows, index=pd.Index(list(runs)))


def _broadcast(run: Run) -> Broadcast:
    protocol = run.scenario.protocol
    if not isinstance(protocol, Broadcast):
        raise ScenarioError(f"protocol: {protocol.kind!r} is not allowed: news spreads under 'broadcast'")
    return protocol


def check_crossover(nbytes: float) -> str:
    """Exercise 1: how large is the message that takes as long to send as to travel, in the lesson's plain network?

    Args:
        nbytes: the answer, bytes; within 5 %.

    Example:
        >>> check_crossover(500_000)
        'Not yet: that many bits, perhaps? A byte has eight of them.'
    """
    wanted = UPLOAD_BPS * DELAY_S / 8
    ratio = nbytes / wanted
    if 0.95 <= ratio <= 1.05:
        return f"Solved: {nbytes:,.0f} bytes. Smaller news waits for the speed of light, larger news for the access links."
    if 7.6 <= ratio <= 8.4:
        return "Not yet: that many bits, perhaps? A byte has eight of them."
    takes = 8 * nbytes / UPLOAD_BPS
    return f"Not yet: {nbytes:,.0f} bytes take {takes:.3g} s to send, and {DELAY_S:g} s to travel."


def check_dissemination(run: Run) -> str:
    """Exercise 2: does news of 100 kB reach all 1,000 nodes within 5 s, for at most 1.5 copies a node?

    Raises:
        ScenarioError: the run is of another protocol.

    Example:
        >>> import decai_sim as ds
        >>> run = ds.run(ds.Scenario(nodes=20, topology="ring", protocol="broadcast"), progress=False)
        >>> check_dissemination(run)
        'Not yet: that is 20 nodes and 1,000 bytes; 1,000 nodes and 100,000 bytes are asked for.'
    """
    n, nbytes = run.scenario.nodes, _broadcast(run).nbytes
    if n < SHORTCUT_NODES or nbytes < LEAST_ITEM_BYTES:
        asked = f"{SHORTCUT_NODES:,} nodes and {LEAST_ITEM_BYTES:,} bytes are asked for"
        return f"Not yet: that is {n:,} nodes and {nbytes:,} bytes; {asked}."
    found = speed_and_price({"run": run}).loc["run"]
    what = f"everybody after {found.all_s:.1f} s, {found.copies:.2f} copies a node"
    if found.all_s > MOST_S:
        return f"Not yet: {what if np.isfinite(found.all_s) else 'not everybody is reached'}; at most {MOST_S:g} s are allowed."
    if found.copies > MOST_COPIES:
        return f"Not yet: {what}; at most {MOST_COPIES:g} copies are allowed."
    return f"Solved: {what}."


def check_shortcuts(rewire: float) -> str:
    """Exercise 3: which share of rewired links brings everybody near and still leaves friends of friends friends?

    Args:
        rewire: the answer, for 1,000 nodes of degree 8.

    Raises:
        pydantic.ValidationError: it is not a probability.

    Example:
        >>> check_shortcuts(1)
        'Not yet: 5 steps at most, but clustering is down to 0.01; at least 0.5 is asked for.'
    """
    graph = SmallWorld(degree=SHORTCUT_DEGREE, rewire=rewire).csr(SHORTCUT_NODES, seed=1)
    steps, share = diameter(graph), clustering(graph)
    if steps > MOST_STEPS:
        return f"Not yet: up to {steps} steps from one node to another; at most {MOST_STEPS} are allowed."
    if share < LEAST_CLUSTERING:
        return (
            f"Not yet: {steps} steps at most, but clustering is down to {share:.2f}; at least {LEAST_CLUSTERING:g} is asked for."
        )
    return f"Solved: {steps} steps at most, clustering {share:.2f}."
