"""Slow links."""

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


class SlowLinks(Targeted):
    """The links of some nodes get slow: rates are divided by one factor, latencies multiplied by another.

    Source: stragglers and performance faults, e.g. Dean & Barroso, "The tail at scale", CACM 56 (2013).
    Assumes: the factor holds for all links of a node, in both directions.
    Deviations: none.

    Attributes:
        factor: access rates are divided by it.
        lag: latencies of messages to and from the nodes are multiplied by it.
        for_s: for how long, seconds; None: for good.

    Example:
        >>> SlowLinks(share=0.2, factor=20).factor
        20.0
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"share": 0.3, "at_s": 5.0, "for_s": 10.0},
        {"region": "EU", "share": 0.5, "factor": 3.0, "lag": 10.0},
    )

    factor: float = Field(default=10.0, ge=1)
    lag: float = Field(default=1.0, ge=1)
    for_s: float | None = Field(default=None, gt=0)

    def install(self, world: World, number: int = 0) -> None:
        if world.paths.instant:
            raise ScenarioError("kind: 'slow_links' is not allowed: this network has neither latencies nor rates")
        chosen, effects, links = self.chosen(world, number), Effects.of(world), world.links
        if self.lag == 1 and not any(links.up_s[node] or links.down_s[node] for node in chosen):
            raise ScenarioError(f"factor: {self.factor} is not allowed: these nodes' rates know no limit; give a lag")

        def begin() -> None:
            note(world, f"slow links of {len(chosen)}")
            for node in chosen:
                effects.begin("slow", node, self.factor)
                effects.begin("lag", node, self.lag)

        def end() -> None:
            note(world, f"links of {len(chosen)} as before")
            for node in chosen:
                effects.end("slow", node, self.factor)
                effects.end("lag", node, self.lag)

        world.clock.at(self.at_s, begin)
        if self.for_s is not None:
            world.clock.at(self.at_s + self.for_s, end)
