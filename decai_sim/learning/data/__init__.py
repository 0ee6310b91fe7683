"""Data sets in memory: those that come with the package, and those that somebody brings along. Each module has a ``load``."""

from decai_sim.learning.data import adult, digits, fashion_mnist, given, hub, shakespeare
from decai_sim.learning.data.base import Dataset, data_dir

__all__ = ["Dataset", "adult", "data_dir", "digits", "fashion_mnist", "given", "hub", "shakespeare"]
