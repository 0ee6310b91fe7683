"""Fashion-MNIST, from its published files."""

from __future__ import annotations

import gzip
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from decai_sim.errors import DecaiError
from decai_sim.learning.data.base import Dataset, data_dir

if TYPE_CHECKING:
    import numpy as np


@cache
def load() -> Dataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017; MIT): 60,000 + 10,000 images of 28 x 28 pixels, 10 classes.

    Example:
        >>> load().x_train.shape
        (60000, 28, 28)
    """
    folder = data_dir() / "fashion-mnist"
    images = {part: read_idx(folder / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")}
    labels = {part: read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype("int64") for part in ("train", "t10k")}
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


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes (LeCun et al., "The MNIST database", file formats).

    Raises:
        DecaiError: it is something else.
    """
    import numpy as np

    raw = gzip.decompress(path.read_bytes())
    zero, kind, dims = struct.unpack_from(">HBB", raw)
    if zero != 0 or kind != 8:
        raise DecaiError(f"data: {path} is not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{dims}I", raw, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)
