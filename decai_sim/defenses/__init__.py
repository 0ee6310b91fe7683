"""Defenses: rules that aggregate updates ``(n, d)`` into one, and mixing steps to put before them with ``>>``.

The ``f`` of a rule is how many of the rows it takes to be Byzantine. Rows that are not finite never reach a robust rule.
"""

from __future__ import annotations

from decai_sim.defenses.base import Aggregation, Context, Defense, Mixing, Rule
from decai_sim.defenses.chain import Chain, DefenseField, MixingChain, parse_defense
from decai_sim.defenses.krum import Krum
from decai_sim.defenses.mean import Mean
from decai_sim.defenses.median import Median
from decai_sim.defenses.nnm import NNM
from decai_sim.defenses.trimmed_mean import TrimmedMean

__all__ = [
    "NNM",
    "Aggregation",
    "Chain",
    "Context",
    "Defense",
    "DefenseField",
    "Krum",
    "Mean",
    "Median",
    "Mixing",
    "MixingChain",
    "Rule",
    "TrimmedMean",
    "parse_defense",
]
