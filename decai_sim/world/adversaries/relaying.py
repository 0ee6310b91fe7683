"""Adversaries who tamper with what they pass on for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.errors import ScenarioError
from decai_sim.world.adversaries.base import Adversary, Carried

if TYPE_CHECKING:
    from decai_sim.world.links import Tamper
    from decai_sim.world.world import World


class Relaying(Adversary, abstract=True):
    """Base of adversaries who do to what they pass on for others what they spare their own messages, or not.

    A message is passed on if it brings or announces an item that its sender did not publish: see
    :attr:`~decai_sim.world.dissemination.Dissemination.relays`. All others are the sender's own: its news, its requests, its
    model, its reply to a server.

    Attributes:
        own: whether they do it to their own messages too.
    """

    own: bool = False

    def check_carried(self, carried: Carried) -> None:
        super().check_carried(carried)
        if not self.own and not carried.relayed:
            raise ScenarioError(
                f"own: False is not allowed: under protocol {carried.protocol!r} nodes pass nothing on for others; "
                f"with own: true {self.kind!r} is about their own messages"
            )

    def tamper(self, world: World, hold_up: Tamper) -> None:
        """Let ``hold_up`` decide about the messages that this is about."""
        (world.links.tamper if self.own else world.links.tamper_relayed).append(hold_up)
