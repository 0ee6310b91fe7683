"""Capacities that somebody brings along."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.link_rates.base import LinkRates, Rates

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams

_HEADER = ["src", "dst", "bps"]


class Table(LinkRates):
    r"""Capacities as measured by the user: a CSV file with the header ``src,dst,bps`` and a line for each direction of a link.

    Nodes are numbered from 0; −1 is the server.

    Source: the user.
    Assumes: what was measured stays.
    Deviations: none.

    Attributes:
        path: the file.
        default_bps: what links without a line carry, bits per second; None: as much as their ends.

    Raises:
        ScenarioError: the file is missing or holds no such table, or names a node that the scenario does not have.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from decai_sim.seeding import Streams
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "links.csv"
        >>> _ = path.write_text("src,dst,bps\n0,1,2e6\n1,0,5e5\n")
        >>> rates = Table(path).links(3, Streams(1))
        >>> rates.bps(np.array([0, 1, 0]), np.array([1, 0, 2])).tolist()
        [2000000.0, 500000.0, inf]
    """

    examples = ()

    path: Path
    default_bps: float | None = Field(default=None, gt=0)

    def __init__(self, path: Path | str | None = None, **fields: Any) -> None:
        super().__init__(**({} if path is None else {"path": path}), **fields)

    def check(self, n: int) -> None:
        self._read(n)

    def links(self, n: int, streams: Streams) -> Rates:
        return _Looked(self._read(n), n, math.inf if self.default_bps is None else self.default_bps)

    def _read(self, n: int) -> dict[tuple[int, int], float]:
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:  # ValueError: no text, or no name a file can have
            reason = "is not a text file" if isinstance(error, UnicodeDecodeError) else str(getattr(error, "strerror", error))
            raise self._refused(reason) from None
        first, *lines = text.splitlines() or [""]
        if [cell.strip() for cell in first.split(",")] != _HEADER:
            raise self._refused(f"line 1 must be {','.join(_HEADER)}")
        table: dict[tuple[int, int], float] = {}
        for number, line in enumerate(lines, 2):
            if not line.strip():
                continue
            src, dst, bps = self._cells(number, line)
            for node in (src, dst):
                if not -1 <= node < n:
                    raise self._refused(f"line {number}: there is no node {node} among {n}")
            if src == dst or (src, dst) in table:
                raise self._refused(
                    f"line {number}: {'a node has no link to itself' if src == dst else f'the link {src},{dst} is there already'}"
                )
            table[src, dst] = bps
        return table

    def _cells(self, number: int, line: str) -> tuple[int, int, float]:
        try:
            src, dst, bps = line.split(",")
            if 0 < float(bps) < math.inf:
                return int(src), int(dst), float(bps)
        except ValueError:
            pass
        raise self._refused(f"line {number}: {line.strip()[:60]!r} is not two node numbers and bits per second above 0")

    def _refused(self, reason: str) -> ScenarioError:
        return ScenarioError(f"network.link_bps.path: {str(self.path)!r} is not allowed: {reason}")


class _Looked(Rates):
    def __init__(self, table: dict[tuple[int, int], float], n: int, default_bps: float) -> None:
        import numpy as np

        self._nodes, self._default_bps = n + 1, default_bps
        by_key = sorted(((src + 1) * self._nodes + dst + 1, bps) for (src, dst), bps in table.items())
        self._keys = np.array([key for key, _ in by_key], dtype=np.int64)
        self._bps = np.array([bps for _, bps in by_key], dtype=float)

    def bps(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        import numpy as np

        if not len(self._keys):
            return np.full(len(src), self._default_bps)
        # The server is −1, or the last of n + 1.
        keys = (src + 1) % self._nodes * self._nodes + (dst + 1) % self._nodes
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found: np.ndarray = np.where(self._keys[place] == keys, self._bps[place], self._default_bps)
        return found
