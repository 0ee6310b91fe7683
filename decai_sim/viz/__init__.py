"""Figures drawn from frames, and an interactive view of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decai_sim.viz import figures, palette
from decai_sim.viz.replay import Replay

if TYPE_CHECKING:
    from decai_sim.viz.network_view import NetworkView

__all__ = ["NetworkView", "Replay", "figures", "palette"]


def __getattr__(name: str) -> Any:
    if name != "NetworkView":
        raise AttributeError(f"module 'decai_sim.viz' has no attribute {name!r}")
    from decai_sim.viz.network_view import NetworkView  # widgets take their time to load, and most runs show none

    return NetworkView
