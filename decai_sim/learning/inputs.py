"""Whether a model takes what a data set gives, and numbers as tensors to standardise with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset
    from decai_sim.learning.models import Model


def check(model: Model, dataset: Dataset) -> None:
    """Find whether the model looks tokens up, and the data set has tokens.

    Raises:
        ScenarioError: only one of both.
    """
    if model.tokens not in (None, dataset.tokens):
        takes, has = ("tokens", "numbers") if model.tokens else ("numbers", "tokens")
        raise ScenarioError(
            f"task.model: {model.kind!r} is not allowed: it takes {takes}, and the inputs of {dataset.name} are {has}"
        )


def on(device: str, number: float | np.ndarray) -> float | torch.Tensor:
    """A number as it is; an array as a ``float32`` tensor on the device."""
    return number if isinstance(number, float) else torch.as_tensor(number, dtype=torch.float32, device=device)
