"""Whom a fault strikes."""

from __future__ import annotations

from decai_sim.world.faults.base import Fault
from decai_sim.world.targets import Targets


class Targeted(Targets, Fault, abstract=True):
    """Base of faults that strike chosen nodes: a list, a share, or a region.

    Attributes:
        nodes: their numbers; −1 is the server.
        share: this share of all nodes, rounded down, chosen ``by``; with ``region`` of that region's, at random.
        region: the nodes of this region.
        by: how a share is chosen: at random, most links first, most shortest paths through it first, or at the ends of the links
            across the network's narrowest balanced cut.
    """
