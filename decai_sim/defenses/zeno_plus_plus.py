"""Zeno++."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Context
from decai_sim.defenses.filter import Filter

if TYPE_CHECKING:
    import torch


class ZenoPlusPlus(Filter):
    """Takes an update, brought to the length of the server's own, if the two point in like directions.

    With ``s`` the server's update and ``u = x·|s|/|x|``: taken if ``⟨s, u⟩ - ρ|u|² ≥ -ε|s|²``.

    Source: Xie, Koyejo and Gupta, "Zeno++: Robust Fully Asynchronous SGD", ICML 2020, Algorithm 1 and Definition 2.
    Assumes: a server with some clean data (``context.server``), one update of which it may use for several that arrive. Any
        number of attackers; ``f`` is not used.
    Deviations: updates for gradients, so the learning rate ``γ`` is part of ``ρ``; ``ε`` is in units of ``|s|²``, so that neither
        depends on how long updates are.
    Breaks down: not by number: what is taken is as long as the server's own update, and points in a like direction.
    Costs: ``O(d)`` an update, and a training on the server's own samples for each that arrives.

    Attributes:
        rho: ``ρ``, what an update must gain for its length.
        epsilon: ``ε``, how much worse than that is still taken.

    Example:
        >>> import torch
        >>> about = Context(server=torch.tensor([3.0, 4.0]))
        >>> ZenoPlusPlus().accept(torch.tensor([0.0, 10.0]), about), ZenoPlusPlus().accept(torch.tensor([-1.0, 0.0]), about)
        (0.5, 0.0)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"server"})
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"rho": 0.1, "epsilon": 0.2})

    rho: float = Field(default=0.001, ge=0)
    epsilon: float = Field(default=0.0, ge=0)

    def weigh(self, update: torch.Tensor, context: Context) -> float:
        assert context.server is not None
        server = context.server.to(update.device).double()
        exact = update.double()
        length, norm = float(server.norm()), float(exact.norm())
        if length == 0 or norm == 0:
            return 0.0
        alike = float(server @ exact) / (length * norm)
        return length / norm if alike - self.rho >= -self.epsilon else 0.0

    def work(self, n: int, d: int, f: int) -> float:
        return 8.0 * n * d
