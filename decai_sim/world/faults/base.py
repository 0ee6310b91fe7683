"""The fault family: what goes wrong in the world, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.component import Component
from decai_sim.errors import for_each

if TYPE_CHECKING:
    from decai_sim.world.world import World


class Fault(Component, family="faults"):
    """Base of faults: things that happen to a world at given times.

    Attributes:
        at_s: when it begins, virtual seconds.
    """

    at_s: float = Field(default=0.0, ge=0)

    def check(self, n: int) -> None:
        """Find what does not suit ``n`` nodes, before there is a world.

        Raises:
            ScenarioError: one line that begins with the field.
        """

    def install(self, world: World, number: int = 0) -> None:
        """Put what will happen on the world's clock.

        Args:
            world: where it happens.
            number: place among the scenario's faults; each draws from a random stream of its own.

        Raises:
            ScenarioError: it cannot happen in this world; one line that begins with the field.
        """
        raise NotImplementedError


def check_all(faults: Sequence[Fault], n: int) -> None:
    """Check the faults of a scenario against its number of nodes.

    Raises:
        ScenarioError: one does not suit it; one line that begins with ``faults.`` and its number.
    """
    for_each("faults", faults, lambda _, fault: fault.check(n))


def install_all(faults: Sequence[Fault], world: World) -> None:
    """Install the faults of a scenario.

    Raises:
        ScenarioError: one cannot happen in this world; one line that begins with ``faults.`` and its number.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Ideal, Mix, World
        >>> from decai_sim.world.faults import Crash
        >>> install_all([Crash(nodes=[7])], World(3, Ideal(), None, Mix(laptop=1), Streams(1)))
        Traceback (most recent call last):
        decai_sim.errors.ScenarioError: faults.0.nodes: 7 is not allowed: nodes are numbered from 0 to 2, -1 is the server
    """
    check_all(faults, world.n)
    for_each("faults", faults, lambda number, fault: fault.install(world, number))


def note(world: World, detail: str, node: int = -1) -> None:
    """Record an event ``fault``, now, at ``node``."""
    world.trace.event(world.clock.now, node, "fault", detail)
