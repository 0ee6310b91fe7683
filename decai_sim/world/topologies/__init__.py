"""Topologies: who is wired to whom."""

from decai_sim.world.topologies.barabasi_albert import BarabasiAlbert
from decai_sim.world.topologies.base import Topology
from decai_sim.world.topologies.bitcoin import Bitcoin
from decai_sim.world.topologies.complete import Complete
from decai_sim.world.topologies.edge_list import EdgeList, Given
from decai_sim.world.topologies.erdos_renyi import ErdosRenyi
from decai_sim.world.topologies.exponential import ExponentialGraph
from decai_sim.world.topologies.graphml import GraphML
from decai_sim.world.topologies.hierarchical import Hierarchical
from decai_sim.world.topologies.hypercube import Hypercube
from decai_sim.world.topologies.kademlia import Kademlia
from decai_sim.world.topologies.one_peer_exponential import OnePeerExponential
from decai_sim.world.topologies.peer_sampling import PeerSampling
from decai_sim.world.topologies.random_each_round import RandomEachRound
from decai_sim.world.topologies.random_regular import RandomRegular
from decai_sim.world.topologies.ring import Ring
from decai_sim.world.topologies.small_world import SmallWorld
from decai_sim.world.topologies.star import Star
from decai_sim.world.topologies.torus import Torus
from decai_sim.world.topologies.two_cliques import TwoCliques

__all__ = [
    "BarabasiAlbert",
    "Bitcoin",
    "Complete",
    "EdgeList",
    "ErdosRenyi",
    "ExponentialGraph",
    "Given",
    "GraphML",
    "Hierarchical",
    "Hypercube",
    "Kademlia",
    "OnePeerExponential",
    "PeerSampling",
    "RandomEachRound",
    "RandomRegular",
    "Ring",
    "SmallWorld",
    "Star",
    "Topology",
    "Torus",
    "TwoCliques",
]
