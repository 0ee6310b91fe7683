"""What defenses take, in time and in memory."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from decai_sim.benches.bench import Bench, alternating, cpu_s, middle_ratio
from decai_sim.papers.rows import Row

if TYPE_CHECKING:
    import torch

_SAME = "same machine, same process, in turn"


def measure(n: int = 1_000, d: int = 100_000, f: int = 200, repeats: int = 3) -> Iterator[Row]:
    """The figures of ``decai-sim bench defenses``.

    Args:
        n: how many updates.
        d: how long they are.
        f: how many are taken to be Byzantine.
        repeats: how many times each is measured; byzfl's rules once, as they take long.
    """
    from decai_sim.benches import byzfl_rules
    from decai_sim.defenses import NNM, GeometricMedian, Krum, Median, MultiKrum, Rule, Step, TrimmedMean
    from decai_sim.defenses.distances import squared_distances

    rows = updates(n, d)
    plain = [rows - rows.mean(dim=0)]
    squared_distances(rows[:, :2])  # what is set up the first time
    on_distances: dict[str, Rule | Step] = {
        "Krum": Krum(f=f),
        "Multi-Krum": MultiKrum(f=f),
        "geometric median": GeometricMedian(),
        "NNM": NNM(f=f),
    }
    # The product in one piece in single precision is there to be seen: rules are held against what they all need.
    works: list[Callable[[], object]] = [partial(squared_distances, rows), lambda: plain[0] @ plain[0].T]
    works += [partial(rule, rows) for rule in on_distances.values()]
    turns = alternating(repeats, *(partial(cpu_s, work) for work in works))
    yield Row(f"all distances between {n:,} updates of {d:,} numbers, one Gram matrix", min(turn[0] for turn in turns), "CPU s")
    yield Row("one product in float32 / that matrix, centred and in float64", middle_ratio(turns, 1, 0), source=_SAME)
    for number, name in enumerate(on_distances, start=2):
        limit = 2.3 if name == "NNM" else 1.3
        yield Row.at_most(f"{name} / that Gram matrix", middle_ratio(turns, number, 0), limit, _SAME)

    plain.clear()
    by_column = {"trimmed mean": TrimmedMean(f=f), "median": Median()}
    theirs: dict[str, Callable[[torch.Tensor], object]] = {}
    if byzfl_rules.installed():
        found = byzfl_rules.rules()
        theirs = {"trimmed mean": found.TrMean(f=f), "median": found.Median()}
    for name, rule in by_column.items():
        ours = min(cpu_s(partial(rule, rows)) for _ in range(repeats))
        yield Row(name, ours, "CPU s")
        what = f"{name}, byzfl / ours"
        if theirs:
            yield Row.at_least(what, cpu_s(partial(theirs[name], rows)) / ours, 3, f"byzfl 0.0.11, {_SAME}")
        else:
            yield Row(what, math.nan, target="≥ 3", source="byzfl is not installed: pip install --no-deps byzfl")

    del rows
    code = f"from decai_sim.benches.defenses import peaks\nfor name, value in peaks({n}, {d}, {f}): print(value, name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shares = {name: float(value) for value, name in (line.split(" ", 1) for line in done.stdout.splitlines())}
    worst = max(shares, key=lambda name: shares[name])
    source = f"a process of its own, the updates included; most: {worst}, of {len(shares)} rules and steps"
    yield Row.at_most("peak memory / bytes of the updates", shares[worst], 3, source)


def updates(n: int, d: int) -> torch.Tensor:
    """Small updates, some of them long."""
    import torch

    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    rows[:: max(2, n // 10)] *= 10
    return rows


def peaks(n: int, d: int, f: int) -> Iterator[tuple[str, float]]:
    """The most memory that each rule and step held at any time, over the bytes of the updates, them included."""
    import torch

    from decai_sim.benches.flood import peak_memory_bytes
    from decai_sim.component import kinds
    from decai_sim.defenses import Chain, Context, Mean, Rule, Step

    few = updates(12, 5)
    rows = torch.empty(0)
    for size in ((12, 5), (n, d)):
        if size == (n, d):
            before = _reset_peak()
            rows = updates(n, d)
        for name, cls in kinds("defenses").items():
            defense = cls(**cls.examples[0])
            skipped = isinstance(defense, Chain) or name in ("mda", "smea") or not cls.__module__.startswith("decai_sim.")
            if skipped or not isinstance(defense, Rule | Step):
                continue
            given = few if size == (12, 5) else rows
            count = len(given)
            if defense.f is not None:
                defense = defense.model_copy(update={"f": 1 if count == 12 else f})
            context = None
            context = Context(
                f=1 if count == 12 else f,
                own=given[0].clone(),
                who=torch.arange(count),
                server=given[1].clone(),
                loss=lambda moved: moved[:, :5].square().sum(dim=1),
                round=1,
                rounds=10,
                memory={},
            )
            _reset_peak()
            for _ in range(2 if "memory" in defense.needs else 1):
                (defense >> Mean() if isinstance(defense, Step) else defense)(given, context)
            if count != 12:
                yield name, (peak_memory_bytes() - before) / (rows.nelement() * rows.element_size())


def _reset_peak() -> int:
    """Forget the peak so far, where the system lets us, and say what is held now, in bytes."""
    import ctypes
    from pathlib import Path

    import psutil

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # what one rule has let go is not to be counted with the next
        trim(0)
    counter = Path("/proc/self/clear_refs")
    if counter.exists():
        counter.write_text("5")
    return int(psutil.Process().memory_info().rss)  # type: ignore[no-untyped-call]


DEFENSES = Bench("defenses", "What rules take beside one Gram matrix, beside another library, and in memory.", measure)
