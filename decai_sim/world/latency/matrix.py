"""A matrix that somebody brings along."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from decai_sim.errors import ScenarioError
from decai_sim.world.latency.base import Delays, Latency

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams


class Matrix(Latency):
    """Latencies as measured by the user: a square table in milliseconds, between nodes or between regions.

    Between nodes it has a row for every node and a last one for the server. Between regions its rows are named by ``regions``, or
    by the header of the file: a first line of names, and the same names in front of the rows if one likes. The two entries of a
    link are averaged.

    Source: the user.
    Assumes: what was measured stays; messages still jitter, as the network says.
    Deviations: none.

    Attributes:
        ms: the table, milliseconds, all above 0 (between nodes, the diagonal says nothing and may be 0); or else
        path: a CSV file with the table.
        regions: names of the rows; None: rows are nodes, unless the file has a header.
        round_trip: entries are round trips and are halved.

    Raises:
        ScenarioError: the file is missing or holds no such table, or the table does not fit the scenario's nodes.

    Example:
        >>> import numpy as np
        >>> from decai_sim.seeding import Streams
        >>> two = Matrix(ms=((4, 90), (90, 6)), regions=("EU", "NA"), round_trip=True)
        >>> delays = two.links(np.array(["EU", "NA", "EU"]), Streams(1))
        >>> delays.base_s(0, 1), delays.base_s(0, -1)
        (0.045, 0.002)
    """

    examples = (
        {
            "ms": tuple(tuple(8.0 + 10 * abs(a - b) for b in range(6)) for a in range(6)),
            "regions": ("NA", "EU", "SA", "AP", "JP", "AU"),
        },
        {"ms": tuple(tuple(float(abs(a - b)) for b in range(9)) for a in range(9)), "round_trip": True},
    )

    ms: tuple[tuple[float, ...], ...] | None = None
    path: Path | None = None
    regions: tuple[str, ...] | None = None
    round_trip: bool = False

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.ms is None) == (self.path is None):
            raise ValueError("give either ms, the table itself, or path, a CSV file with it")
        if self.ms is not None:
            wrong = _wrong(self.ms, self.regions)
            if wrong:
                raise ValueError(wrong)
        return self

    def misfit(self, regions: Collection[str]) -> str | None:
        return _unnamed(self.regions, regions)

    def check(self, n: int, regions: Collection[str]) -> None:
        rows, names = self._table()
        if names is None:
            self._check_rows(len(rows), n + 1)
        elif self.path is not None:
            unnamed = _unnamed(names, regions)
            if unnamed:
                raise self._refused(unnamed)

    def links(self, regions: np.ndarray, streams: Streams) -> Delays:
        import numpy as np

        rows, names = self._table()
        table = np.array(rows, float) / (2000 if self.round_trip else 1000)
        table = (table + table.T) / 2
        if names is None:
            self._check_rows(len(table), len(regions))
            return _Looked(table, np.arange(len(regions)))
        unnamed = _unnamed(names, sorted(set(regions.tolist())))
        if unnamed:
            raise self._refused(unnamed) if self.ms is None else ScenarioError(f"network.latency: {unnamed}")
        return _Looked(table, np.array([names.index(name) for name in regions.tolist()]))

    def _table(self) -> tuple[Sequence[Sequence[float]], tuple[str, ...] | None]:
        return (self.ms, self.regions) if self.ms is not None else self._read()

    def _check_rows(self, rows: int, needed: int) -> None:
        if rows != needed:
            raise ScenarioError(
                f"network.latency.{'path' if self.ms is None else 'ms'}: {rows} rows are not allowed: "
                f"{needed} are needed, one for each node and the server's last"
            )

    def _read(self) -> tuple[list[list[float]], tuple[str, ...] | None]:
        assert self.path is not None
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:  # ValueError: no text, or no name a file can have
            reason = "is not a text file" if isinstance(error, UnicodeDecodeError) else str(getattr(error, "strerror", error))
            raise self._refused(reason) from None
        try:
            lines = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise self._refused(f"is not a CSV file: {error}") from None
        if not lines:
            raise self._refused("is empty")
        names = self.regions
        if not any(map(_number, lines[0])):
            header, *lines = lines
            named = [row[0] for row in lines] == header[1:]
            header, lines = (header[1:], [row[1:] for row in lines]) if named else (header, lines)
            if names is not None and list(names) != header:
                raise self._refused(
                    f"its first line, {', '.join(header)!r:.60}, does not name the regions {', '.join(names)!r:.60}"
                )
            names = tuple(header)
        for number, row in enumerate(lines, 1):
            bad = next((cell for cell in row if not _number(cell)), None)
            if bad is not None:
                raise self._refused(f"row {number} has {bad[:30]!r}, which is not a number of milliseconds")
        rows = [[float(cell) for cell in row] for row in lines]
        wrong = _wrong(rows, names)
        if wrong:
            raise self._refused(wrong)
        return rows, names

    def _refused(self, reason: str) -> ScenarioError:
        return ScenarioError(f"network.latency.path: {str(self.path)!r} is not allowed: {reason}")


def _unnamed(names: Sequence[str] | None, regions: Collection[str]) -> str | None:
    missing = [name for name in regions if names is not None and name not in names]
    return f"its table has no region {missing[0]!r}, where nodes may be" if missing else None


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _wrong(rows: Sequence[Sequence[float]], names: Sequence[str] | None) -> str | None:
    """What is wrong with a table, in words; None: nothing."""
    if not rows:
        return "the table is empty"
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows):
            return f"the table must be square, but has {len(rows)} rows, and {len(row)} entries in row {number}"
        for column, value in enumerate(row, 1):
            if not value > 0 and (names is not None or column != number):
                return f"row {number}, column {column} is {value:g}; latencies must be above 0 ms"
    if names is not None and len(names) != len(rows):
        return f"the table has {len(rows)} rows for {len(names)} regions"
    if names is not None and len(set(names)) != len(names):
        return f"a region is named twice in {', '.join(names)!r:.60}"
    return None


class _Looked(Delays):
    def __init__(self, table_s: np.ndarray, row: np.ndarray) -> None:
        self._table_s, self._row = table_s, row
        self._rows: list[int] = row.tolist()

    def base_s(self, src: int, dst: int) -> float:
        return float(self._table_s[self._rows[src], self._rows[dst]])

    def bases_s(self, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
        latency: np.ndarray = self._table_s[self._row[src], self._row[dst]]
        return latency
