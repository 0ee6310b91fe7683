"""Label skew by Dirichlet draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.learning.partitions.base import Partition

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner


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

    remedy = "lower min_samples (0 allows empty nodes) or raise alpha"

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
