"""Figures drawn from frames."""

from decai_sim.viz import figures, palette

__all__ = ["figures", "palette"]
