"""Quantity skew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.learning.partitions.base import Partition, deal, enough

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Streams


class Quantity(Partition):
    """Nodes differ in how many samples they have, by a Dirichlet draw, and in nothing else.

    Source: Li, Diao, Chen & He, "Federated learning on non-IID data silos: an experimental study" (ICDE 2022), "quantity skew":
    shares ``q ~ Dir(alpha)`` of shuffled samples; ``flwr_datasets.partitioner.SizePartitioner``.
    Assumes: what a node has is a random part of the whole.
    Deviations: every node first gets ``min_samples``, and the rest is shared out, instead of drawing until nobody has fewer.

    Attributes:
        alpha: concentration; 0.5 is strong, 100 nearly equal.
        min_samples: the fewest samples a node gets.

    Example:
        >>> import numpy as np
        >>> from decai_sim import Streams
        >>> [len(part) for part in Quantity(alpha=0.5).split(np.zeros(1000), 5, Streams(1))]
        [107, 70, 7, 82, 734]
    """

    alpha: float = Field(default=0.5, gt=0)
    min_samples: int = Field(default=1, ge=1)

    def split(self, labels: np.ndarray, n: int, streams: Streams) -> list[np.ndarray]:
        """Shares of a random order, of random sizes."""
        from flwr_datasets.partitioner import SizePartitioner

        rest = len(labels) - n * self.min_samples
        enough(len(labels), n)
        if rest < 0:
            raise ScenarioError(
                f"task.partition.min_samples: {self.min_samples} is not allowed: {len(labels)} samples for {n} nodes are "
                f"at most {len(labels) // n} each"
            )
        rng = streams.of("partition", "sizes")
        sizes = [self.min_samples + part for part in _whole(rng.dirichlet([self.alpha] * n) * rest)]
        order = streams.of("partition", "shuffle").permutation(len(labels))
        return [order[part] for part in deal(SizePartitioner(sizes), labels, n)]


def _whole(parts: np.ndarray) -> list[int]:
    """Whole numbers with the same sum, each at most 1 from its part: those with the largest fractions are rounded up."""
    import numpy as np

    sizes = np.floor(parts).astype(np.int64)
    missing = round(float(parts.sum())) - int(sizes.sum())
    sizes[np.argsort(sizes - parts, kind="stable")[:missing]] += 1
    return [int(size) for size in sizes]
