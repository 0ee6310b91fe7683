"""Clipping by past norms, then clustering by direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import cosines, distances_to
from decai_sim.defenses.norm_clipping import clip_factors

if TYPE_CHECKING:
    import torch


class ClippedClustering(Rule):
    """Splits the updates in two by direction and averages the larger half, rows clipped to the median of all norms so far.

    Source: Li, Ngai and Voigt, "Byzantine-Robust Aggregation in Federated Learning Empowered Industrial IoT", IEEE Transactions
        on Industrial Informatics 2023, Algorithm 1 (clipping by the median of historical norms; agglomerative clustering, average
        linkage, cosine distance, two clusters).
    Assumes: honest rows are a majority and point in like directions; ``f`` is not used.
    Deviations: norms of earlier rounds are known only with ``context.memory``. Of two halves as large, the one with the lowest
        index.
    Breaks down: where attackers are the larger half by themselves: with ``n/2`` rows, which then also set the median norm. Those
        in the half with honest rows move the mean of ``k`` by up to the median norm over ``k`` each.
    Costs: the Gram matrix, ``O(n²d)``, which one aggregation makes once for all its steps; ``O(n²)`` to cluster; all norms so far
        are kept.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 2, 3], [-1, 4, -1], [2, 2, 3], [3, 1, 3]])
        >>> [round(x, 4) for x in ClippedClustering()(rows).tolist()]
        [1.9596, 1.6532, 2.9596]
    """

    distances: ClassVar[bool] = True

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        context = context or Context()
        norms = distances_to(rows)
        memory = context.kept_by(self.kind)
        memory["norms"] = torch.cat([memory["norms"], norms]) if "norms" in memory else norms
        kept = _larger_half(1 - cosines(rows, context))
        factors = clip_factors(norms, float(memory["norms"].quantile(0.5)))
        shares = (factors * kept / kept.sum()).to(rows.dtype)
        return Aggregation(shares @ rows, shares, kept & (shares != 0) if bool(shares.any()) else kept)

    def work(self, n: int, d: int, f: int) -> float:
        return 6.0 * n * d + 4.0 * n * n


def _larger_half(apart: torch.Tensor) -> torch.Tensor:
    """Who is in the larger of two clusters by average linkage, from distances ``(n, n)``."""
    import torch
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(apart)
    if n == 1:
        return torch.ones(1, dtype=torch.bool, device=apart.device)
    condensed = squareform(((apart + apart.T) / 2).fill_diagonal_(0).clamp(min=0).cpu().numpy(), checks=False)
    labels = torch.from_numpy(fcluster(linkage(condensed, method="average"), t=2, criterion="maxclust").astype("int64"))
    sizes = torch.bincount(labels)[labels]
    first = int((sizes == sizes.max()).nonzero()[0])
    return (labels == labels[first]).to(apart.device)
