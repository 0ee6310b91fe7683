"""Latency models: how long the way is between two nodes."""

from decai_sim.world.latency.base import Delays, Latency
from decai_sim.world.latency.constant import Constant
from decai_sim.world.latency.geographic import Geographic
from decai_sim.world.latency.lognormal import Lognormal
from decai_sim.world.latency.matrix import Matrix
from decai_sim.world.latency.pareto import Pareto
from decai_sim.world.latency.region_matrix import RegionMatrix

__all__ = ["Constant", "Delays", "Geographic", "Latency", "Lognormal", "Matrix", "Pareto", "RegionMatrix"]
