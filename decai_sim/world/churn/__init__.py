"""Churn models: when nodes are there."""

from decai_sim.world.churn.base import Churn
from decai_sim.world.churn.exponential import Exponential

__all__ = ["Churn", "Exponential"]
