"""Anybody's model and data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from decai_sim.learning.data import given
from decai_sim.learning.kept import Digest, Kept, digest_of, held, keep
from decai_sim.learning.models import Model, Module
from decai_sim.learning.tasks.base import Task

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset


class Custom(Task):
    """Learn anybody's data with anybody's model, ``Custom(model, dataset)``; in Python only.

    ``model`` is an ``nn.Module``, a class or function without arguments that makes one, or a model of ``ds.models``.
    ``dataset`` is ``(x_train, y_train, x_test, y_test)`` as arrays or tensors, two PyTorch data sets ``(training, test)``, or a
    ``Dataset``.
    Inputs of a floating type are used as they are, ``uint8`` are pixels to be standardised, other whole numbers are tokens.

    Source: the user.
    Assumes: classification, by cross-entropy; what ``ds.models.Module`` assumes of modules.
    Deviations: none. A file keeps only a digest of the data. Reading it back needs the same data alive in the same Python.

    Attributes:
        digest: of the data.

    Raises:
        ScenarioError: model or data are none.
        pydantic.ValidationError: nobody here holds the data that a file means.
        TypeError: the model has buffers, such as batch statistics.

    Example:
        >>> import numpy as np
        >>> from torch import nn
        >>> x, y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2
        >>> task = Custom(nn.Linear(4, 2), (x[:30], y[:30], x[30:], y[30:]), partition="iid")
        >>> task.load().shape, task.partition.kind
        ((4,), 'iid')
    """

    examples = ()

    digest: Digest("data", "ds.tasks.Custom(model, dataset)")  # type: ignore[valid-type]
    _kept: Kept = PrivateAttr()

    def __init__(self, model: Any = None, dataset: Any = None, **fields: Any) -> None:
        if dataset is not None:
            data = given.load(dataset)
            kept = keep(digest_of(given.content(data)), data)
            fields["digest"] = kept.digest
        if model is not None:
            ready = isinstance(model, Model | str | dict)
            fields["model"] = model if ready else Module(model)
        super().__init__(**fields)

    def model_post_init(self, context: Any) -> None:
        """Hold what the digest stands for."""
        self._kept = held(self.digest)

    def load(self) -> Dataset:
        """The data."""
        data: Dataset = self._kept.value
        return data
