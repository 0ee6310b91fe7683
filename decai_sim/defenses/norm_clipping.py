"""Norm clipping, with noise if wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import distances_to

if TYPE_CHECKING:
    import torch


class NormClipping(Rule):
    """The mean of the updates, those longer than ``τ`` shortened to it, and noise: ``mean x_i·min(1, τ/|x_i|) + N(0, σ²)``.

    Source: Sun, Kairouz, Suresh and McMahan, "Can You Really Backdoor Federated Learning?", arXiv:1911.07963, Section 5
        (norm thresholding; weak differential privacy).
    Assumes: attackers gain by long updates, as in model replacement; ``f`` is not used. Each attacker still moves the result by
        up to ``τ/n``.
    Deviations: without ``tau`` the threshold is the median of the norms, so that it needs no tuning.
    Breaks down: without ``tau`` with half of the rows, who then set the median. With it not by number: each moves the result by
        up to ``τ/n``.
    Costs: ``O(nd)`` for the norms and the mean; no distances.

    ``explain(...).scores`` are the norms. With noise there are no weights.

    Attributes:
        tau: ``τ``, the longest norm let through; None: the median norm of the rows.
        sigma: standard deviation of the noise on each coordinate of the result, in units of the rows.

    Example:
        >>> import torch
        >>> NormClipping(tau=1)(torch.tensor([[1.0, 0], [0, 1], [100, 0]])).tolist()
        [0.6666666865348816, 0.3333333432674408]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"tau": 1.0}, {"sigma": 0.1})

    tau: float | None = Field(default=None, gt=0)
    sigma: float = Field(default=0.0, ge=0)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        norms = distances_to(rows)
        tau = float(norms.quantile(0.5)) if self.tau is None else self.tau
        return clipped_mean(rows, norms, tau, self.sigma, context or Context())

    def work(self, n: int, d: int, f: int) -> float:
        return 4.0 * n * d


def clip_factors(norms: torch.Tensor, tau: float) -> torch.Tensor:
    """By what to multiply rows of such ``norms (n,)`` so that none is longer than ``tau``: ``min(1, τ/|x|)``."""
    import torch

    return torch.where(norms > tau, tau / norms, 1.0)


def clipped_mean(rows: torch.Tensor, norms: torch.Tensor, tau: float, sigma: float, context: Context) -> Aggregation:
    """The mean of rows clipped to ``tau``, and noise of standard deviation ``sigma`` on every coordinate."""
    import torch

    shares = (clip_factors(norms, tau) / len(rows)).to(rows.dtype)
    value = shares @ rows
    kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    if sigma == 0:
        return Aggregation(value, shares, kept, norms)
    generator = context.draws()
    noise = torch.randn(len(value), generator=generator, device=generator.device, dtype=torch.float64)
    return Aggregation(value + (sigma * noise).to(value), None, kept, norms)
