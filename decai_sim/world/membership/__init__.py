"""Membership: how those who watch learn who is there."""

from decai_sim.world.membership.base import Membership
from decai_sim.world.membership.heartbeat import Heartbeat
from decai_sim.world.membership.swim import SWIM

__all__ = ["SWIM", "Heartbeat", "Membership"]
