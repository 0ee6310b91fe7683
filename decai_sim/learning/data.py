"""The data sets that come with the package, read from their published files."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from functools import cache
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
        x_train, x_test: ``(n, *shape)`` inputs as stored: ``uint8`` pixels or ``float32`` features.
        y_train, y_test: ``(n,)`` labels from 0, ``int64``.
        mean, std: what inputs are standardised with, after pixels are scaled to 0…1.
        scale: factor from stored inputs to 0…1.
        class_names: what the labels mean, in their order.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    scale: float
    mean: float
    std: float

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.class_names)


def data_dir() -> Path:
    """The folder with the shipped data sets.

    Raises:
        DecaiError: the package was installed without them.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_data", package.parent / "data"):  # a wheel carries them inside, a checkout beside
        if (folder / "README.md").is_file():
            return folder
    raise DecaiError(f"data: no data folder in or beside {package}: reinstall decai_sim or work in its checkout")


def _idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes (LeCun et al., "The MNIST database", file formats)."""
    import numpy as np

    raw = gzip.decompress(path.read_bytes())
    zero, kind, dims = struct.unpack_from(">HBB", raw)
    if zero != 0 or kind != 8:
        raise DecaiError(f"data: {path} is not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{dims}I", raw, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)


@cache
def fashion_mnist() -> Dataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017; MIT): 60,000 + 10,000 images of 28 x 28 pixels, 10 classes.

    Example:
        >>> fashion_mnist().x_train.shape
        (60000, 28, 28)
    """
    folder = data_dir() / "fashion-mnist"
    images = {part: _idx(folder / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")}
    labels = {part: _idx(folder / f"{part}-labels-idx1-ubyte.gz").astype("int64") for part in ("train", "t10k")}
    # Mean and standard deviation of the training pixels, in units of 255.
    return Dataset(
        "fashion_mnist",
        images["train"],
        labels["train"],
        images["t10k"],
        labels["t10k"],
        class_names=(
            *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
        scale=1 / 255,
        mean=0.2860,
        std=0.3530,
    )


@cache
def digits() -> Dataset:
    """Handwritten digits (Alpaydin & Kaynak 1998, UCI; CC BY 4.0; from scikit-learn): 1,797 images of 8 x 8, 10 classes.

    Every fifth image is kept for testing.

    Example:
        >>> digits().x_train.shape, digits().x_test.shape
        ((1437, 8, 8), (360, 8, 8))
    """
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = bunch.images.astype(np.float32), bunch.target.astype(np.int64)
    test = np.arange(len(y)) % 5 == 0
    names = tuple(map(str, range(10)))
    return Dataset("digits", x[~test], y[~test], x[test], y[test], names, scale=1 / 16, mean=0.305, std=0.376)
