"""Shards of samples sorted by label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.learning.partitions.base import Partition

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner


class Shards(Partition):
    """Samples are sorted by label and cut into equal shards, of which every node gets a few at random.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data" (AISTATS 2017), section 3,
    "pathological non-IID": 200 shards of 300 MNIST digits, two for each of 100 clients;
    ``flwr_datasets.partitioner.ShardPartitioner``.
    Assumes: nodes have equally many samples and differ in their labels.
    Deviations: none. Where samples do not divide evenly into shards, some of them belong to nobody.

    Attributes:
        per_node: shards a node gets. A shard no larger than a class has at most two labels.

    Example:
        >>> import numpy as np
        >>> from decai_sim import Streams
        >>> labels = np.repeat(np.arange(10), 60)
        >>> [sorted(set(labels[part].tolist())) for part in Shards().split(labels, 5, Streams(1))]
        [[6, 8], [2, 5], [0, 1], [4, 7], [3, 9]]
    """

    whole = False
    remedy = "lower per_node, or ask for fewer nodes"

    per_node: int = Field(default=2, ge=1)

    def partitioner(self, n: int, seed: int) -> Partitioner:
        """A ``ShardPartitioner`` on the label column."""
        from flwr_datasets.partitioner import ShardPartitioner

        return ShardPartitioner(num_partitions=n, partition_by="label", num_shards_per_partition=self.per_node, seed=seed)
