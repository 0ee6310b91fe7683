"""Natural clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from decai_sim.errors import ScenarioError
from decai_sim.learning.partitions.base import Partition

if TYPE_CHECKING:
    import numpy as np
    from flwr_datasets.partitioner import Partitioner

    from decai_sim.learning.data import Dataset
    from decai_sim.seeding import Streams


class Natural(Partition):
    """Every node is a natural client of the data set: a speaking role, a writer, whoever made its samples.

    Source: Caldas et al., "LEAF: a benchmark for federated settings", arXiv:1812.01097;
    ``flwr_datasets.partitioner.NaturalIdPartitioner``.
    Assumes: the data set says whose each sample is: ``shakespeare``, ``femnist``, or ``owner`` of a ``hub`` data set.
    Deviations: none. With fewer nodes than clients, the seed chooses which clients take part, and the samples of the others are
    not used.

    Attributes:
        clients_per_node: natural clients whose samples a node holds together; None: all clients are dealt out to the nodes at
            random, some nodes getting one more than others.

    Raises:
        ScenarioError: there are fewer natural clients than nodes, or none at all.

    Example:
        >>> from decai_sim import Streams
        >>> from decai_sim.learning.data import shakespeare
        >>> data = shakespeare.load()
        >>> [data.owner_names[data.owner[part[0]]] for part in Natural().shares(data, 3, Streams(1))]
        ['henry_v: Lady', 'lear: Oldm', 'merry_wives_of_windsor: An']
    """

    whole = False
    natural = True

    clients_per_node: PositiveInt | None = 1

    def partitioner(self, n: int, seed: int) -> Partitioner:
        """A ``NaturalIdPartitioner`` on the owners."""
        import numpy as np
        from flwr_datasets.partitioner import NaturalIdPartitioner

        class Owners(NaturalIdPartitioner):
            """Finds the owners' samples by sorting, without a progress bar for each of millions of samples."""

            def _create_partition_id_to_indices(self) -> None:
                owners = np.asarray(self.dataset[self._partition_by])
                order = np.argsort(owners, kind="stable")
                names, firsts = np.unique(owners[order], return_index=True)
                parts = np.split(order, firsts[1:])
                self._partition_id_to_indices = {
                    self._natural_id_to_partition_id[name]: part for name, part in zip(names.tolist(), parts, strict=True)
                }

        return Owners(partition_by="label")

    def split(self, labels: np.ndarray, n: int, streams: Streams) -> list[np.ndarray]:
        """Labels do not say whose samples they are of."""
        raise ScenarioError(
            "task.partition: 'natural' is not allowed: the data set does not say whose its samples are; shakespeare, femnist and "
            "hub(owner=...) do"
        )

    def shares(self, dataset: Dataset, n: int, streams: Streams) -> list[np.ndarray]:
        """The samples of each node's clients."""
        import numpy as np

        if dataset.owner is None:
            return self.split(dataset.y_train, n, streams)
        clients = len(np.unique(dataset.owner))
        each = self.clients_per_node
        if n * (each or 1) > clients:
            raise ScenarioError(
                f"nodes: {n} is not allowed: {dataset.name} has {clients} natural clients, and partition 'natural' needs "
                f"{each or 1} for every node: at most {clients // (each or 1)} nodes"
            )
        samples = super().split(dataset.owner, clients, streams)
        chosen = streams.of("partition", "clients").permutation(clients)[: n * each if each else clients]
        if each == 1:
            return [samples[client] for client in np.sort(chosen)]
        return [np.concatenate([samples[client] for client in some]) for some in np.array_split(chosen, n)]
