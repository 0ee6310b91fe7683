"""The membership family: how those who watch learn who is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decai_sim.component import Component

if TYPE_CHECKING:
    from decai_sim.world.detections import Detector
    from decai_sim.world.heartbeats import Heartbeats
    from decai_sim.world.listing import Listing
    from decai_sim.world.world import World


class Membership(Component, family="membership"):
    """Base of failure detectors. One of your own says in :meth:`watch` who watches whom, and by which messages.

    Beside it the server always has its list of nodes, which federated protocols choose from.
    """

    among_nodes: ClassVar[bool] = False
    """Whether nodes send each other messages to that end."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the messages it sends, as the trace calls them."""
        return ()

    def listing(self, world: World) -> Listing | Heartbeats:
        """The server's list; that of :class:`~decai_sim.world.membership.Heartbeat` with its default settings.

        Args:
            world: at time 0; its clock, nodes, streams and links are there.
        """
        from decai_sim.world.membership.heartbeat import Heartbeat

        return Heartbeat().listing(world)

    def watch(self, world: World) -> Detector:
        """Begin to watch the nodes of a world, now.

        Returns:
            The detector: what it has found, and whom it trusts.
        """
        raise NotImplementedError
