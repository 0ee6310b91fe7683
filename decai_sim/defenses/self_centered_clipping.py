"""Self-centered clipping: ClippedGossip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Aggregation, Context
from decai_sim.defenses.distances import distances_to
from decai_sim.defenses.norm_clipping import clip_factors
from decai_sim.defenses.peer import PeerRule

if TYPE_CHECKING:
    import torch


class SelfCenteredClipping(PeerRule):
    """Moves towards each neighbour as far as its mixing weight says, but by no more than ``τ``: ``x + Σ w_i clip(x_i - x, τ)``.

    Source: He, Karimireddy and Jaggi, "Byzantine-Robust Decentralized Learning via ClippedGossip", arXiv:2202.01545, Algorithm 1
        and Equation 4; the radius ``τ² = 1/δ · Σ w_i |x_i - x|²`` over honest neighbours, Theorem I.
    Assumes: at most a share ``δ`` of the mixing weight is Byzantine neighbours'; honest nodes stay connected without them.
    Deviations: as nobody knows who is honest, the radius counts the nearest neighbours: the furthest are left out while their
        weights sum to no more than ``δ``. Without ``tau`` and ``delta``, ``δ`` is ``f`` times the largest weight. With ``δ = 0``
        nothing is clipped.
    Breaks down: where Byzantine neighbours have more of the weight than ``δ`` and so set the radius. With ``tau`` not by number:
        each moves the own model by up to ``w_i τ``.
    Costs: ``O(nd)``: one distance to each neighbour, nothing shared.

    ``explain(...).scores`` are the distances to the own model.

    Attributes:
        tau: ``τ``, in units of the models; None: by the rule above.
        delta: ``δ``; None: from ``f``.

    Example:
        >>> import torch
        >>> about = Context(own=torch.tensor([0.0]), weights=torch.tensor([0.25, 0.25]))
        >>> SelfCenteredClipping(tau=2)(torch.tensor([[1.0], [100.0]]), about).tolist()
        [0.75]
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"tau": 1.0}, {"delta": 0.2}, {})

    tau: float | None = Field(default=None, gt=0)
    delta: float | None = Field(default=None, ge=0, le=1)

    def aggregate(self, rows: torch.Tensor, context: Context | None) -> Aggregation:
        own = self.own(rows, context)
        weights = self.mixing_weights(rows, context)
        away = distances_to(rows, own)
        delta = 0.0
        if self.tau is None:
            delta = float(weights.max()) * self.assumed_f(context) if self.delta is None else self.delta
        if self.tau is None and delta == 0:
            return self.leaning(rows, own, weights, away)
        tau = _radius(away, weights, delta) if self.tau is None else self.tau
        return self.leaning(rows, own, weights * clip_factors(away, tau), away)


def _radius(away: torch.Tensor, weights: torch.Tensor, delta: float) -> float:
    furthest = (-away).argsort(stable=True)
    # 1e-9: weights such as 0.1 added up three times are not quite 0.3.
    out = weights[furthest].cumsum(0) <= delta + 1e-9
    near = furthest[~out]
    return float(((weights[near] * away[near].square()).sum() / delta).sqrt())
