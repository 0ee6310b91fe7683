"""Attacks: who lies, when, knowing what, and how.

- On the data that attackers train on (:class:`DataAttack`): label flips, noise, duplicates, and backdoors, which have a
  :meth:`~DataAttack.goal` of their own.
- On the updates ``(b, d)`` that they send (:class:`UpdateAttack`), which may follow an attack on data, and say when they send.
- On the protocol: :class:`LieCount`, :class:`Mistime`, :class:`Replay`; among peers (:class:`PeerAttack`), :class:`Dissensus` and
  :class:`LyingWeights`, with ``to`` to lie to some only.

What attackers do to the network instead, such as Sybils, eclipses, delayed and dropped messages, is in ``ds.adversaries``.
"""

from __future__ import annotations

from decai_sim.attacks.adaptive import Adaptive
from decai_sim.attacks.alie import ALIE
from decai_sim.attacks.badnets import BadNets
from decai_sim.attacks.base import Attack, DataAttack, PeerAttack, UpdateAttack, View
from decai_sim.attacks.clean_label import CleanLabel
from decai_sim.attacks.dba import DBA
from decai_sim.attacks.dissensus import Dissensus
from decai_sim.attacks.duplicate import Duplicate
from decai_sim.attacks.edge_case import EdgeCase
from decai_sim.attacks.fang import Fang
from decai_sim.attacks.feature_noise import FeatureNoise
from decai_sim.attacks.free_ride import FreeRide
from decai_sim.attacks.garbage import Garbage
from decai_sim.attacks.gaussian import Gaussian
from decai_sim.attacks.ipm import IPM
from decai_sim.attacks.label_flip import LabelFlip
from decai_sim.attacks.lie_count import LieCount
from decai_sim.attacks.lying_weights import LyingWeights
from decai_sim.attacks.mimic import Mimic
from decai_sim.attacks.min_max import MinMax
from decai_sim.attacks.min_sum import MinSum
from decai_sim.attacks.mistime import Mistime
from decai_sim.attacks.model_replacement import ModelReplacement
from decai_sim.attacks.neurotoxin import Neurotoxin
from decai_sim.attacks.optimised_alie import OptimisedALIE
from decai_sim.attacks.optimised_ipm import OptimisedIPM
from decai_sim.attacks.replay import Replay
from decai_sim.attacks.same_value import SameValue
from decai_sim.attacks.scaling import Scaling
from decai_sim.attacks.sign_flip import SignFlip
from decai_sim.attacks.trigger import Trigger

__all__ = [
    "ALIE",
    "DBA",
    "IPM",
    "Adaptive",
    "Attack",
    "BadNets",
    "CleanLabel",
    "DataAttack",
    "Dissensus",
    "Duplicate",
    "EdgeCase",
    "Fang",
    "FeatureNoise",
    "FreeRide",
    "Garbage",
    "Gaussian",
    "LabelFlip",
    "LieCount",
    "LyingWeights",
    "Mimic",
    "MinMax",
    "MinSum",
    "Mistime",
    "ModelReplacement",
    "Neurotoxin",
    "OptimisedALIE",
    "OptimisedIPM",
    "PeerAttack",
    "Replay",
    "SameValue",
    "Scaling",
    "SignFlip",
    "Trigger",
    "UpdateAttack",
    "View",
]
