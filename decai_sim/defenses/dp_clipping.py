"""The differentially private mean, taken as a defense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context, Rule
from decai_sim.defenses.distances import distances_to
from decai_sim.defenses.norm_clipping import clipped_mean

if TYPE_CHECKING:
    import torch


class DPClipping(Rule, kind="dp_clipping"):
    """The mean of updates clipped to ``S``, with noise in proportion: ``mean x_i·min(1, S/|x_i|) + N(0, (zS/n)²)``.

    What hides each participant also bounds what each attacker can do.

    Source: McMahan, Ramage, Talwar and Zhang, "Learning Differentially Private Recurrent Language Models", ICLR 2018,
        Algorithm 1 (DP-FedAvg, flat clipping, ``z`` the noise multiplier).
    Assumes: an honest server that adds the noise; ``f`` is not used.
    Deviations: all rows weigh the same, and the mean is over the rows that arrived, not over how many were expected, so the
        paper's privacy accounting holds for rounds of fixed size alone. How much privacy is spent is not computed.
    Breaks down: not by number: each attacker moves the result by up to ``S/n``, besides the noise.
    Costs: ``O(nd)``; no distances.

    ``explain(...).scores`` are the norms.

    Attributes:
        clip: ``S``, the longest norm let through, in units of the rows.
        noise_multiplier: ``z``.

    Example:
        >>> import torch
        >>> DPClipping(clip=1, noise_multiplier=0)(torch.tensor([[1.0, 0], [0, 1], [100, 0]])).tolist()
        [0.6666666865348816, 0.3333333432674408]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"clip": 0.5, "noise_multiplier": 0})

    clip: float = Field(default=1.0, gt=0)
    noise_multiplier: float = Field(default=1.0, ge=0)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        sigma = self.noise_multiplier * self.clip / len(rows)
        return clipped_mean(rows, distances_to(rows), self.clip, sigma, context or Context())

    def work(self, n: int, d: int, f: int) -> float:
        return 4.0 * n * d
