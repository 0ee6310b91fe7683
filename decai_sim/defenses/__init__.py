"""Defenses: rules that aggregate updates ``(n, d)`` into one, and steps to put before them with ``>>``.

The ``f`` of a rule is how many of the rows it takes to be Byzantine. Rows that are not finite never reach a robust rule.
"""

from __future__ import annotations

from decai_sim.defenses.arc import ARC
from decai_sim.defenses.balance import BALANCE
from decai_sim.defenses.base import Aggregation, Context, Defense, Mixing, Rule, Scaling, Step, Stepped
from decai_sim.defenses.bridge import BRIDGE
from decai_sim.defenses.bucketing import Bucketing
from decai_sim.defenses.buffers import Buffers
from decai_sim.defenses.bulyan import Bulyan
from decai_sim.defenses.centered_clipping import CenteredClipping
from decai_sim.defenses.chain import Chain, DefenseField, MixingChain, parse_defense
from decai_sim.defenses.clipped_clustering import ClippedClustering
from decai_sim.defenses.clipping import Clipping
from decai_sim.defenses.dnc import DnC
from decai_sim.defenses.dp_clipping import DPClipping
from decai_sim.defenses.filter import Filter
from decai_sim.defenses.fl_trust import FLTrust
from decai_sim.defenses.fools_gold import FoolsGold
from decai_sim.defenses.geometric_median import GeometricMedian
from decai_sim.defenses.kardam import Kardam
from decai_sim.defenses.krum import Krum
from decai_sim.defenses.local_reputation import LocalReputation
from decai_sim.defenses.mda import MDA
from decai_sim.defenses.meamed import Meamed
from decai_sim.defenses.mean import Mean
from decai_sim.defenses.median import Median
from decai_sim.defenses.momentum import Momentum
from decai_sim.defenses.multi_krum import MultiKrum
from decai_sim.defenses.nnm import NNM
from decai_sim.defenses.norm_clipping import NormClipping
from decai_sim.defenses.peer import PeerRule
from decai_sim.defenses.self_centered_clipping import SelfCenteredClipping
from decai_sim.defenses.sign_guard import SignGuard
from decai_sim.defenses.smea import SMEA
from decai_sim.defenses.trimmed_mean import TrimmedMean
from decai_sim.defenses.ubar import UBAR
from decai_sim.defenses.zeno import Zeno
from decai_sim.defenses.zeno_plus_plus import ZenoPlusPlus

__all__ = [
    "ARC",
    "BALANCE",
    "BRIDGE",
    "MDA",
    "NNM",
    "SMEA",
    "UBAR",
    "Aggregation",
    "Bucketing",
    "Buffers",
    "Bulyan",
    "CenteredClipping",
    "Chain",
    "ClippedClustering",
    "Clipping",
    "Context",
    "DPClipping",
    "Defense",
    "DefenseField",
    "DnC",
    "FLTrust",
    "Filter",
    "FoolsGold",
    "GeometricMedian",
    "Kardam",
    "Krum",
    "LocalReputation",
    "Meamed",
    "Mean",
    "Median",
    "Mixing",
    "MixingChain",
    "Momentum",
    "MultiKrum",
    "NormClipping",
    "PeerRule",
    "Rule",
    "Scaling",
    "SelfCenteredClipping",
    "SignGuard",
    "Step",
    "Stepped",
    "TrimmedMean",
    "Zeno",
    "ZenoPlusPlus",
    "parse_defense",
]
