"""SignGuard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import distances_to
from decai_sim.defenses.norm_clipping import clip_factors

if TYPE_CHECKING:
    import torch


class SignGuard(Rule):
    """Averages the updates whose norms are usual and whose shares of positive, zero and negative entries are like most others'.

    Source: Xu, Huang, Song and Lan, "Byzantine-robust Federated Learning through Collaborative Malicious Gradient Filtering",
        ICDCS 2022, Algorithm 2 (norms within ``[low, high]`` times their median; mean shift on sign statistics of coordinates
        drawn at random, the largest cluster; the mean of those in both, clipped to the median norm).
    Assumes: honest rows are a majority and agree in the statistics of their signs; ``f`` is not used.
    Deviations: the plain variant, without similarity to the last aggregate. The bandwidth of mean shift (flat kernel) is the
        mean distance within which a row has half of the others, which the paper leaves open. Where no row is in both, those of
        the cluster are taken.
    Breaks down: where attackers are the largest cluster, with half of the rows or, if honest signs differ, fewer; how many is not
        known. Kept rows are no longer than the median norm.
    Costs: ``O(nd)`` for norms and signs, ``O(n²)`` a step of mean shift, of three numbers a row; no distances of whole rows.

    ``explain(...).scores`` are the norms over their median.

    Attributes:
        low: the least norm let through, in medians.
        high: the greatest.
        share: of the coordinates that are drawn.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 1, 1, -1], [1, 2, 1, -1], [2, 1, 1, -1], [-1, -1, -1, 1], [90, 90, 90, 90]])
        >>> SignGuard(share=1).explain(rows).kept.tolist()
        [True, True, True, False, False]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"share": 1.0})

    low: float = Field(default=0.1, ge=0)
    high: float = Field(default=3.0, gt=0)
    share: float = Field(default=0.1, gt=0, le=1)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        import torch

        d = rows.shape[1]
        norms = distances_to(rows)
        middle = norms.quantile(0.5)
        usual = (norms >= self.low * middle) & (norms <= self.high * middle)
        count = max(1, round(self.share * d))
        drawn = rows
        if count < d:
            generator = (context or Context()).draws()
            drawn = rows[:, torch.randperm(d, generator=generator, device=generator.device)[:count].to(rows.device)]
        alike = _largest_cluster(torch.stack([(drawn.sign() == sign).double().mean(dim=1) for sign in (1, 0, -1)], dim=1))
        kept = usual & alike if bool((usual & alike).any()) else alike
        shares = (clip_factors(norms, float(middle)) * kept / kept.sum()).to(rows.dtype)
        return Aggregation(shares @ rows, shares, kept & (shares != 0), norms / middle.clamp(min=torch.finfo(torch.float64).tiny))

    def work(self, n: int, d: int, f: int) -> float:
        return 4.0 * n * d + 3.0 * n * self.share * d + 30.0 * n * n


def _largest_cluster(points: torch.Tensor) -> torch.Tensor:
    """Who is in the largest cluster of ``points (n, k)``, by mean shift; the one with the lowest index of several."""
    import torch

    n = len(points)
    apart = torch.cdist(points, points)
    # The mean distance to a point's furthest among its nearest half; never 0, lest rounding part equal points.
    width = max(1e-9, float(apart.sort(dim=1).values[:, (n - 1) // 2].mean()))
    modes = points
    for _ in range(300):
        near = (torch.cdist(modes, points) <= width).double()
        before, modes = modes, near @ points / near.sum(dim=1, keepdim=True)
        if (modes - before).abs().max() < 1e-3 * width:
            break
    # Where most points are around a mode is a cluster; modes nearer to it than the width are the same.
    size = (torch.cdist(modes, points) <= width).sum(dim=1)
    centres: list[torch.Tensor] = []
    for mode in modes[size.argsort(descending=True, stable=True)]:
        if all(float((mode - centre).norm()) > width for centre in centres):
            centres.append(mode)
    labels = torch.cdist(points, torch.stack(centres)).argmin(dim=1)
    sizes = torch.bincount(labels)[labels]
    first = int((sizes == sizes.max()).nonzero()[0])
    return labels == labels[first]
