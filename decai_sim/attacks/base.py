"""The attack family: who lies, when, knowing what, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from decai_sim.component import Component, field_of

if TYPE_CHECKING:
    import torch

Sight = Literal["all", "neighbourhood", "itself"]
"""Whose updates attackers may see: everybody's, those of nodes linked to them, or their own alone."""


@dataclass(frozen=True)
class View:
    """What the attackers of one round may use beside the honest rows they are shown.

    Attributes:
        own: ``(b, d)``, the updates the attackers would have sent if they were honest; None if they did not train. In a run, in
            the order they were finished, up to whoever is sending: the rows returned for those before it are not used.
        omniscient: the honest rows are *all* of the round's, seen before they were sent: the non-causal mode of the
            literature. Otherwise they are of the same model version and finished before the attacker sent.
        n: how many rows the round may have, the attackers' included, if they know; None: those shown and their own. In a run,
            how many nodes were sent this model version: some may never reply.
        f: how many of them are attackers, if they know; None: as many as are asked for.
        previous: ``(d,)`` by how much the model that they were sent differs from the one before, which whoever got both knows;
            None: there was none, or nobody got both.
        past: ``(b, d)`` what each would have sent, if honest, when it was first at work; None: it never was before.
        rule: from all rows ``(n, d)`` of the round to what the server makes of them ``(d,)``, if they know how it aggregates.
        round: which round it is, from 1; None when called alone.
    """

    own: torch.Tensor | None = None
    omniscient: bool = False
    n: int | None = None
    f: int | None = None
    previous: torch.Tensor | None = None
    past: torch.Tensor | None = None
    rule: Callable[[torch.Tensor], torch.Tensor] | None = None
    round: int | None = None


class Attack(Component, family="attacks"):
    """Base of all attacks: who attacks, and when.

    Attributes:
        fraction: share of identities under the attacker's control; ⌊fraction·nodes⌋ are chosen once, draws are from stream
            ``attack``.
        by: how they are chosen: at random, most links first, most shortest paths through it first, or at the ends of the links
            across the network's narrowest balanced cut.
        region: chosen at random among the nodes of this region instead; None: among all.
        nodes: who they are, by number, instead of a share; None: a share.
        from_round: the first round in which they attack; until then they are honest (sleepers).
        until_round: the last one; None: to the end.
        every: they attack in every so manieth round from ``from_round`` on, and are honest between (intermittent).
    """

    fraction: float = Field(default=0.2, ge=0, lt=1, title="attackers' share")
    by: Literal["random", "degree", "betweenness", "cut"] = "random"
    region: str | None = None
    nodes: tuple[int, ...] | None = Field(default=None, min_length=1)
    from_round: int = Field(default=1, ge=1)
    until_round: int | None = Field(default=None, ge=1)
    every: int = Field(default=1, ge=1)

    def active(self, server_round: int) -> bool:
        """Whether they attack in a round, counted from 1.

        Example:
            >>> from decai_sim.attacks import SignFlip
            >>> [SignFlip(from_round=3, every=2).active(number) for number in (1, 3, 4, 5)]
            [False, True, False, True]
        """
        began = server_round >= self.from_round and (self.until_round is None or server_round <= self.until_round)
        return began and (server_round - self.from_round) % self.every == 0


class DataAttack(Attack, abstract=True):
    """An attack on what is learned from: changes the attackers' own training data before they train honestly."""

    def check(self, classes: int) -> None:
        """Find out before a run whether the attack suits a task with so many ``classes``.

        Raises:
            ScenarioError: it does not.
        """

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Change one attacker's samples.

        Args:
            x: ``(n, ...)`` inputs.
            y: ``(n,)`` integer labels, from 0.
            generator: the only source of randomness.

        Returns:
            The samples to train on, same length; the arguments are left untouched.
        """
        raise NotImplementedError


class UpdateAttack(Attack, abstract=True):
    """An attack on what is sent: replaces the attackers' updates ``w_local − w_global``.

    Attributes:
        omniscient: in a run, sees all honest updates of the round before they are sent (the non-causal mode of the literature);
            otherwise only those of senders who had finished when the attacker sent.
        sees: whose updates, as far as they are there by then: ``all``; ``neighbourhood``, those of honest nodes that the
            topology links to one of the attackers who act together; ``itself``, none.
        collude: whether attackers act as one and know each other's updates; otherwise each is alone.
        data: what they do to their own training data before they train and send; None: nothing.
    """

    omniscient: bool = False
    sees: Sight = "all"
    collude: bool = True
    data: field_of(DataAttack) | None = None  # type: ignore[valid-type]

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        """Craft the attackers' rows.

        Args:
            honest: ``(h, d)`` honest updates the attackers can see; ``h`` may be 0 when ``view.own`` is given.
            n_byzantine: how many rows to return, ``b``.
            generator: the only source of randomness.
            view: what else they know; None when called alone.

        Returns:
            ``(b, d)`` updates, in the dtype and on the device of ``honest``.
        """
        raise NotImplementedError

    def _own(self, n_byzantine: int, view: View | None) -> torch.Tensor | None:
        own = view.own if view is not None else None
        if own is not None and len(own) != n_byzantine:
            raise ValueError(f"view.own: {len(own)} rows are not allowed for {n_byzantine} attackers: give one row each")
        return own
