"""Faults: what goes wrong, to whom, and when."""

from decai_sim.world.faults.base import Fault, check_all, install_all
from decai_sim.world.faults.crash import Crash
from decai_sim.world.faults.dos import DoS
from decai_sim.world.faults.outage import Outage
from decai_sim.world.faults.partition import Partition
from decai_sim.world.faults.slow_devices import SlowDevices
from decai_sim.world.faults.slow_links import SlowLinks
from decai_sim.world.faults.takedown import Takedown
from decai_sim.world.faults.targets import Targeted

__all__ = [
    "Crash",
    "DoS",
    "Fault",
    "Outage",
    "Partition",
    "SlowDevices",
    "SlowLinks",
    "Takedown",
    "Targeted",
    "check_all",
    "install_all",
]
