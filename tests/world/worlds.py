"""Worlds whose every rate, delay and absence a test decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from decai_sim.seeding import Streams
from decai_sim.world.devices import Mix
from decai_sim.world.network import Paths
from decai_sim.world.world import World


class Wires:
    """A network with given access rates (the server's last) and latencies; ``options`` are those of ``Paths``."""

    def __init__(
        self,
        upload_bps: Sequence[float],
        download_bps: Sequence[float],
        latency_s: float | Callable[[int, int], float] = 0.0,
        **options: Any,
    ) -> None:
        self.rates = np.array(upload_bps, float), np.array(download_bps, float)
        self.latency_s, self.options = latency_s, options

    def paths(self, device_upload_bps: np.ndarray, device_download_bps: np.ndarray, streams: Streams) -> Paths:
        up, down = self.rates
        paths: Any = Paths(np.full(len(up), "-"), up, down, **self.options)
        latency = self.latency_s
        paths.base_s = latency if callable(latency) else lambda src, dst: latency
        paths.bases_s = lambda src, dst: np.array([paths.base_s(a, b) for a, b in zip(src.tolist(), dst.tolist(), strict=True)])
        return paths  # type: ignore[no-any-return]


class Absences:
    """Churn as written down: per node its periods in seconds, the first one online (offline if it begins with 0)."""

    def __init__(self, periods: Mapping[int, Sequence[float]]) -> None:
        self.listed = periods

    def _of(self, node: int) -> list[float]:
        return [float(p) for p in self.listed.get(node, ())]

    def start(self, n: int, streams: Streams) -> np.ndarray:
        return np.array([not (self._of(node) and self._of(node)[0] == 0) for node in range(n)])

    def periods(self, k: int, online: np.ndarray, began_s: np.ndarray, streams: Streams) -> np.ndarray:
        rows = [self._of(node) for node in range(len(online))]
        rows = [row[1:] if row and row[0] == 0 else row for row in rows]
        return np.array([row[k] if k < len(row) else math.inf for row in rows])


def world(n: int, *, network: Any = None, churn: Any = None, devices: Any = None, seed: int = 0, topology: Any = None) -> World:
    fast = [math.inf] * (n + 1)
    return World(n, network or Wires(fast, fast), churn, devices or Mix(laptop=1.0), Streams(seed), topology)


def run_until(world: World, t_s: float) -> None:
    """Run all events up to and including ``t_s``."""
    world.run(t_s)
