"""Census income."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.component import field_of
from decai_sim.learning.data import adult
from decai_sim.learning.models import MLP, Model
from decai_sim.learning.tasks.base import Task

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset


class Adult(Task):
    """Tell from a person's census record whether their income exceeds $50,000: 32,561 people to train on, 16,281 to test.

    Source: Becker & Kohavi, "Adult", UCI Machine Learning Repository 1996 (CC BY 4.0), from the US census of 1994; shipped in
    ``data/``.
    Assumes: nothing. Sex, race and age are among the inputs, and beside them, so that one can measure what a model does to whom.
    Deviations: six numbers are standardised with the training set's mean and deviation, eight categories are one input a value;
        people with unknown values are kept, unknown being a value. The weight ``fnlwgt`` is an input like others.

    Example:
        >>> data = Adult().load()
        >>> f"{data.y_train.mean():.2%} of {data.shape[0]} inputs"
        '24.08% of 108 inputs'
    """

    model: field_of(Model) = MLP(hidden=(32,))  # type: ignore[valid-type]

    def load(self) -> Dataset:
        """The shipped files."""
        return adult.load()
