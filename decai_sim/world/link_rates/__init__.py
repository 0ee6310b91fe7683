"""Models of what single links carry."""

from decai_sim.world.link_rates.base import Alike, LinkRates, Rates
from decai_sim.world.link_rates.lognormal import Lognormal
from decai_sim.world.link_rates.table import Table

__all__ = ["Alike", "LinkRates", "Lognormal", "Rates", "Table"]
