"""Crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.world.faults.base import note
from decai_sim.world.faults.targets import Targeted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decai_sim.world.world import World


class Crash(Targeted):
    """Nodes stop at once, all of them together: what they were doing and sending is lost.

    Source: the crash(-recovery) failure model, e.g. Cachin, Guerraoui & Rodrigues, "Introduction to Reliable and Secure
    Distributed Programming" (2nd ed., 2011), ch. 2.
    Assumes: a crashed node says nothing, and nobody is told.
    Deviations: a node that recovers has kept what it had stored.

    Attributes:
        for_s: for how long, seconds; None: for good. Who is away by then for other reasons stays away.

    Example:
        >>> Crash(nodes=[-1], at_s=600, for_s=60).nodes
        (-1,)
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"share": 0.3, "at_s": 5.0, "for_s": 10.0},
        {"nodes": [1, 3]},
        {"nodes": [-1], "for_s": 5.0},
    )

    for_s: float | None = Field(default=None, gt=0)

    def install(self, world: World, number: int = 0) -> None:
        chosen = self.chosen(world, number)

        def begin() -> None:
            note(world, f"crash of {len(chosen)}")
            for node in chosen:
                if self.for_s is None:
                    world.nodes.depart(node, "crash")
                else:
                    world.nodes.hold(node, "crash")

        def end() -> None:
            note(world, f"recovery of {len(chosen)}")
            for node in chosen:
                world.nodes.release(node, "crash")

        world.clock.at(self.at_s, begin)
        if self.for_s is not None:
            world.clock.at(self.at_s + self.for_s, end)
