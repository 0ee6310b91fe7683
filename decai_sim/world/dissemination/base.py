"""The dissemination family: how news reaches everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.component import Component

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.world.bulk import Arrivals
    from decai_sim.world.dissemination.spread import Spread
    from decai_sim.world.world import World


class Dissemination(Component, family="dissemination"):
    """Base of dissemination protocols. One of your own says in :meth:`spread` and :meth:`arrived` what nodes do, all at once."""

    kinds: ClassVar[tuple[str, ...] | None] = None
    """All kinds of messages that nodes send; None: not said."""
    relays: ClassVar[tuple[str, ...]] = ("item",)
    """Kinds of messages that bring or announce the item they are about: whoever did not publish it sends them for others."""

    @property
    def turns_to_anyone(self) -> bool:
        """Whether nodes send to others than their neighbours."""
        return False

    def start(self, world: World, items: int = 64) -> Spread:
        """Let every node of ``world`` take part.

        Args:
            world: its topology says who is linked to whom.
            items: how many items will be published at most.
        """
        from decai_sim.world.dissemination.spread import Spread

        return Spread(self, world, items)

    def prepare(self, at: Spread) -> None:
        """Called once at the start; what the protocol keeps in mind beside who has what goes into ``at.state``."""

    def spread(self, at: Spread, t_s: np.ndarray, nodes: np.ndarray, items: np.ndarray, came_from: np.ndarray) -> None:
        """Pass on what nodes have for the first time.

        Args:
            at: the protocol at work: who has what, and how to send.
            t_s: ``(k,)`` when, ascending.
            nodes: ``(k,)`` who.
            items: ``(k,)`` what.
            came_from: ``(k,)`` from whom; −1: they published it.
        """
        raise NotImplementedError

    def arrived(self, at: Spread, arrivals: Arrivals) -> None:
        """Deal with messages; unless it is overridden they are items, which those to whom they are new pass on.

        Args:
            at: the protocol at work.
            arrivals: in the order of their arrival.
        """
        at.pass_on(arrivals)
