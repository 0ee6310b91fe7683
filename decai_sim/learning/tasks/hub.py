"""Data sets of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from decai_sim.learning.data import hub
from decai_sim.learning.tasks.base import Task

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset


class Hub(Task):
    r"""Learn the labels of any data set of images or numbers from the Hugging Face hub, or from a folder of one's own.

    Source: ``datasets`` (Lhoest et al., "Datasets: a community library for natural language processing", EMNLP 2021, demos).
    Assumes: it fits in memory; images have one size.
    Deviations: pixels are scaled to 0…1 and, like numbers, standardised with the training set's mean and deviation, of each
        colour or column. Without a test split, every tenth sample (of each owner) is the test set. A folder is read once.

    Attributes:
        dataset: its name on the hub, such as ``ylecun/mnist``; with ``path`` only what it is called.
        x: the column of inputs (images, lists of numbers), or several columns of numbers.
        y: the column of labels.
        owner: the column that says whose a sample is, for the partition ``natural``.
        subset: which configuration of the data set.
        path: a folder to read instead of the hub: parquet or CSV files, images in folders by split and class, or what
            ``save_to_disk`` wrote.
        train: the split to train on.
        test: the split to test on.

    Raises:
        ScenarioError: on loading, if the hub or the folder does not have such data.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.csv").write_text("a,b,label\n" + "0.5,1,yes\n0.1,2,no\n" * 10)
        >>> data = Hub(dataset="mine", path=folder, x=("a", "b")).load()
        >>> data.x_train.shape, data.x_test.shape, data.class_names
        ((18, 2), (2, 2), ('no', 'yes'))
    """

    examples = ()

    dataset: str
    x: str | tuple[str, ...] = "image"
    y: str = "label"
    owner: str | None = None
    subset: str | None = None
    path: Path | None = None
    train: str = "train"
    test: str = "test"

    def __init__(self, dataset: str | None = None, **fields: Any) -> None:
        super().__init__(**({} if dataset is None else {"dataset": dataset}), **fields)

    def load(self) -> Dataset:
        """What the hub or the folder has."""
        return hub.load(
            self.dataset, self.x, self.y, self.owner, subset=self.subset, path=self.path, train=self.train, test=self.test
        )
