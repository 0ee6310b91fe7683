"""Overlays that their nodes keep up themselves."""

from decai_sim.world.overlay.cyclon import Cyclon

__all__ = ["Cyclon"]
