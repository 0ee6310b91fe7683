"""FEMNIST."""

from __future__ import annotations

from decai_sim.component import field_of
from decai_sim.learning.models import CNN, Model
from decai_sim.learning.partitions import Natural, Partition
from decai_sim.learning.tasks.hub import Hub


class FEMNIST(Hub, kind="femnist"):
    """Recognise 62 handwritten characters on 28 x 28 grey images, by who wrote them; from the Hugging Face hub.

    Source: Caldas et al., "LEAF: a benchmark for federated settings", arXiv:1812.01097; Cohen et al., "EMNIST: extending MNIST to
    handwritten letters", IJCNN 2017.
    Assumes: the hub can be reached, or has been, or ``path`` is a folder with the data set.
    Deviations: those of ``hub``: every tenth sample of each writer is for testing, instead of a random tenth.

    Example:
        >>> FEMNIST().owner, FEMNIST().partition.kind
        ('writer_id', 'natural')
    """

    dataset: str = "flwrlabs/femnist"
    y: str = "character"
    owner: str | None = "writer_id"
    partition: field_of(Partition) = Natural()  # type: ignore[valid-type]
    model: field_of(Model) = CNN()  # type: ignore[valid-type]
