"""Dissemination protocols: how news reaches everybody."""

from decai_sim.world.dissemination.base import Dissemination
from decai_sim.world.dissemination.block_relay import BlockRelay
from decai_sim.world.dissemination.flood import Flood
from decai_sim.world.dissemination.gossip import Pull, Push, PushPull
from decai_sim.world.dissemination.gossip_sub import GossipSub

__all__ = ["BlockRelay", "Dissemination", "Flood", "GossipSub", "Pull", "Push", "PushPull"]
