"""Overlays: links that change while a world runs, by rounds or because nodes keep them up themselves."""

from decai_sim.world.overlay.base import Overlay
from decai_sim.world.overlay.cyclon import Cyclon
from decai_sim.world.overlay.live_cyclon import LiveCyclon
from decai_sim.world.overlay.rounds import Rounds

__all__ = ["Cyclon", "LiveCyclon", "Overlay", "Rounds"]
