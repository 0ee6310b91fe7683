"""Models of what nodes' access links carry."""

from decai_sim.world.access_rates.base import AccessRates
from decai_sim.world.access_rates.lognormal import Lognormal
from decai_sim.world.access_rates.table import Table

__all__ = ["AccessRates", "Lognormal", "Table"]
