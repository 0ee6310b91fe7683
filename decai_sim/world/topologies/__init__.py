"""Topologies: who is wired to whom."""

from decai_sim.world.topologies.base import Topology
from decai_sim.world.topologies.complete import Complete
from decai_sim.world.topologies.edge_list import EdgeList, Given
from decai_sim.world.topologies.ring import Ring
from decai_sim.world.topologies.small_world import SmallWorld

__all__ = ["Complete", "EdgeList", "Given", "Ring", "SmallWorld", "Topology"]
