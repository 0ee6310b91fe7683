"""The simulated internet: clock, nodes, links, churn, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decai_sim.world.adversaries import Adversary, Delay, Drop, Eclipse, Flooding, Selective, Sybil
from decai_sim.world.churn import Churn, Diurnal, Exponential, FlashCrowd, Pareto, Permanent, TraceReplay, Weibull
from decai_sim.world.devices import PROFILES, Devices, Mix, Profile, profiles_table
from decai_sim.world.faults import Crash, DoS, Fault, Outage, Partition, SlowDevices, SlowLinks, Takedown
from decai_sim.world.latency import Latency
from decai_sim.world.loss import Loss
from decai_sim.world.membership import SWIM, Heartbeat, Membership
from decai_sim.world.network import Ideal, Internet, Network
from decai_sim.world.topologies import Complete, EdgeList, Given, Ring, SmallWorld, Topology

if TYPE_CHECKING:
    from decai_sim.world.world import SERVER, World

__all__ = [
    "PROFILES",
    "SERVER",
    "SWIM",
    "Adversary",
    "Churn",
    "Complete",
    "Crash",
    "Delay",
    "Devices",
    "Diurnal",
    "DoS",
    "Drop",
    "Eclipse",
    "EdgeList",
    "Exponential",
    "Fault",
    "FlashCrowd",
    "Flooding",
    "Given",
    "Heartbeat",
    "Ideal",
    "Internet",
    "Latency",
    "Loss",
    "Membership",
    "Mix",
    "Network",
    "Outage",
    "Pareto",
    "Partition",
    "Permanent",
    "Profile",
    "Ring",
    "Selective",
    "SlowDevices",
    "SlowLinks",
    "SmallWorld",
    "Sybil",
    "Takedown",
    "Topology",
    "TraceReplay",
    "Weibull",
    "World",
    "profiles_table",
]


def __getattr__(name: str) -> Any:
    if name in {"World", "SERVER"}:  # these need NumPy and SimPy; describing a scenario does not
        from decai_sim.world import world

        return getattr(world, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
