"""Takedowns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.world.faults.base import note
from decai_sim.world.faults.targets import Targeted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decai_sim.world.world import World


class Takedown(Targeted):
    """Orders that remove chosen nodes for good, one lot after the other: a jurisdiction's, or the hubs.

    Nodes chosen by degree, by betweenness or at a cut go in the order of their number of links, most first; others in random
    order. The lots are equal to within one node.

    Source: removal of nodes at random and of hubs: Albert, Jeong & Barabási, "Error and attack tolerance of complex networks",
    Nature 406 (2000).
    Assumes: an order is obeyed at once, and removed nodes stay removed.
    Deviations: the paper chooses the next hub anew after each removal; here all are chosen before the first.

    Attributes:
        orders: number of orders, the first at ``at_s``.
        every_s: time from one to the next, seconds.

    Example:
        >>> Takedown(share=0.1, by="degree", orders=5, every_s=60).orders
        5
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"share": 0.5, "orders": 3, "every_s": 4.0},
        {"region": "EU", "at_s": 5.0},
        {"nodes": [1, 3], "orders": 2},
    )

    orders: int = Field(default=1, ge=1)
    every_s: float = Field(default=3600.0, gt=0)

    def install(self, world: World, number: int = 0) -> None:
        import numpy as np

        chosen = np.array(self.chosen(world, number), dtype=np.int64)
        if self.by == "random":
            order = world.streams.of("faults", number, "order").permutation(len(chosen))
        else:
            order = np.argsort(-np.diff(world.graph.indptr)[chosen], kind="stable")

        def order_down(lot: list[int], which: int) -> None:
            note(world, f"takedown of {len(lot)}, order {which + 1} of {self.orders}")
            for node in lot:
                world.nodes.depart(node, "takedown")

        for i, lot in enumerate(np.array_split(chosen[order], self.orders)):
            world.clock.at(self.at_s + i * self.every_s, order_down, lot.tolist(), i)
