"""Adversaries: nodes that tamper with what the network carries."""

from decai_sim.world.adversaries.base import Adversary, Carried, check_all, install_all
from decai_sim.world.adversaries.delay import Delay
from decai_sim.world.adversaries.drop import Drop
from decai_sim.world.adversaries.eclipse import Eclipse
from decai_sim.world.adversaries.flooding import Flooding
from decai_sim.world.adversaries.relaying import Relaying
from decai_sim.world.adversaries.selective import Selective
from decai_sim.world.adversaries.sybil import Sybil

__all__ = [
    "Adversary",
    "Carried",
    "Delay",
    "Drop",
    "Eclipse",
    "Flooding",
    "Relaying",
    "Selective",
    "Sybil",
    "check_all",
    "install_all",
]
