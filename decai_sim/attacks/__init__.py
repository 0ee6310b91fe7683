"""Attacks: who lies, and how; on the data they train on, or on the updates ``(b, d)`` they send."""

from __future__ import annotations

from decai_sim.attacks.alie import ALIE
from decai_sim.attacks.base import Attack, DataAttack, UpdateAttack, View
from decai_sim.attacks.label_flip import LabelFlip
from decai_sim.attacks.sign_flip import SignFlip

__all__ = ["ALIE", "Attack", "DataAttack", "LabelFlip", "SignFlip", "UpdateAttack", "View"]
