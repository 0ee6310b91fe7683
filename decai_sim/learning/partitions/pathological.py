"""A few classes a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.learning.partitions.base import Partition

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner


class Pathological(Partition):
    """Every node holds samples of exactly so many classes; a class is shared equally by the nodes that hold it.

    Source: Li, Diao, Chen & He, "Federated learning on non-IID data silos: an experimental study" (ICDE 2022), "quantity-based
    label imbalance"; ``flwr_datasets.partitioner.PathologicalPartitioner``.
    Assumes: nodes differ in which labels they see.
    Deviations: none: node ``i`` holds class ``i`` modulo the number of classes, its other classes are drawn at random. With few
    nodes some classes may be held by nobody, and their samples are then not used.

    Attributes:
        classes_per_node: how many classes a node holds.

    Example:
        >>> import numpy as np
        >>> from decai_sim import Streams
        >>> labels = np.repeat(np.arange(10), 60)
        >>> [len(set(labels[part].tolist())) for part in Pathological(classes_per_node=3).split(labels, 5, Streams(1))]
        [3, 3, 3, 3, 3]
    """

    whole = False
    remedy = "lower classes_per_node, or ask for fewer nodes"

    classes_per_node: int = Field(default=2, ge=1)

    def partitioner(self, n: int, seed: int) -> Partitioner:
        """A ``PathologicalPartitioner`` on the label column."""
        from flwr_datasets.partitioner import PathologicalPartitioner

        return PathologicalPartitioner(
            num_partitions=n,
            partition_by="label",
            num_classes_per_partition=self.classes_per_node,
            class_assignment_mode="first-deterministic",
            seed=seed,
        )
