"""Partitions: who holds which samples. The splitting itself is done by ``flwr-datasets``."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import Field

from decai_sim.component import Component
from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import numpy as np
    from flwr_datasets.partitioner import Partitioner

    from decai_sim.seeding import Streams


class Partition(Component, family="partitions"):
    """Base of partitions."""

    def partitioner(self, n: int, seed: int) -> Partitioner:
        """The ``flwr-datasets`` partitioner for ``n`` nodes."""
        raise NotImplementedError

    def split(self, labels: np.ndarray, n: int, streams: Streams) -> list[np.ndarray]:
        """Sample indices of each of ``n`` nodes; every sample belongs to exactly one.

        Args:
            labels: ``(samples,)`` integer labels.
            n: number of nodes.
            streams: the run's streams.

        Raises:
            ScenarioError: no such split exists.
        """
        return _split(self, labels.astype("int64").tobytes(), n, streams.integer("partition"))


@lru_cache(maxsize=16)
def _split(partition: Partition, labels: bytes, n: int, seed: int) -> list[np.ndarray]:
    import numpy as np
    from datasets.arrow_dataset import Dataset

    class Labels(Dataset):
        """Labels whose selections are the selected indices: all a partitioner reads, without a data set per node."""

        def __getitem__(self, key: str) -> np.ndarray:  # type: ignore[override]
            column: np.ndarray = self.data.column(key).to_numpy()  # type: ignore[no-untyped-call]
            return column

        def select(self, indices: Any, *arguments: Any, **options: Any) -> np.ndarray:
            return np.asarray(list(indices), dtype=np.int64)

    y = np.frombuffer(labels, np.int64)
    if n > len(y):
        raise ScenarioError(f"nodes: {n} is not allowed: the data set has {len(y)} samples to split")
    partitioner = partition.partitioner(n, seed % 2**32)
    partitioner.dataset = Labels(Dataset.from_dict({"label": y}).data)
    try:
        with warnings.catch_warnings():  # drawing again is no news to the user; giving up is, and is said below
            warnings.filterwarnings("ignore", "The specified min_partition_size", UserWarning)
            parts: list[np.ndarray] = [np.asarray(partitioner.load_partition(i)) for i in range(n)]
    except ValueError as error:
        if "max number of attempts" not in str(error):
            raise
        raise ScenarioError(
            f"task.partition: {partition.to_config()} is not allowed: found no split of {len(y)} samples over {n} nodes that "
            "gives every node enough; lower min_samples (0 allows empty nodes) or raise alpha"
        ) from None
    return parts


class IID(Partition, kind="iid"):
    """Every node gets an equal share drawn at random.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data" (AISTATS 2017), section 3;
    ``flwr_datasets.partitioner.IidPartitioner``.
    Assumes: nothing distinguishes the nodes.
    Deviations: the samples are shuffled first, since data sets may be stored in order.

    Example:
        >>> IID().to_config()
        {'kind': 'iid'}
    """

    def partitioner(self, n: int, seed: int) -> Partitioner:
        """An ``IidPartitioner``."""
        from flwr_datasets.partitioner import IidPartitioner

        return IidPartitioner(num_partitions=n)

    def split(self, labels: np.ndarray, n: int, streams: Streams) -> list[np.ndarray]:
        """Equal shares of a random order."""
        order = streams.of("partition", "shuffle").permutation(len(labels))
        return [order[part] for part in super().split(labels, n, streams)]


class Dirichlet(Partition):
    """Each label's samples are shared out by a Dirichlet draw: the smaller ``alpha``, the fewer labels a node sees.

    Source: Yurochkin et al., "Bayesian nonparametric federated learning of neural networks" (ICML 2019), section 4;
    Hsu, Qi & Brown, arXiv:1909.06335; ``flwr_datasets.partitioner.DirichletPartitioner``.
    Assumes: nodes differ in their label mix and in how much they have, not in what a label looks like.
    Deviations: no self-balancing; ``min_samples`` defaults to 1 (the library's 10 has no solution for 60 samples a node).

    Attributes:
        alpha: concentration; 0.1 is extreme, 0.3 strong, 100 nearly iid.
        min_samples: the fewest samples a node may get; 0 allows empty nodes.

    Example:
        >>> Dirichlet(alpha=0.3).min_samples
        1
    """

    alpha: float = Field(default=0.3, gt=0)
    min_samples: int = Field(default=1, ge=0)

    def partitioner(self, n: int, seed: int) -> Partitioner:
        """A ``DirichletPartitioner`` on the label column."""
        from flwr_datasets.partitioner import DirichletPartitioner

        return DirichletPartitioner(
            num_partitions=n,
            partition_by="label",
            alpha=self.alpha,
            min_partition_size=self.min_samples,
            self_balancing=False,
            seed=seed,
        )
