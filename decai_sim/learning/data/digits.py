"""The handwritten digits that scikit-learn ships."""

from __future__ import annotations

from functools import cache

from decai_sim.learning.data.base import Dataset


@cache
def load() -> Dataset:
    """Handwritten digits (Alpaydin & Kaynak 1998, UCI; CC BY 4.0; from scikit-learn): 1,797 images of 8 x 8, 10 classes.

    Every fifth image is kept for testing.

    Example:
        >>> load().x_train.shape, load().x_test.shape
        ((1437, 8, 8), (360, 8, 8))
    """
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = bunch.images.astype(np.float32), bunch.target.astype(np.int64)
    test = np.arange(len(y)) % 5 == 0
    names = tuple(map(str, range(10)))
    return Dataset("digits", x[~test], y[~test], x[test], y[test], names, scale=1 / 16, mean=0.305, std=0.376)
