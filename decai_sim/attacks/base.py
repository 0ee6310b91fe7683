"""The attack family: who lies, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.component import Component

if TYPE_CHECKING:
    import torch


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
    """

    own: torch.Tensor | None = None
    omniscient: bool = False
    n: int | None = None
    f: int | None = None


class Attack(Component, family="attacks"):
    """Base of all attacks.

    Attributes:
        fraction: share of identities under the attacker's control; ⌊fraction·nodes⌋ are drawn once from stream ``attack``.
    """

    fraction: float = Field(default=0.2, ge=0, lt=1, title="attackers' share")


class UpdateAttack(Attack, abstract=True):
    """An attack on what is sent: replaces the attackers' updates ``w_local − w_global``.

    Attributes:
        omniscient: in a run, sees all honest updates of the round before they are sent (the non-causal mode of the literature);
            otherwise only those of senders who had finished when the attacker sent.
    """

    omniscient: bool = False

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
