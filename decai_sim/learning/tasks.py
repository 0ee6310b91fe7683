"""Tasks: what is learned, how it is split, with which model."""

from __future__ import annotations

from decai_sim.component import Component, field_of
from decai_sim.learning import data
from decai_sim.learning.models import Model, Softmax
from decai_sim.learning.partitions import Dirichlet, Partition


class Task(Component, family="tasks"):
    """Base of tasks.

    Attributes:
        partition: who holds which samples.
        model: what is trained.
    """

    partition: field_of(Partition) = Dirichlet()  # type: ignore[valid-type]
    model: field_of(Model) = Softmax()  # type: ignore[valid-type]

    @staticmethod
    def load() -> data.Dataset:
        """Read the data set."""
        raise NotImplementedError


class FashionMNIST(Task, kind="fashion_mnist"):
    """Recognise ten kinds of clothing on 28 x 28 grey images: 60,000 to train on, 10,000 to test.

    Source: Xiao, Rasul & Vollgraf, arXiv:1708.07747 (MIT licence); shipped in ``data/``.
    Assumes: nothing.
    Deviations: pixels are scaled to 0…1 and standardised with the training set's mean and deviation.

    Example:
        >>> FashionMNIST().load().classes
        10
    """

    @staticmethod
    def load() -> data.Dataset:
        return data.fashion_mnist()


class Digits(Task):
    """Recognise handwritten digits on 8 x 8 images: 1,437 to train on, 360 to test. For quick looks and tests.

    Source: Alpaydin & Kaynak 1998 (UCI, CC BY 4.0), as shipped with scikit-learn.
    Assumes: nothing.
    Deviations: every fifth image is the test set.

    Example:
        >>> len(Digits().load().y_train)
        1437
    """

    @staticmethod
    def load() -> data.Dataset:
        return data.digits()
