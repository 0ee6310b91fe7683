"""Access rates that somebody brings along."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.access_rates.base import AccessRates, Direction

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams

_HEADER = ["node", "bps"]


class Table(AccessRates):
    r"""Access rates as measured by the user: a CSV file with the header ``node,bps`` and a line for each node.

    Nodes are numbered from 0.

    Source: the user.
    Assumes: what was measured stays.
    Deviations: none.

    Attributes:
        path: the file.
        default_bps: the rate of nodes without a line, bits per second; None: every node must have one.

    Raises:
        ScenarioError: the file is missing or holds no such table, names a node that there is not, or leaves one out.

    Example:
        >>> import pathlib, tempfile
        >>> from decai_sim.seeding import Streams
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "nodes.csv"
        >>> _ = path.write_text("node,bps\n0,2e6\n2,5e5\n")
        >>> Table(path, default_bps=1e6).of(3, "upload_bps", Streams(1)).tolist()
        [2000000.0, 1000000.0, 500000.0]
    """

    examples = ()

    path: Path
    default_bps: float | None = Field(default=None, gt=0)

    def __init__(self, path: Path | str | None = None, **fields: Any) -> None:
        super().__init__(**({} if path is None else {"path": path}), **fields)

    def check(self, n: int, direction: Direction) -> None:
        self._read(n, direction)

    def of(self, n: int, direction: Direction, streams: Streams) -> np.ndarray:
        """As the file has them."""
        import numpy as np

        return np.array(self._read(n, direction))

    def _read(self, n: int, direction: Direction) -> list[float]:
        def refused(reason: str) -> ScenarioError:
            return ScenarioError(f"network.{direction}.path: {str(self.path)!r} is not allowed: {reason}")

        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:  # ValueError: no text, or no name a file can have
            reason = "is not a text file" if isinstance(error, UnicodeDecodeError) else str(getattr(error, "strerror", error))
            raise refused(reason) from None
        first, *lines = text.splitlines() or [""]
        if [cell.strip() for cell in first.split(",")] != _HEADER:
            raise refused(f"line 1 must be {','.join(_HEADER)}")
        table: dict[int, float] = {}
        for number, line in enumerate(lines, 2):
            if not line.strip():
                continue
            found = _cells(line)
            if found is None:
                raise refused(f"line {number}: {line.strip()[:60]!r} is not a node's number and bits per second above 0")
            node, bps = found
            if not 0 <= node < n:
                raise refused(f"line {number}: there is no node {node} among {n}")
            if node in table:
                raise refused(f"line {number}: node {node} is there already")
            table[node] = bps
        missing = next((node for node in range(n) if node not in table), None)
        if missing is not None and self.default_bps is None:
            raise refused(f"there is no line for node {missing}, and no default_bps")
        return [table.get(node, self.default_bps or math.nan) for node in range(n)]


def _cells(line: str) -> tuple[int, float] | None:
    try:
        node, bps = line.split(",")
        return (int(node), float(bps)) if 0 < float(bps) < math.inf else None
    except ValueError:
        return None
