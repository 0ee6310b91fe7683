"""The simulated internet: clock, nodes, links, churn, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decai_sim.world.churn import Churn, Exponential
from decai_sim.world.devices import PROFILES, Devices, Mix, Profile
from decai_sim.world.network import Ideal, Internet, Network
from decai_sim.world.topologies import Complete, EdgeList, Given, Ring, SmallWorld, Topology

if TYPE_CHECKING:
    from decai_sim.world.world import SERVER, World

__all__ = [
    "PROFILES",
    "SERVER",
    "Churn",
    "Complete",
    "Devices",
    "EdgeList",
    "Exponential",
    "Given",
    "Ideal",
    "Internet",
    "Mix",
    "Network",
    "Profile",
    "Ring",
    "SmallWorld",
    "Topology",
    "World",
]


def __getattr__(name: str) -> Any:
    if name in {"World", "SERVER"}:  # these need NumPy and SimPy; describing a scenario does not
        from decai_sim.world import world

        return getattr(world, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
