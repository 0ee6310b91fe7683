"""Data sets of the Hugging Face hub, or of a folder in one of its forms, through ``datasets``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decai_sim.errors import ScenarioError
from decai_sim.learning.data.base import Dataset, spread

if TYPE_CHECKING:
    import numpy as np

FORMS = "parquet or CSV files, images in folders by split and class, or what save_to_disk wrote"


@lru_cache(maxsize=4)
def load(
    dataset: str,
    x: str | tuple[str, ...] = "image",
    y: str = "label",
    owner: str | None = None,
    *,
    subset: str | None = None,
    path: Path | None = None,
    train: str = "train",
    test: str = "test",
) -> Dataset:
    """A data set of the hub, read into memory once.

    Images of one size become ``uint8`` pixels ``(height, width)`` or, if coloured, ``(height, width, 3)``; columns of numbers or
    lists become ``float32`` features. Both are standardised with the training set's mean and deviation, colours and features each
    with its own. Where there is no test split, every tenth sample is kept for testing: of each owner, if there are owners.

    Args:
        dataset: its name on the hub, such as ``ylecun/mnist``; with ``path`` only a name.
        x: the column of inputs, or several of numbers.
        y: the column of labels: of the hub's classes, whole numbers or words.
        owner: the column that names the natural client of each sample.
        subset: which configuration of the data set.
        path: a folder to read instead of the hub: parquet or CSV files, images in folders by split and class, or what
            ``save_to_disk`` wrote.
        train: the split to train on.
        test: the split to test on.

    Raises:
        ScenarioError: it cannot be had, or has other columns, inputs or labels.
    """
    parts = _splits(dataset, subset, path)
    if train not in parts:
        raise ScenarioError(f"task.train: {train!r} is not allowed: {dataset!r} has {', '.join(parts)}")
    wanted = {"x": (x,) if isinstance(x, str) else x, "y": (y,), "owner": (owner,) if owner else ()}
    there = parts[train].column_names
    for field, columns in wanted.items():
        for column in columns:
            if column not in there:
                raise ScenarioError(f"task.{field}: {column!r} is not allowed: {dataset!r} has the columns {', '.join(there)}")
    return _assemble(dataset, parts[train], parts.get(test), x, y, owner)


def _splits(dataset: str, subset: str | None, path: Path | None) -> dict[str, Any]:
    from datasets.load import load_dataset, load_from_disk

    field, name = ("dataset", repr(dataset)) if path is None else ("path", repr(str(path)))
    try:
        if path is None:
            return _as_splits(load_dataset(dataset, subset))
        if not path.is_dir():
            raise FileNotFoundError("there is no such folder")
        if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            return _as_splits(load_from_disk(str(path)))
        return _as_splits(load_dataset(str(path.resolve()), subset))
    # Whatever the network, the hub, a file or its reader raises: there is no common base, and the user has one question.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        advice = f"without the hub, give path=, a folder with {FORMS}" if path is None else f"a folder with {FORMS}"
        raise ScenarioError(f"task.{field}: {name} cannot be loaded: {reason}; {advice}") from None


def _as_splits(found: Any) -> dict[str, Any]:
    return {**found} if isinstance(found, dict) else {"train": found}


def _assemble(name: str, train: Any, test: Any, x: str | tuple[str, ...], y: str, owner: str | None) -> Dataset:
    import numpy as np

    inputs, labels, names = _inputs(name, train, x), *_labels(name, train, test, y)
    owners: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    owner_names: tuple[str, ...] = ()
    if owner:
        everybody = [np.asarray(part[owner]) for part in (train, test) if part is not None and owner in part.column_names]
        unique, whose = np.unique(np.concatenate(everybody), return_inverse=True)
        owner_names = tuple(map(str, unique))
        owners = whose[: len(train)], whose[len(train) :] if len(everybody) == 2 else None
    if test is not None:
        x_train, x_test, (y_train, y_test) = inputs, _inputs(name, test, x), labels
    else:
        kept = _every_tenth(len(inputs), owners[0])
        x_train, x_test, y_train, y_test = inputs[~kept], inputs[kept], labels[0][~kept], labels[0][kept]
        if owners[0] is not None:
            owners = owners[0][~kept], owners[0][kept]
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ScenarioError(f"task.x: {x!r} is not allowed: {name!r} has inputs {x_train.shape[1:]} and {x_test.shape[1:]}")
    scale = 1 / 255 if x_train.dtype == np.uint8 else 1.0
    # Of grey images all pixels are alike; colours and features have each its own scale.
    mean, std = spread(x_train, each=x_train.dtype != np.uint8 or x_train.ndim == 4)
    return Dataset(
        name,
        x_train,
        y_train,
        x_test,
        y_test,
        names,
        scale=scale,
        mean=mean * scale,
        std=std * scale,
        owner=owners[0],
        owner_test=owners[1],
        owner_names=owner_names,
    )


def _every_tenth(n: int, owner: np.ndarray | None) -> np.ndarray:
    """``(n,)`` whether a sample is kept for testing: every tenth, the first of them after nine others of the same owner."""
    import numpy as np

    if owner is None:
        owner = np.zeros(n, np.int64)
    order = np.argsort(owner, kind="stable")
    firsts = np.searchsorted(owner[order], owner[order])
    kept = np.empty(n, bool)
    kept[order] = (np.arange(n) - firsts) % 10 == 9
    return kept


def _inputs(name: str, part: Any, x: str | tuple[str, ...]) -> np.ndarray:
    import datasets
    import numpy as np

    if isinstance(x, str) and isinstance(part.features[x], datasets.Image):
        # Grey, coloured or with transparency: what is not grey is read as red, green and blue.
        images = [np.asarray(image if image.mode == "L" else image.convert("RGB")) for image in part[x]]
        shapes = sorted({image.shape for image in images})
        if len(shapes) != 1:
            raise ScenarioError(f"task.x: {x!r} is not allowed: {name!r} has images of different sizes, such as {shapes[:3]}")
        return np.stack(images)
    try:
        columns = [np.asarray(part[column], np.float32) for column in ((x,) if isinstance(x, str) else x)]
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"task.x: {x!r} is not allowed: {name!r} has no images or numbers there: {error}") from None
    features: np.ndarray = (
        np.concatenate([column.reshape(len(part), -1) for column in columns], axis=1) if len(columns) > 1 else columns[0]
    )
    if features.ndim == 1:
        features = features[:, None]
    if not np.isfinite(features).all():
        raise ScenarioError(f"task.x: {x!r} is not allowed: {name!r} has values there that are missing or not finite")
    return features


def _labels(name: str, train: Any, test: Any, y: str) -> tuple[tuple[np.ndarray, ...], tuple[str, ...]]:
    """The labels of the splits, from 0, and what they mean."""
    import datasets
    import numpy as np

    there = [part for part in (train, test) if part is not None]
    feature = train.features[y]
    if isinstance(feature, datasets.ClassLabel):
        labels, names = [np.asarray(part[y], np.int64) for part in there], tuple(feature.names)
    else:
        values = [np.asarray(part[y]) for part in there]
        if any(value.dtype.kind not in "iuUb" or value.ndim != 1 for value in values):
            raise ScenarioError(f"task.y: {y!r} is not allowed: {name!r} has neither classes nor whole numbers nor words there")
        unique, numbers = np.unique(np.concatenate(values), return_inverse=True)
        labels, names = np.split(numbers.astype(np.int64), [len(train)])[: len(there)], tuple(map(str, unique))
    if any((label < 0).any() for label in labels):
        raise ScenarioError(f"task.y: {y!r} is not allowed: {name!r} has samples without a label")
    return tuple(labels), names
