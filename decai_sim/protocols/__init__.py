"""Protocols: how nodes cooperate."""

from decai_sim.protocols.base import Lab, Protocol
from decai_sim.protocols.broadcast import Broadcast
from decai_sim.protocols.dpsgd import DPSGD
from decai_sim.protocols.federated import Federated

__all__ = ["DPSGD", "Broadcast", "Federated", "Lab", "Protocol"]
