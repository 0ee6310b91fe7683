"""Regional outages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.faults.base import Fault, note
from decai_sim.world.targets import check_region

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decai_sim.world.world import World


class Outage(Fault):
    """A region goes dark: all its nodes are offline until it is over, and the server too if it stands there.

    Source: regional Internet outages, e.g. Dainotti et al., "Analysis of country-wide Internet outages caused by censorship" (IMC
    2011).
    Assumes: the whole region at one instant.
    Deviations: nodes are off rather than cut off, so that those of the region do not reach each other either; for a region that
        goes on by itself see ``Partition``.

    Attributes:
        region: its name, as the network has it.
        for_s: how long it lasts, seconds; None: for good.
        server: whether the server goes too if it is there.

    Example:
        >>> Outage(region="EU", at_s=600, for_s=300).server
        True
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"region": "EU", "at_s": 5.0, "for_s": 10.0},
        {"region": "NA", "server": False},
    )

    region: str
    for_s: float | None = Field(default=None, gt=0)
    server: bool = True

    def install(self, world: World, number: int = 0) -> None:
        import numpy as np

        check_region(self.region, world)
        dark = np.flatnonzero(world.paths.regions == self.region)
        chosen = [-1 if node == world.n else int(node) for node in dark if self.server or node != world.n]
        if not chosen:
            raise ScenarioError(f"region: {self.region!r} is not allowed: no node is there, only the server")

        def begin() -> None:
            note(world, f"outage of {self.region}")
            for node in chosen:
                world.nodes.hold(node, "outage")

        def end() -> None:
            note(world, f"{self.region} is back")
            for node in chosen:
                world.nodes.release(node, "outage")

        world.clock.at(self.at_s, begin)
        if self.for_s is not None:
            world.clock.at(self.at_s + self.for_s, end)
