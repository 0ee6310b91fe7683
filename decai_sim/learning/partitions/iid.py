"""Equal shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.learning.partitions.base import Partition

if TYPE_CHECKING:
    import numpy as np
    from flwr_datasets.partitioner import Partitioner

    from decai_sim.seeding import Streams


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
