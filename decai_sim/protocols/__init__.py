"""Protocols: how nodes cooperate."""

from decai_sim.protocols.base import Lab, Protocol
from decai_sim.protocols.broadcast import Broadcast
from decai_sim.protocols.dpsgd import DPSGD
from decai_sim.protocols.fed_async import FedAsync
from decai_sim.protocols.fed_buff import FedBuff
from decai_sim.protocols.federated import Federated
from decai_sim.protocols.local_training import LocalTraining

__all__ = ["DPSGD", "Broadcast", "FedAsync", "FedBuff", "Federated", "Lab", "LocalTraining", "Protocol"]
