"""Handwritten digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.learning.data import digits
from decai_sim.learning.tasks.base import Task

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset


class Digits(Task):
    """Recognise handwritten digits on 8 x 8 images: 1,437 to train on, 360 to test. For quick looks and tests.

    Source: Alpaydin & Kaynak 1998 (UCI, CC BY 4.0), as shipped with scikit-learn.
    Assumes: nothing.
    Deviations: every fifth image is the test set.

    Example:
        >>> len(Digits().load().y_train)
        1437
    """

    def load(self) -> Dataset:
        """The files of scikit-learn."""
        return digits.load()
