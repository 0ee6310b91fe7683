"""The attack family: who lies, when, knowing what, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from decai_sim.component import Component, field_of, whole_share
from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.data import Dataset

Timing = Literal["honest", "withhold", "rush", "hold"]
"""When attackers send: as honest nodes do, never, at once, or later."""

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

    @property
    def on_data(self) -> DataAttack | None:
        """What is done to the attackers' own training data, with the times at which it is; None: nothing."""
        return None

    def check(self, dataset: Dataset) -> None:
        """Find out before a run whether what is done to training data suits these data.

        Raises:
            ScenarioError: it does not; the line begins with the field, ``attack.`` and its name.
        """
        if self.on_data is not None:
            try:
                self.on_data.check(dataset)
            except ScenarioError as error:
                raise ScenarioError(str(error).replace("attack.", "attack.data.", 1)) from None


class DataAttack(Attack, abstract=True):
    """An attack on what is learned from: changes the attackers' own training data before they train honestly.

    Samples come as the data set stores them: ``uint8`` pixels, numbers, or numbers of tokens. In rounds in which the attack is
    not :meth:`active`, its nodes train on what they had.
    """

    images: ClassVar[bool] = False
    """Whether samples must be images, ``(height, width)`` or with colours."""
    numbers: ClassVar[bool] = False
    """Whether samples must be numbers, that is, not tokens."""

    @property
    def on_data(self) -> DataAttack:
        """Itself."""
        return self

    def check(self, dataset: Dataset) -> None:
        """Find out before a run whether the attack suits these data.

        Raises:
            ScenarioError: it does not; the line begins with the field, ``attack.`` and its name.
        """
        if (self.images or self.numbers) and dataset.tokens:
            takes = "images" if self.images else "numbers"
            raise ScenarioError(
                f"attack.kind: {self.kind!r} is not allowed: it changes {takes}, and the inputs of {dataset.name} are tokens"
            )
        if self.images and len(dataset.shape) not in (2, 3):
            raise ScenarioError(
                f"attack.kind: {self.kind!r} is not allowed: it changes images, and the inputs of {dataset.name} have the shape "
                f"{tuple(dataset.shape)}"
            )

    def part(self, number: int) -> DataAttack:
        """What the attacker of this number, from 0, carries out, where attackers share the work; otherwise the whole."""
        return self

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

    def goal(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """What the attackers want of the model, if that is more than that it be bad.

        The attack's success rate is the share of the test samples that count which are classified as wanted.

        Args:
            x: ``(n, ...)`` inputs of test samples, as stored.
            y: ``(n,)`` their labels.

        Returns:
            Inputs ``(n, ...)`` with what the attackers put on them, the labels ``(n,)`` they want for them, and which samples
            ``(n,)`` count, as bool; None: they want nothing in particular.
        """
        return None

    def _class(self, field: str, label: int, dataset: Dataset) -> None:
        """Refuse a class that the data set does not have."""
        if label >= dataset.classes:
            raise ScenarioError(
                f"attack.{field}: {label} is not allowed: the classes of {dataset.name} are 0 to {dataset.classes - 1}"
            )


class UpdateAttack(Attack, abstract=True):
    """An attack on what is sent: replaces the attackers' updates ``w_local − w_global``.

    Attributes:
        omniscient: in a run, sees all honest updates of the round before they are sent (the non-causal mode of the literature);
            otherwise only those of senders who had finished when the attacker sent.
        sees: whose updates, as far as they are there by then: ``all``; ``neighbourhood``, those of honest nodes that the
            topology links to one of the attackers who act together; ``itself``, none.
        collude: whether attackers act as one and know each other's updates; otherwise each is alone.
        knows_rule: whether they know the rule by which updates become one (``view.rule``), where it needs nothing but updates.
        data: what they do to their own training data before they train and send; None: nothing. Who they are and when they act
            is said here, not there.
        timing: when they send, in rounds in which they attack: ``honest``, once they have trained; ``withhold``, never;
            ``rush``, at once, without waiting in virtual time for a training's end; ``hold``, ``hold_s`` after their training's
            end, by when they may have seen more.
        hold_s: how many virtual seconds they keep back what they send, if ``timing`` is ``hold``.
    """

    finite: ClassVar[bool] = True
    """Whether all that is sent are finite numbers."""

    omniscient: bool = False
    sees: Sight = "all"
    collude: bool = True
    knows_rule: bool = True
    data: field_of(DataAttack) | None = None  # type: ignore[valid-type]
    timing: Timing = "honest"
    hold_s: float = Field(default=0.0, ge=0)

    @property
    def on_data(self) -> DataAttack | None:
        """What is done to the attackers' own training data, in the rounds in which they attack; None: nothing."""
        return _at_times_of(self, self.data)

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

    def claims(self, num_examples: int) -> int:
        """How many training samples an attacker says it has, whose number is ``num_examples``."""
        return num_examples

    def _own(self, n_byzantine: int, view: View | None) -> torch.Tensor | None:
        own = view.own if view is not None else None
        if own is not None and len(own) != n_byzantine:
            raise ValueError(f"view.own: {len(own)} rows are not allowed for {n_byzantine} attackers: give one row each")
        return own

    def _known(self, honest: torch.Tensor, n_byzantine: int, view: View | None, least: int = 1) -> torch.Tensor:
        """The rows they reckon with: the honest ones shown or, if these are fewer than ``least``, what they would have sent."""
        own = self._own(n_byzantine, view)
        if len(honest) < least and own is not None and len(own):
            return own.to(honest)
        if n_byzantine and len(honest) == 0:
            raise ValueError(f"{self.kind}: neither honest rows nor view.own: there is nothing to go by")
        return honest

    def _if_honest(self, honest: torch.Tensor, n_byzantine: int, view: View | None) -> torch.Tensor:
        """``(b, d)`` what each attacker would have sent if honest; where nobody knows, the mean of the honest rows."""
        own = self._own(n_byzantine, view)
        if own is not None:
            return own.to(honest)
        rows = self._known(honest, n_byzantine, view)
        mean = rows.mean(dim=0) if n_byzantine else rows.new_zeros(rows.shape[1])
        return mean.expand(n_byzantine, -1)

    def _against(self, shown: int, n_byzantine: int, view: View | None) -> int:
        """How many attackers to reckon with beside the ``shown`` honest rows: the round's share of them, at least one."""
        if view is None or view.n is None or view.f is None or not 0 < view.f < view.n:
            return max(1, n_byzantine)
        return max(1, round(shown * view.f / (view.n - view.f)))


class PeerAttack(Attack, abstract=True):
    """An attack where nodes exchange models with their neighbours and there is no server: each can be told something else.

    Attributes:
        to: the share of an attacker's receivers, rounded down, that get the lie; the others get its honest model.
        data: what attackers do to their own training data; None: nothing. Who they are and when they act is said here, not there.
    """

    to: float = Field(default=1.0, ge=0, le=1, title="share of receivers lied to")
    data: field_of(DataAttack) | None = None  # type: ignore[valid-type]

    @property
    def on_data(self) -> DataAttack | None:
        """What is done to the attackers' own training data, in the rounds in which they attack; None: nothing."""
        return _at_times_of(self, self.data)

    def to_neighbour(
        self, own: torch.Tensor, models: torch.Tensor, weights: torch.Tensor, attackers: float, generator: torch.Generator
    ) -> torch.Tensor | None:
        """Craft the model that attackers send one receiver.

        Args:
            own: ``(d,)`` the receiver's own model.
            models: ``(h, d)`` the models of the receiver's honest neighbours; ``h`` may be 0.
            weights: ``(h,)`` how much the receiver counts each of them.
            attackers: how much it counts all attackers among its neighbours together, above 0.
            generator: the only source of randomness.

        Returns:
            ``(d,)`` what each of these attackers sends, in the dtype and on the device of ``own``; None: its honest model.
        """
        raise NotImplementedError

    def claims_degree(self, degree: int) -> int:
        """How many neighbours an attacker says it has, whose number is ``degree``; at least 1."""
        return degree

    def lies_to(self, receivers: int, generator: torch.Generator) -> torch.Tensor:
        """Which of so many receivers of one attacker get the lie: ``(receivers,)`` bool, drawn."""
        import torch

        chosen = torch.zeros(receivers, dtype=torch.bool)
        chosen[torch.randperm(receivers, generator=generator)[: whole_share(self.to, receivers)]] = True
        return chosen


def _at_times_of(attack: Attack, data: DataAttack | None) -> DataAttack | None:
    """``data`` with the who and when of the attack that it is part of."""
    return None if data is None else data.model_copy(update={name: getattr(attack, name) for name in Attack.model_fields})
