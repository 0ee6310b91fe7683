"""The adversary family: what some nodes do to the messages of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from decai_sim.component import Component
from decai_sim.errors import ScenarioError, for_each
from decai_sim.world.targets import Targets

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.world.world import World


@dataclass(frozen=True)
class Carried:
    """What a network carries in a run, as far as that is known before it.

    Attributes:
        protocol: whose messages they are.
        among_nodes: whether nodes send to each other, and not to a server alone.
        relayed: whether nodes pass on what is not their own.
        kinds: all kinds of messages, as the trace calls them; None: not known.
        queueing: where they may have to queue, as the network has it, or ``nowhere``; None: not known.
    """

    protocol: str
    among_nodes: bool = True
    relayed: bool = True
    kinds: frozenset[str] | None = None
    queueing: str | None = None


class Adversary(Targets, Component, family="adversaries"):
    """Base of network-level adversaries: nodes that do not relay as they should.

    One of your own says in :meth:`act` what they do. They are present from the beginning of a run to its end. What nodes learn
    and report is the business of ``attacks``.

    Attributes:
        nodes: who they are, by number; or else
        share: this share of all nodes, rounded down, chosen ``by``; with ``region`` of that region's, at random.
        region: the nodes of this region.
        by: how a share is chosen: at random, most links first, most shortest paths through it first, or at the ends of the links
            across the network's narrowest balanced cut.
    """

    server_too: ClassVar[bool] = False

    rewires: ClassVar[bool] = False
    """Whether :meth:`act` changes who is wired to whom."""
    among_nodes: ClassVar[bool] = False
    """Whether all it does is to messages that nodes send to each other."""

    def check_carried(self, carried: Carried) -> None:
        """Find out before a run whether there will be anything to tamper with.

        Raises:
            ScenarioError: there will not; one line that begins with the field.
        """
        if self.among_nodes and not carried.among_nodes:
            raise ScenarioError(
                f"kind: {self.kind!r} is not allowed: under protocol {carried.protocol!r} nodes talk to the server alone, "
                "and it is about messages among nodes"
            )

    def in_vain(self, kinds: frozenset[str]) -> str | None:
        """What of it came to nothing in a run with messages of these ``kinds``: one line that begins with the field, or None."""
        return None

    def act(self, world: World, who: list[int], number: int) -> None:
        """Let some nodes of a world be adversaries.

        Args:
            world: in which nothing has been sent yet. ``world.links.tamper`` takes functions that hold up or drop messages,
                ``world.rewire`` one that changes links.
            who: their numbers, ascending.
            number: place among the scenario's adversaries; each draws from random streams of its own, named
                ``("adversaries", number, …)``.

        Raises:
            ScenarioError: it cannot happen in this world; one line that begins with the field.
        """
        raise NotImplementedError

    def install(self, world: World, number: int = 0) -> None:
        """Choose who they are, let them act, and record an event ``adversary`` at each of them.

        Args:
            world: in which nothing has been sent yet.
            number: place among the scenario's adversaries.

        Raises:
            ScenarioError: it cannot happen in this world; one line that begins with the field.
        """
        import numpy as np

        who = self.chosen(world, number)
        self.act(world, who, number)
        world.trace.many_events(
            np.full(len(who), world.clock.now), np.array(who, dtype=np.int64), "adversary", [self.kind] * len(who)
        )


def check_all(adversaries: Sequence[Adversary], n: int, carried: Carried | None = None) -> None:
    """Check the adversaries of a scenario against its number of nodes and, where it is known, what the network will carry.

    Raises:
        ScenarioError: one does not suit it; one line that begins with ``adversaries.`` and its number.
    """

    def check(_: int, adversary: Adversary) -> None:
        adversary.check(n)
        if carried is not None:
            adversary.check_carried(carried)

    for_each("adversaries", adversaries, check)


def install_all(adversaries: Sequence[Adversary], world: World) -> None:
    """Install the adversaries of a scenario, one after the other: where one rewires the graph, the next is placed on the new one.

    Raises:
        ScenarioError: one cannot be in this world; one line that begins with ``adversaries.`` and its number.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Ideal, Mix, World
        >>> from decai_sim.world.adversaries import Drop
        >>> install_all([Drop(nodes=[7])], World(3, Ideal(), None, Mix(laptop=1), Streams(1)))
        Traceback (most recent call last):
        decai_sim.errors.ScenarioError: adversaries.0.nodes: 7 is not allowed: nodes are numbered from 0 to 2
    """
    check_all(adversaries, world.n)
    for_each("adversaries", adversaries, lambda number, adversary: adversary.install(world, number))


def among(world: World, nodes: Iterable[int]) -> np.ndarray:
    """``(n + 1,)`` bool, the server last: who is one of ``nodes``."""
    import numpy as np

    mask = np.zeros(world.n + 1, dtype=bool)
    mask[list(nodes)] = True
    return mask
