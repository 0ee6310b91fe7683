"""Fashion-MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.learning.data import fashion_mnist
from decai_sim.learning.tasks.base import Task

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset


class FashionMNIST(Task, kind="fashion_mnist"):
    """Recognise ten kinds of clothing on 28 x 28 grey images: 60,000 to train on, 10,000 to test.

    Source: Xiao, Rasul & Vollgraf, arXiv:1708.07747 (MIT licence); shipped in ``data/``.
    Assumes: nothing.
    Deviations: pixels are scaled to 0…1 and standardised with the training set's mean and deviation.

    Example:
        >>> FashionMNIST().load().classes
        10
    """

    def load(self) -> Dataset:
        """The shipped files."""
        return fashion_mnist.load()
