"""Flower strategies: Flower's own with the design's sampling, ours with rules, control variates, and asynchronous ones."""

from decai_sim.flower.strategies.asynchronous import FedAsync, FedBuff
from decai_sim.flower.strategies.capped import CappedFedAvg
from decai_sim.flower.strategies.rule import RuleStrategy
from decai_sim.flower.strategies.scaffold import Scaffold

__all__ = ["CappedFedAvg", "FedAsync", "FedBuff", "RuleStrategy", "Scaffold"]
