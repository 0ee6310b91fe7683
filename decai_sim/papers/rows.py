"""Figures that were measured, each beside what it is held against."""

from __future__ import annotations

import difflib
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any, TypeVar

from decai_sim.errors import DecaiError

_VERSIONED = ("decai_sim", "numpy", "scipy", "simpy", "networkx", "pandas")
_Named = TypeVar("_Named")


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: what was measured.
        value: what came out; NaN: nothing did.
        unit: of ``value``; empty for shares, ratios and counts.
        target: the band or ordering that it is held against, in words; empty: none, it is there to be seen.
        meets: whether it is met; None: not judged.
        source: where the target comes from.

    Example:
        >>> Row.within("median", 9.0, "s", 8.7, 0.15, "a measurement").target, Row.at_least("ratio", 0.5, 0.6, "").meets
        ('8.7 ± 15 %', False)
    """

    name: str
    value: float
    unit: str = ""
    target: str = ""
    meets: bool | None = None
    source: str = ""

    @classmethod
    def within(cls, name: str, value: float, unit: str, wanted: float, share: float, source: str) -> Row:
        """Met if ``value`` is within ``share`` of ``wanted``."""
        share_text = f"{100 * share:g} %" if share >= 1e-4 else f"{share:.0e} of it"
        return cls(name, value, unit, f"{wanted:.5g} ± {share_text}", abs(value - wanted) <= share * abs(wanted), source)

    @classmethod
    def near(cls, name: str, value: float, unit: str, wanted: float, by: float, source: str) -> Row:
        """Met if ``value`` is no further from ``wanted`` than ``by``."""
        return cls(name, value, unit, f"{wanted:.5g} ± {by:.2g}", abs(value - wanted) <= by, source)

    @classmethod
    def between(cls, name: str, value: float, unit: str, low: float, high: float, source: str) -> Row:
        """Met if ``low`` ≤ ``value`` ≤ ``high``."""
        return cls(name, value, unit, f"{low:g} … {high:g}", low <= value <= high, source)

    @classmethod
    def at_most(cls, name: str, value: float, limit: float, source: str, unit: str = "") -> Row:
        """Met if ``value`` ≤ ``limit``."""
        return cls(name, value, unit, f"≤ {limit:.5g}", value <= limit, source)

    @classmethod
    def at_least(cls, name: str, value: float, limit: float, source: str, unit: str = "") -> Row:
        """Met if ``value`` ≥ ``limit``."""
        return cls(name, value, unit, f"≥ {limit:.5g}", value >= limit, source)

    def of(self, whole: str) -> Row:
        """The same row, its name preceded by what it is part of."""
        return replace(self, name=f"{whole}: {self.name}", value=float(self.value), meets=_plain(self.meets))


def _plain(meets: bool | None) -> bool | None:
    return None if meets is None else bool(meets)  # NumPy's own bool has no JSON


def median_interval(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Median, and an interval between two of the values that holds the true one with at least 90 % if there are enough.

    By order statistics, whatever the distribution (Conover, "Practical Nonparametric Statistics", on confidence intervals for a
    quantile): the k-th smallest and k-th largest of n values enclose the true median with probability 1 − 2 P(X < k), X binomial
    with n and ½.

    Args:
        values: at least one.

    Returns:
        Median, lower end, upper end, and the probability.

    Example:
        >>> median_interval([5.0, 1.0, 3.0, 2.0, 4.0])
        (3.0, 1.0, 5.0, 0.9375)
    """
    ordered = sorted(values)
    n = len(ordered)
    middle = ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2
    k, tail = 1, 0.5**n
    while k < n // 2 and 1 - 2 * (tail + math.comb(n, k) * 0.5**n) >= 0.9:
        tail += math.comb(n, k) * 0.5**n
        k += 1
    return middle, ordered[k - 1], ordered[-k], 1 - 2 * tail


def interval_rows(name: str, values: Sequence[float], unit: str = "") -> list[Row]:
    """The ends of :func:`median_interval`, a row each; none for fewer than five values, where it would say too little."""
    if len(values) < 5:
        return []
    _, low, high, probability = median_interval(values)
    what = f"{100 * probability:.0f} % interval of the median, {len(values)} seeds"
    return [Row(f"{name}, {what}, {end}", value, unit) for end, value in (("low", low), ("high", high))]


def machine() -> dict[str, Any]:
    """What the figures were measured on: Python, processors, and versions; nothing that tells whose machine it is.

    Example:
        >>> sorted(machine())
        ['architecture', 'cpu_count', 'python', 'system', 'versions']
    """
    versions: dict[str, str | None] = {}
    for name in _VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu_count": os.cpu_count(),
        "versions": versions,
    }


def report(rows: Iterable[Row]) -> dict[str, Any]:
    """What ``--json`` prints: ``{"rows": [{"name", "value", "unit", "target", "meets", "source"}…], "machine": …}``."""
    plain = [asdict(row) for row in rows]
    for row in plain:
        row["value"] = row["value"] if math.isfinite(row["value"]) else None  # JSON has neither NaN nor infinity
    return {"rows": plain, "machine": machine()}


def named(wanted: Sequence[str], known: Mapping[str, _Named], what: str) -> list[_Named]:
    """Look things up by name, each once, in the order asked for.

    Args:
        wanted: their names.
        known: all there are.
        what: what an error calls one.

    Raises:
        DecaiError: there is no such name.

    Example:
        >>> named(["b", "b"], {"a": 1, "b": 2}, "letter")
        [2]
    """
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DecaiError(f"{what}: {name!r} is not allowed{hint}: choose from {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]
