"""Partitions: who holds which samples. The splitting itself is done by ``flwr-datasets``."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.component import Component
from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import numpy as np
    from flwr_datasets.partitioner import Partitioner

    from decai_sim.learning.data import Dataset
    from decai_sim.seeding import Streams


class Partition(Component, family="partitions"):
    """Base of partitions."""

    whole: ClassVar[bool] = True
    """Whether every sample belongs to somebody. If not, some may belong to nobody; in no case any to two nodes."""
    natural: ClassVar[bool] = False
    """Whether a node's samples are those of natural clients of the data set."""
    remedy: ClassVar[str] = "ask for fewer nodes"
    """What to change where no split is found."""

    def partitioner(self, n: int, seed: int) -> Partitioner:
        """The ``flwr-datasets`` partitioner for ``n`` nodes; the labels are its data set's column ``label``."""
        raise NotImplementedError

    def split(self, labels: np.ndarray, n: int, streams: Streams) -> list[np.ndarray]:
        """Sample indices of each of ``n`` nodes; every sample belongs to exactly one (at most one, if not :attr:`whole`).

        Args:
            labels: ``(samples,)`` integer labels.
            n: number of nodes.
            streams: the run's streams.

        Raises:
            ScenarioError: no such split exists.
        """
        return _split(self, labels.astype("int64").tobytes(), n, streams.integer("partition"))

    def shares(self, dataset: Dataset, n: int, streams: Streams) -> list[np.ndarray]:
        """:meth:`split` of the training samples of a data set, for partitions that look at more than labels.

        Args:
            dataset: whose samples.
            n: number of nodes.
            streams: the run's streams.

        Raises:
            ScenarioError: no such split exists.
        """
        return self.split(dataset.y_train, n, streams)


def enough(samples: int, n: int) -> None:
    """Find whether ``n`` nodes may share so many samples.

    Raises:
        ScenarioError: there are more nodes than samples.
    """
    if n > samples:
        raise ScenarioError(f"nodes: {n} is not allowed: the data set has {samples} samples to split")


def deal(partitioner: Partitioner, labels: np.ndarray, n: int) -> list[np.ndarray]:
    """Sample indices of each of ``n`` nodes, as a ``flwr-datasets`` partitioner splits by ``labels``.

    Raises:
        ScenarioError: there are fewer samples than nodes.
        ValueError: the partitioner finds no split.
    """
    import numpy as np
    from datasets.arrow_dataset import Dataset

    class Labels(Dataset):
        """Labels whose selections are the selected rows' numbers: all a partitioner reads, without a data set per node."""

        def __getitem__(self, key: str) -> np.ndarray:  # type: ignore[override]
            column: np.ndarray = self.data.column(key).to_numpy()  # type: ignore[no-untyped-call]
            return column

        def select(self, indices: Any, *arguments: Any, **options: Any) -> np.ndarray:
            return self["row"][np.asarray(list(indices), dtype=np.int64)]

        def sort(self, column_names: Any, *arguments: Any, **options: Any) -> Labels:
            table = self.data.table.take(np.argsort(self[column_names], kind="stable"))
            return Labels(Dataset(table).data)

    enough(len(labels), n)
    partitioner.dataset = Labels(Dataset.from_dict({"label": labels, "row": np.arange(len(labels))}).data)
    with warnings.catch_warnings():  # drawing again is no news to the user; giving up is, and is said by whoever asked
        warnings.filterwarnings("ignore", "The specified min_partition_size", UserWarning)
        warnings.filterwarnings("ignore", "Classes: .* will NOT be used", UserWarning)
        return [np.asarray(partitioner.load_partition(i)) for i in range(n)]


@lru_cache(maxsize=16)
def _split(partition: Partition, labels: bytes, n: int, seed: int) -> list[np.ndarray]:
    import numpy as np

    y = np.frombuffer(labels, np.int64)
    try:
        return deal(partition.partitioner(n, seed % 2**32), y, n)
    except ScenarioError:
        raise
    except (ValueError, ZeroDivisionError):  # the latter if not one sample is left for each shard
        raise ScenarioError(
            f"task.partition: {partition.to_config()} is not allowed: found no split of {len(y)} samples over {n} nodes that "
            f"gives every node enough; {partition.remedy}"
        ) from None
