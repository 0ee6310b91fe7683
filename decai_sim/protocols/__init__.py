"""Protocols: how nodes cooperate."""

from decai_sim.protocols.ad_psgd import ADPSGD
from decai_sim.protocols.base import Lab, Protocol
from decai_sim.protocols.broadcast import Broadcast
from decai_sim.protocols.dpsgd import DPSGD
from decai_sim.protocols.epidemic import EpidemicLearning
from decai_sim.protocols.fed_async import FedAsync
from decai_sim.protocols.fed_buff import FedBuff
from decai_sim.protocols.federated import Federated
from decai_sim.protocols.gossip_learning import GossipLearning
from decai_sim.protocols.hierarchical import HierarchicalFederation
from decai_sim.protocols.in_rounds import InRounds
from decai_sim.protocols.local_training import LocalTraining
from decai_sim.protocols.moshpit import MoshpitSGD
from decai_sim.protocols.peer_to_peer import PeerToPeer
from decai_sim.protocols.sgp import SGP

__all__ = [
    "ADPSGD",
    "DPSGD",
    "SGP",
    "Broadcast",
    "EpidemicLearning",
    "FedAsync",
    "FedBuff",
    "Federated",
    "GossipLearning",
    "HierarchicalFederation",
    "InRounds",
    "Lab",
    "LocalTraining",
    "MoshpitSGD",
    "PeerToPeer",
    "Protocol",
]
