"""Data that somebody brings along: arrays, tensors, or PyTorch data sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from decai_sim.errors import ScenarioError
from decai_sim.learning.data.base import Dataset, spread

if TYPE_CHECKING:
    import numpy as np

WANTED = "(x_train, y_train, x_test, y_test) as arrays or tensors, or two torch Datasets of (x, y)"


def load(given: Any) -> Dataset:
    """The data set of four arrays, or of two PyTorch data sets (training, test), which are read once, into memory.

    Inputs of a floating type are used as they are, as ``float32``; ``uint8`` are pixels, which are scaled to 0…1 and standardised
    with the training set's mean and deviation; other whole numbers are tokens, which reach the model as ``int64``. Labels count
    from 0, and there are as many classes as the largest label says.

    Args:
        given: the four arrays or tensors, the two data sets, or a ready :class:`~decai_sim.learning.data.Dataset`.

    Raises:
        ScenarioError: it is something else, or inputs and labels do not fit together.

    Example:
        >>> import numpy as np
        >>> x, y = np.zeros((6, 3), np.float32), np.array([0, 1, 2, 0, 1, 2])
        >>> load((x, y, x[:3], y[:3])).classes
        3
    """
    if isinstance(given, Dataset):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        given = [*_read(given[0]), *_read(given[1])]
    if not isinstance(given, tuple | list) or len(given) != 4:
        raise ScenarioError(f"task.dataset: {type(given).__name__} is not allowed: give {WANTED}")
    x_train, y_train, x_test, y_test = map(_array, given)
    for x, y, part in ((x_train, y_train, "training"), (x_test, y_test, "test")):
        if not len(x) or y.shape != (len(x),):
            raise ScenarioError(
                f"task.dataset: {len(x)} {part} inputs with labels of shape {y.shape} are not allowed: one label each"
            )
        if y.dtype.kind not in "iu" or y.min() < 0:
            raise ScenarioError(f"task.dataset: {part} labels of type {y.dtype} are not allowed: whole numbers from 0")
        if x.dtype.kind not in "fiu" or (x.dtype.kind == "f" and not _finite(x)):
            raise ScenarioError(f"task.dataset: {part} inputs of type {x.dtype} are not allowed: finite numbers")
        if x.shape[1:] != x_train.shape[1:] or x.dtype.kind != x_train.dtype.kind:
            raise ScenarioError(
                f"task.dataset: {part} inputs of shape {x.shape} are not allowed: like {x_train.shape} of training"
            )
    names = tuple(map(str, range(int(max(y_train.max(), y_test.max())) + 1)))
    labels = y_train.astype("int64"), y_test.astype("int64")
    if x_train.dtype.kind == "f":
        x_train, x_test = x_train.astype("float32"), x_test.astype("float32")
        return Dataset("custom", x_train, labels[0], x_test, labels[1], names)
    if x_train.dtype == "uint8" and x_test.dtype == "uint8":
        mean, std = spread(x_train, each=False)
        return Dataset("custom", x_train, labels[0], x_test, labels[1], names, scale=1 / 255, mean=mean / 255, std=std / 255)
    return Dataset("custom", x_train.astype("int64"), labels[0], x_test.astype("int64"), labels[1], names, tokens=True)


def content(dataset: Dataset) -> Iterator[bytes]:
    """All that makes a data set what it is, for a digest."""
    import numpy as np

    arrays = [dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test, dataset.mean, dataset.std, dataset.scale]
    arrays += [part for part in (dataset.owner, dataset.owner_test) if part is not None]
    arrays += [values for name in sorted(dataset.groups) for values in dataset.groups[name]]
    yield repr((dataset.name, dataset.class_names, dataset.tokens, dataset.owner_names, sorted(dataset.groups))).encode()
    for array in map(np.asarray, arrays):
        plain = np.ascontiguousarray(array if array.dtype.kind != "O" else array.astype(str))
        yield repr((plain.dtype.str, plain.shape)).encode()
        yield plain.tobytes()


def _read(part: Any) -> tuple[Any, Any]:
    """Inputs and labels of a PyTorch data set."""
    import numpy as np

    if not hasattr(part, "__getitem__") or not hasattr(part, "__len__"):
        raise ScenarioError(f"task.dataset: {type(part).__name__} is not allowed: give {WANTED}")
    pairs = [part[i] for i in range(len(part))]
    try:
        return np.stack([_array(x) for x, _ in pairs]), np.array([int(y) for _, y in pairs])
    except (TypeError, ValueError) as error:
        raise ScenarioError(
            f"task.dataset: {type(part).__name__} is not allowed: its samples are not all (x, y): {error}"
        ) from None


def _array(values: Any) -> np.ndarray:
    import numpy as np

    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    return array.copy() if isinstance(values, np.ndarray) else array  # what its owner does with it later is no business of ours


def _finite(x: np.ndarray) -> bool:
    import numpy as np

    return bool(np.isfinite(x).all())
