"""Churn models: when nodes are there."""

from decai_sim.world.churn.base import Churn
from decai_sim.world.churn.diurnal import Diurnal
from decai_sim.world.churn.exponential import Exponential
from decai_sim.world.churn.flash_crowd import FlashCrowd
from decai_sim.world.churn.pareto import Pareto
from decai_sim.world.churn.permanent import Permanent
from decai_sim.world.churn.trace import TraceReplay
from decai_sim.world.churn.weibull import Weibull

__all__ = ["Churn", "Diurnal", "Exponential", "FlashCrowd", "Pareto", "Permanent", "TraceReplay", "Weibull"]
