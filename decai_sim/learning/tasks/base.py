"""Tasks: what is learned, how it is split, with which model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.component import Component, field_of
from decai_sim.learning.models import Model, Softmax
from decai_sim.learning.partitions import Dirichlet, Partition

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset


class Task(Component, family="tasks"):
    """Base of tasks.

    Attributes:
        partition: who holds which samples.
        model: what is trained.
        holdout: the share of its own samples that each node keeps for its own test and does not train on, rounded down. 0: nodes
            that are natural clients have the data set's test samples of these, if it says whose they are; others test their
            models on what they train on.
    """

    partition: field_of(Partition) = Dirichlet()  # type: ignore[valid-type]
    model: field_of(Model) = Softmax()  # type: ignore[valid-type]
    holdout: float = Field(default=0.0, ge=0, lt=1)

    def load(self) -> Dataset:
        """The data set, read once.

        Raises:
            ScenarioError: it cannot be had.
        """
        raise NotImplementedError
