"""Momentum of each sender, kept where rows arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.defenses.base import Context, Step, Stepped

if TYPE_CHECKING:
    import torch


class Momentum(Step):
    """Each sender's updates averaged over rounds, ``m ← β m + (1 - β) x``: less noise for attackers to hide in.

    Source: Karimireddy, He and Jaggi, "Learning from History for Byzantine Robust Optimization", ICML 2021, Algorithm 2 (worker
        momentum); El Mhamdi, Guerraoui and Rouault, ICLR 2021, Section 3.
    Assumes: senders whose names stay (``context.who``), and a memory of one row for each (``context.memory``).
    Deviations: kept by the aggregator, so that no sender can lie about it. A sender's first row is its momentum, as if it had
        always sent it: started from zeros, newcomers' rows would be ``1/(1 - β)`` times too short beside the others'. A row
        that is not finite leaves its sender's momentum as it was.

    Attributes:
        beta: ``β``, what is kept of the past.

    Example:
        >>> import torch
        >>> about = Context(who=torch.tensor([7]), memory={})
        >>> step = Momentum(beta=0.5)
        >>> step(torch.tensor([[1.0]]), about).tolist(), step(torch.tensor([[5.0]]), about).tolist()
        ([[1.0]], [[3.0]])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"who", "memory"})
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"beta": 0.5})

    beta: float = Field(default=0.9, ge=0, lt=1)

    def __call__(self, updates: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        """As of every step; a copy, which stays as it is."""
        return super().__call__(updates, context).clone()

    def step(self, rows: torch.Tensor, context: Context | None) -> Stepped:
        import torch

        context = self.given(context)
        assert context.who is not None
        kept = context.kept_by(self.kind)
        places: dict[int, int] = kept.setdefault("places", {})
        names = context.who.tolist()
        new = [number for number, name in enumerate(names) if name not in places]
        known = torch.tensor([name in places for name in names], device=rows.device)
        for number in new:
            places[names[number]] = len(places)
        past: torch.Tensor = kept["rows"].to(rows) if "rows" in kept else rows[:0]
        if new:
            past = torch.cat([past, rows if len(new) == len(rows) else rows[~known]])
        kept["rows"] = past
        where = torch.tensor([places[name] for name in names], device=rows.device)
        if torch.equal(where, torch.arange(len(past), device=rows.device)):
            # In place, so that the past and the present of all senders are one matrix, not two.
            return Stepped(past.lerp_(rows, 1 - self.beta) if not new else self._moved(past, rows, known), None)
        made = self._moved(past[where], rows, known)
        past[where] = made
        return Stepped(made, None)

    def _moved(self, past: torch.Tensor, rows: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """``past``, moved towards ``rows`` where it is past; written to."""
        if bool(known.all()):
            return past.lerp_(rows, 1 - self.beta)
        if bool(known.any()):
            past[known] = past[known].lerp_(rows[known], 1 - self.beta)
        return past

    def work(self, n: int, d: int, f: int) -> float:
        return 3.0 * n * d
