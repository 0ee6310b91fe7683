"""Partitions: who holds which samples."""

from decai_sim.learning.partitions.base import Partition
from decai_sim.learning.partitions.dirichlet import Dirichlet
from decai_sim.learning.partitions.iid import IID
from decai_sim.learning.partitions.natural import Natural
from decai_sim.learning.partitions.pathological import Pathological
from decai_sim.learning.partitions.quantity import Quantity
from decai_sim.learning.partitions.shards import Shards

__all__ = ["IID", "Dirichlet", "Natural", "Partition", "Pathological", "Quantity", "Shards"]
