"""Optimisers: how a node goes down its loss."""

from decai_sim.learning.optimisers.adam import Adam
from decai_sim.learning.optimisers.base import Optimiser
from decai_sim.learning.optimisers.sgd import SGD

__all__ = ["SGD", "Adam", "Optimiser"]
