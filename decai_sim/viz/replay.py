"""What every node was doing when, as columns that can be sought through quickly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.errors import ScenarioError
from decai_sim.viz.palette import BYZANTINE, INFORMED, LEVEL_BITS, ONLINE, REJECTED, STATES, TRAINING, NodeState, levels, shown_as

if TYPE_CHECKING:
    import pandas as pd

# Per kind of event: which bits it decides, and what they become.
_EFFECTS = {
    "online": (ONLINE, ONLINE),
    "offline": (ONLINE | TRAINING, 0),
    "job_start": (TRAINING | REJECTED, TRAINING),
    "job_end": (TRAINING, 0),
    "job_lost": (TRAINING, 0),
    "rejected": (REJECTED, REJECTED),
    "informed": (INFORMED, INFORMED),
}
_AWAY = {"away": (ONLINE, 0)}
"""As ``offline``, where the bit for training means something else."""
_LEVELS = {f"level {number}": (sum(LEVEL_BITS), bit) for number, bit in enumerate((*LEVEL_BITS, 0))}


@dataclass(frozen=True, eq=False)
class Replay:
    """The states of all nodes from 0 to ``end_s`` virtual seconds.

    A state is one byte of the bits ``ONLINE``, ``TRAINING``, ``BYZANTINE``, ``REJECTED`` and ``INFORMED`` of
    :mod:`decai_sim.viz.palette`, or of the first, the third and one for a level.

    Attributes:
        n: number of nodes.
        end_s: when it ends.
        initial: ``(n,)`` uint8, the states at time 0.
        t_s: ``(k,)`` float64, ascending: when a node's state changed.
        node: ``(k,)`` int64, whose.
        state: ``(k,)`` uint8, to what.
        legend: what states are shown as.
    """

    n: int
    end_s: float
    initial: np.ndarray
    t_s: np.ndarray
    node: np.ndarray
    state: np.ndarray
    legend: tuple[NodeState, ...] = STATES

    @classmethod
    def of_levels(
        cls,
        events: pd.DataFrame,
        byzantine: np.ndarray | Sequence[bool],
        values: pd.DataFrame,
        edges: Sequence[float],
        names: Sequence[str],
        end_s: float | None = None,
    ) -> Replay:
        """Show, instead of what nodes do, how large something is at each.

        Args:
            events: as for :meth:`of`; those that say who is online are used.
            byzantine: per node, whether it is one.
            values: columns ``t_s``, ``node`` and ``value``; a value lasts until the node's next; the first is shown from the
                beginning.
            edges: five, ascending: where one level ends and the next begins; the value itself belongs to the next.
            names: of the six levels.
            end_s: when the replay ends; by default with the last event or value.

        Raises:
            ScenarioError: as from :meth:`of`.

        Example:
            >>> import pandas as pd
            >>> events = pd.DataFrame({"t_s": [0.0, 0.0], "node": [0, 1], "kind": "online"})
            >>> values = pd.DataFrame({"t_s": [3.0, 3.0], "node": [0, 1], "value": [0.5, 9.0]})
            >>> replay = Replay.of_levels(events, [False, False], values, [1, 2, 3, 4, 5], "abcdef")
            >>> replay.counts(3.0)["a"], replay.counts(3.0)["f"]
            (1, 1)
        """
        import pandas as pd

        known = values.dropna(subset="value")
        level = np.searchsorted(np.asarray(edges, dtype=float), known["value"].to_numpy(), side="right")
        kinds = np.array(list(_LEVELS), dtype=object)
        first = known.assign(kind=kinds[level]).drop_duplicates("node")
        begin = first.assign(t_s=0.0)
        there = events[events["kind"].isin(["online", "offline"])]
        there = there.assign(kind=np.where(there["kind"] == "online", "online", "away"))
        columns = ["t_s", "node", "kind"]
        every = pd.concat([begin[columns], there[columns], known.assign(kind=kinds[level])[columns]], ignore_index=True)
        return dataclasses.replace(cls.of(every, byzantine, end_s), legend=levels(names))

    @classmethod
    def of(
        cls,
        events: pd.DataFrame,
        byzantine: np.ndarray | Sequence[bool],
        end_s: float | None = None,
        round_ends: np.ndarray | Sequence[float] = (),
    ) -> Replay:
        """Read the states off an ``events`` frame.

        A node is offline until its first ``online`` event; those there from the start have one at time 0. It is training from
        ``job_start`` to ``job_end``, ``job_lost`` or ``offline``. It is rejected from a ``rejected`` event until its next job or
        the next round's end. It is informed from the ``informed`` event of the newest item to the next ``published`` event; items
        are told apart by their ``detail``, and ``informed`` events of older ones change nothing. Events of equal time count in
        the order of the frame.

        Args:
            events: columns ``t_s``, ``node``, ``kind`` and, where several items are published, ``detail``; other kinds, and what
                the server (node −1) does other than to publish, are ignored.
            byzantine: per node, whether it is one.
            end_s: when the replay ends; by default with the last event or round.
            round_ends: when rounds ended.

        Raises:
            ScenarioError: an event is of a node that does not exist, or at a time that is not a number.

        Example:
            >>> import pandas as pd
            >>> events = pd.DataFrame({"t_s": [0.0, 2.0, 5.0], "node": [0, 0, 0], "kind": ["online", "job_start", "job_end"]})
            >>> replay = Replay.of(events, [False, True])
            >>> replay.counts(3.0)
            {'offline': 1, 'rejected': 0, 'training': 1, 'informed': 0, 'byzantine': 0, 'online': 0}
        """
        flags = np.asarray(byzantine, dtype=bool)
        n = len(flags)
        t, node = events["t_s"].to_numpy(dtype=np.float64), events["node"].to_numpy(dtype=np.int64)
        if len(node) and node.max() >= n:
            raise ScenarioError(f"events.node: {node.max()} is not allowed: there are {n} nodes, numbered from 0")
        if not np.isfinite(t).all():
            raise ScenarioError("events.t_s: every time must be a finite number of seconds")
        ends = np.sort(np.asarray(round_ends, dtype=np.float64))
        if end_s is None:
            end_s = max(0.0, *(float(times.max()) for times in (t, ends) if len(times)), 0.0)

        kinds = events["kind"].astype("category").cat
        known = _EFFECTS | _AWAY | _LEVELS
        effects = np.array([known.get(kind, (0, 0)) for kind in kinds.categories] + [(0, 0)], dtype=np.uint8)
        decides, becomes = effects[kinds.codes.to_numpy()].T  # a missing kind has code −1: the row added at the end
        outdated, forgets, forgotten = _news(events, t, node)
        ours = np.flatnonzero((decides != 0) & (node >= 0) & ~outdated)

        rejected = ours[(decides[ours] & becomes[ours] & REJECTED) != 0]
        over = np.searchsorted(ends, t[rejected], side="right")
        rejected, over = rejected[over < len(ends)], over[over < len(ends)]
        # What ends with a round does so before anything else of that moment, as if it stood in front of the frame.
        row = np.concatenate([np.full(len(over), -1), forgets, ours])
        t = np.concatenate([ends[over], t[forgets], t[ours]])
        node = np.concatenate([node[rejected], forgotten, node[ours]])
        decides = np.concatenate(
            [np.full(len(over), REJECTED, dtype=np.uint8), np.full(len(forgets), INFORMED, dtype=np.uint8), decides[ours]]
        )
        becomes = np.concatenate([np.zeros(len(over) + len(forgets), dtype=np.uint8), becomes[ours]])

        initial = np.where(flags, BYZANTINE, 0).astype(np.uint8)
        order = np.lexsort((row, t, node))
        t, node = t[order], node[order]
        state = initial[node] | _after(node, decides[order], becomes[order])

        t, node, state = _settled(t, node, state, initial)
        early = t <= 0.0
        initial[node[early]] = state[early]  # in order of time: the last counts
        late = ~early & (t <= end_s)
        t, node, state = t[late], node[late], state[late]
        order = np.argsort(t, kind="stable")
        return cls(n, float(end_s), initial, t[order], node[order], state[order])

    def states(self, t_s: float) -> np.ndarray:
        """``(n,)`` uint8: every node's state after all that happened up to ``t_s``, that moment included."""
        states = self.initial.copy()
        known = np.searchsorted(self.t_s, t_s, side="right")
        states[self.node[:known]] = self.state[:known]  # of several assignments the last stays
        return states

    def counts(self, t_s: float) -> dict[str, int]:
        """How many nodes are shown as what at ``t_s``, by the names in the legend."""
        return count(self.states(t_s), self.legend)


def count(states: np.ndarray, legend: Sequence[NodeState] = STATES) -> dict[str, int]:
    """How many of ``states`` are shown as what.

    Example:
        >>> count(np.array([0, 1, 1], dtype=np.uint8))
        {'offline': 1, 'rejected': 0, 'training': 0, 'informed': 0, 'byzantine': 0, 'online': 2}
    """
    found = np.bincount(shown_as(states, legend), minlength=len(legend)).tolist()
    return {state.name: number for state, number in zip(legend, found, strict=True)}


def _news(events: pd.DataFrame, t: np.ndarray, node: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows tell of an item that was no longer the newest; and at which rows' publications which nodes no longer have it."""
    published = events["kind"].isin(["published"]).to_numpy()
    informed = events["kind"].isin(["informed"]).to_numpy() & (node >= 0)
    rows = np.flatnonzero(published | informed)
    rows = rows[np.argsort(t[rows], kind="stable")]
    newest = np.cumsum(published[rows])[informed[rows]]  # how many had been published by then
    publications, told = rows[published[rows]], rows[informed[rows]]
    outdated = np.zeros(len(t), dtype=bool)
    if "detail" in events and len(publications):
        item = events["detail"].astype("category").cat.codes.to_numpy()
        outdated[told] = (newest > 0) & (item[told] != item[publications[newest - 1]])
    lasting = ~outdated[told] & (newest < len(publications))
    return outdated, publications[newest[lasting]], node[told[lasting]]


def _after(node: np.ndarray, decides: np.ndarray, becomes: np.ndarray) -> np.ndarray:
    """The bits each row leaves its node with; rows are ordered by node, then time."""
    rows = np.arange(len(node))
    first = np.searchsorted(node, node)  # of each row's node
    state = np.zeros(len(node), dtype=np.uint8)
    for bit in (1 << place for place in range(8)):
        if not (decides & bit).any():
            continue
        decided = np.maximum.accumulate(np.where(decides & bit, rows, -1)) if len(rows) else rows
        state |= np.where(decided >= first, becomes[decided] & bit, 0).astype(np.uint8)
    return state


def _settled(t: np.ndarray, node: np.ndarray, state: np.ndarray, initial: np.ndarray) -> tuple[Any, Any, Any]:
    """Of each node and moment the last row, and of those the ones that change something."""
    if not len(t):
        return t, node, state
    last = np.append((t[1:] != t[:-1]) | (node[1:] != node[:-1]), True)
    t, node, state = t[last], node[last], state[last]
    before = np.append(initial[:1], state[:-1])
    starts = np.append(True, node[1:] != node[:-1])
    changes = state != np.where(starts, initial[node], before)
    return t[changes], node[changes], state[changes]
