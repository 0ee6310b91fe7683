"""Slow devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.faults.base import note
from decai_sim.world.faults.effects import Effects
from decai_sim.world.faults.targets import Targeted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decai_sim.world.world import World


class SlowDevices(Targeted):
    """Some nodes compute slowly: what they train takes so many times as long.

    Source: stragglers among workers, e.g. Lian, Zhang, Zhang & Liu, "Asynchronous decentralized parallel stochastic gradient
    descent" (ICML 2018), experiments with a slow worker; Dean & Barroso, "The tail at scale", CACM 56 (2013).
    Assumes: the factor holds for all that a node computes. What is at work when it begins or ends takes as long as it would have.
    Deviations: none.

    Attributes:
        factor: the nodes' FLOP/s are divided by it.
        for_s: for how long, seconds; None: for good.

    Example:
        >>> SlowDevices(nodes=[0], factor=4).factor
        4.0
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"share": 0.3, "at_s": 5.0, "for_s": 10.0},
        {"region": "EU", "factor": 3.0},
    )

    factor: float = Field(default=10.0, gt=1)
    for_s: float | None = Field(default=None, gt=0)

    def install(self, world: World, number: int = 0) -> None:
        chosen, effects = self.chosen(world, number), Effects.of(world)
        if -1 in chosen:
            raise ScenarioError("nodes: -1 is not allowed: what the server computes takes no time")

        def begin() -> None:
            note(world, f"slow devices of {len(chosen)}")
            for node in chosen:
                effects.begin("compute", node, self.factor)

        def end() -> None:
            note(world, f"devices of {len(chosen)} as before")
            for node in chosen:
                effects.end("compute", node, self.factor)

        world.clock.at(self.at_s, begin)
        if self.for_s is not None:
            world.clock.at(self.at_s + self.for_s, end)
