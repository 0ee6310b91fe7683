"""Churn as it was recorded."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.churn.base import Churn

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams

_HEADER = ["node", "t_online", "t_offline"]


class TraceReplay(Churn, kind="trace"):
    r"""Nodes come and go as a file says: a CSV of ``node,t_online,t_offline``, one session a line, in seconds.

    ``node`` is a number from 0, ``t_offline`` may be ``inf``. Sessions that touch are one session. Nodes of the scenario that the
    file does not name are never there; nodes of the file that the scenario does not have are left out.

    Source: the user's file; the layout is that of availability data sets such as the Failure Trace Archive (Kondo et al., CCGrid
    2010): begin and end of each period of a host.
    Assumes: the file's time 0 is the run's.
    Deviations: none.

    Attributes:
        path: the file.
        repeat_s: after so many seconds the file begins anew, again and again; not before its last session has ended. None: it
            ends, and so does every session without a successor.

    Raises:
        ScenarioError: by :meth:`check`, and so before a run begins: the file is missing, is not such a table, or sessions of a
            node overlap.

    Example:
        >>> import pathlib, tempfile
        >>> from decai_sim.seeding import Streams
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "week.csv"
        >>> _ = path.write_text("node,t_online,t_offline\n0,0,60\n1,30,90\n0,100,inf\n")
        >>> TraceReplay(path).start(3, Streams(1)).tolist()
        [True, False, False]
    """

    examples = ()

    path: Path
    repeat_s: float | None = Field(default=None, gt=0)

    def __init__(self, path: Path | str | None = None, **fields: Any) -> None:
        super().__init__(**({} if path is None else {"path": path}), **fields)

    def check(self, n: int) -> None:
        self._read(n)

    def start(self, n: int, streams: Streams) -> np.ndarray:
        """``(n,)`` bool: whose first session begins at 0."""
        return self._read(n).here

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        """``(n,)`` seconds, as the file says; ``inf`` after its last line unless it repeats."""
        import numpy as np

        file = self._read(len(online))
        ends, begins = file.change_s(k), file.change_s(k - 1) if k else np.zeros(len(online))
        lengths = np.full(len(online), np.inf)
        ending = np.isfinite(ends)
        lengths[ending] = ends[ending] - begins[ending]
        return lengths

    def _read(self, n: int) -> _Sessions:
        try:
            stat = self.path.stat()
            return _read(self.path, self.repeat_s, n, stat.st_mtime_ns, stat.st_size)
        except (OSError, ValueError) as error:
            if isinstance(error, ScenarioError):
                raise
            reason = "is not a text file" if isinstance(error, UnicodeDecodeError) else str(getattr(error, "strerror", error))
            raise ScenarioError(f"churn.path: {str(self.path)!r} is not allowed: {reason}") from None


class _Sessions(NamedTuple):
    """When each node changes state: ``changes_s[first[i] : first[i] + many[i]]``, and again every ``repeat_s``."""

    here: np.ndarray
    changes_s: np.ndarray
    first: np.ndarray
    many: np.ndarray
    repeat_s: float | None

    def change_s(self, k: int) -> np.ndarray:
        """``(n,)`` when each node changes for the ``k``-th time, from 0; ``inf``: never."""
        import numpy as np

        many = np.maximum(self.many, 1)
        at, lap = (np.full(len(many), k), 0.0) if self.repeat_s is None else (k % many, (k // many) * self.repeat_s)
        there = at < self.many
        times = np.full(len(many), np.inf)
        times[there] = self.changes_s[(self.first + at)[there]]
        return times + lap


@lru_cache(maxsize=8)
def _read(path: Path, repeat_s: float | None, n: int, mtime_ns: int, size: int) -> _Sessions:
    import numpy as np

    where = f"churn.path: {str(path)!r} is not allowed"
    sessions: list[list[tuple[float, float, int]]] = [[] for _ in range(n)]
    last = 0.0
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        cells = [cell.strip() for cell in line.split(",")]
        if number == 1:
            if cells != _HEADER:
                raise ScenarioError(f"{where}: line 1 must be {','.join(_HEADER)}")
            continue
        if not line.strip():
            continue
        try:
            node, begins, ends = int(cells[0]), float(cells[1]), float(cells[2])
        except (ValueError, IndexError):
            node = -1
        if node < 0 or len(cells) != 3 or not 0 <= begins < ends:
            what = "is not a node number from 0 and two times with 0 <= t_online < t_offline"
            raise ScenarioError(f"{where}: line {number}: {line.strip()[:60]!r} {what}")
        last = max(last, ends)
        if node < n:
            sessions[node].append((begins, ends, number))
    if repeat_s is not None and last > repeat_s:
        raise ScenarioError(f"churn.repeat_s: {repeat_s} is not allowed: {str(path)!r} has a session that ends at {last}")
    changes, here = [], []
    for node, listed in enumerate(sessions):
        times: list[float] = []
        for begins, ends, number in sorted(listed):
            if times and begins < times[-1]:
                raise ScenarioError(f"{where}: line {number}: a session of node {node} begins before another has ended")
            if times and begins == times[-1]:
                times[-1] = ends
            else:
                times += [begins, ends]
        online = bool(times) and times[0] == 0
        here.append(online)
        if repeat_s is not None and times and (times[-1] == repeat_s) != online:
            # The last lap ends in another state than the next begins in: it changes there.
            times = [t for t in times if t != 0 and t != repeat_s] + [repeat_s]
        else:
            times = [t for t in times if t != 0 and t != repeat_s]
        changes.append([t for t in times if t < math.inf])
    many = np.array([len(times) for times in changes])
    flat = np.array([t for times in changes for t in times])
    return _Sessions(np.array(here, dtype=bool), flat, np.cumsum(many) - many, many, repeat_s)
