"""Momentum of each sender, kept where rows arrive."""

from __future__ import annotations

from collections import Counter
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
        that is not finite leaves its sender's momentum as it was; of several rows of a sender each goes on from the one before.
    Breaks down: where the rule after it does; what an attacker once sent counts on with ``β`` to the power of its rounds since.
    Costs: ``O(nd)``; a row is kept for each sender. It does not average rows of one aggregation, so distances are made anew after
        it.

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
        kept, names = context.kept_by(self.kind), context.who.tolist()
        turns = _turns(names)
        if not any(turns):
            return Stepped(self._averaged(rows, names, kept), None)
        # A sender who is there twice goes on from its own row before, as if the second had come an aggregation later.
        made, order = torch.empty_like(rows), torch.tensor(turns, device=rows.device)
        for turn in range(max(turns) + 1):
            there = order == turn
            made[there] = self._averaged(rows[there], [name for name, its in zip(names, turns, strict=True) if its == turn], kept)
        return Stepped(made, None)

    def _averaged(self, rows: torch.Tensor, names: list[int], kept: dict[str, Any]) -> torch.Tensor:
        """The momentum of senders, no two of the same name, after ``rows``; what is kept moves with it."""
        import torch

        places: dict[int, int] = kept.setdefault("places", {})
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
            return past.lerp_(rows, 1 - self.beta) if not new else self._moved(past, rows, known)
        made = self._moved(past[where], rows, known)
        past[where] = made
        return made

    def _moved(self, past: torch.Tensor, rows: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """``past``, moved towards ``rows`` where it is past; written to."""
        if bool(known.all()):
            return past.lerp_(rows, 1 - self.beta)
        if bool(known.any()):
            past[known] = past[known].lerp_(rows[known], 1 - self.beta)
        return past

    def work(self, n: int, d: int, f: int) -> float:
        return 3.0 * n * d


def _turns(names: list[int]) -> list[int]:
    """How many times each name was there before."""
    seen: Counter[int] = Counter()
    turns = []
    for name in names:
        turns.append(seen[name])
        seen[name] += 1
    return turns
