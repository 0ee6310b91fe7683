"""What every data set is, and where those that come with the package lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from decai_sim.errors import DecaiError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled data set in memory.

    Attributes:
        name: its name.
        x_train, x_test: ``(n, *shape)`` inputs as stored: ``uint8`` pixels, ``float32`` features, or numbers of tokens.
        y_train, y_test: ``(n,)`` labels from 0, ``int64``.
        class_names: what the labels mean, in their order.
        scale: factor from stored inputs to the units of ``mean`` and ``std``: 1/255 for pixels.
        mean, std: what inputs are standardised with; one number, or an array that broadcasts to the shape of an input.
        tokens: whether inputs are numbers of tokens (of words, say), which are looked up and never standardised.
        owner, owner_test: ``(n,)`` to which natural client each sample belongs, from 0; None: nobody knows.
        owner_names: what these clients are called.
        groups: values ``(n,)`` of the training and of the test samples beside the inputs, by name: sex, race, …
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    scale: float = 1.0
    mean: float | np.ndarray = 0.0
    std: float | np.ndarray = 1.0
    tokens: bool = False
    owner: np.ndarray | None = None
    owner_test: np.ndarray | None = None
    owner_names: tuple[str, ...] = ()
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.x_train.shape[1:]


def data_dir() -> Path:
    """The folder with the shipped data sets.

    Raises:
        DecaiError: the package was installed without them.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_data", package.parent / "data"):  # a wheel carries them inside, a checkout beside
        if (folder / "README.md").is_file():
            return folder
    raise DecaiError(f"data: no data folder in or beside {package}: reinstall decai_sim or work in its checkout")


def spread(x: np.ndarray, *, each: bool) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Mean and standard deviation of inputs ``(n, …, features)``; 1 where nothing varies.

    Args:
        x: the inputs, in the units that they are standardised in.
        each: for each feature (or colour) on its own, instead of one number for all.
    """
    import numpy as np

    axes = tuple(range(x.ndim - 1)) if each else None
    mean, std = x.mean(axis=axes, dtype=np.float64), x.std(axis=axes, dtype=np.float64)
    if each:
        return mean, np.where(std > 0, std, 1.0)
    return float(mean), float(std) or 1.0
