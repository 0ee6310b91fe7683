"""Which nodes something is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from decai_sim.component import Description, whole_share
from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from decai_sim.world.world import World


class Targets(Description):
    """Fields that say which nodes: a list, a share, or a region.

    Attributes:
        nodes: their numbers; −1 is the server.
        share: this share of all nodes, rounded down, chosen ``by``; with ``region`` of that region's, at random.
        region: the nodes of this region.
        by: how a share is chosen: at random, most links first, most shortest paths through it first, or at the ends of the links
            across the network's narrowest balanced cut.
    """

    family: ClassVar[str]  # its component's: each draws from a stream of its family and number
    server_too: ClassVar[bool] = True
    """Whether the server may be one of them."""

    nodes: tuple[int, ...] | None = Field(default=None, min_length=1)
    share: float | None = Field(default=None, gt=0, le=1)
    region: str | None = None
    by: Literal["random", "degree", "betweenness", "cut"] = "random"

    @model_validator(mode="after")
    def _one_way_of_saying_whom(self) -> Self:
        if self.nodes is None and self.share is None and self.region is None:
            raise ValueError("say which nodes: nodes, share or region")
        if self.nodes is not None and not (self.share is None and self.region is None):
            raise ValueError("nodes says it all: give neither share nor region beside it")
        if self.by != "random" and (self.share is None or self.region is not None):
            raise ValueError(f"by={self.by!r} chooses a share of all nodes: give share, and neither nodes nor region")
        return self

    def check(self, n: int) -> None:
        """Find what does not suit ``n`` nodes, before there is a world.

        Raises:
            ScenarioError: one line that begins with the field.
        """
        check_nodes(self.nodes or (), n, "nodes", server_too=self.server_too)
        if self.share is not None and self.region is None and not whole_share(self.share, n):
            raise ScenarioError(f"share: {self.share} is not allowed: of {n} nodes that is none")

    def chosen(self, world: World, number: int = 0) -> list[int]:
        """The nodes, ascending.

        Args:
            world: where they are.
            number: place among the scenario's components of this family.

        Raises:
            ScenarioError: the world has no such nodes, region or links.
        """
        import numpy as np

        self.check(world.n)
        if self.nodes is not None:
            return sorted(set(self.nodes))
        generator = world.streams.of(self.family, number)
        if self.region is not None:
            check_region(self.region, world)
            there = np.flatnonzero(world.paths.regions[:-1] == self.region)
            if self.share is None:
                return there.tolist()
            count = whole_share(self.share, len(there))
            if not count:
                raise ScenarioError(
                    f"share: {self.share} is not allowed: of the {len(there)} nodes of {self.region} that is none"
                )
            return sorted(generator.choice(there, size=count, replace=False).tolist())
        assert self.share is not None
        count = whole_share(self.share, world.n)
        if self.by == "random":
            return sorted(generator.choice(world.n, size=count, replace=False).tolist())
        if not world.graph.nnz:
            raise ScenarioError(f"by: {self.by!r} is not allowed: this world's nodes have no links among them")
        from decai_sim.world.placement import place

        return [int(node) for node in place(self.by, count, world.graph, world.paths.regions, generator, "by")]


def check_nodes(nodes: Iterable[int], n: int, field: str, *, server_too: bool = True) -> None:
    """Raise ``ScenarioError`` unless all ``nodes`` are among ``n``, or one of them is the server and that is allowed."""
    for node in nodes:
        if not -server_too <= node < n:
            server = ", -1 is the server" if server_too else ""
            raise ScenarioError(f"{field}: {node} is not allowed: nodes are numbered from 0 to {n - 1}{server}")


def check_region(region: str, world: World, field: str = "region") -> None:
    """Raise ``ScenarioError`` unless some node or the server is in ``region``."""
    _check_known(region, {str(name) for name in world.paths.regions}, field)


def check_regions(part: Description, known: Iterable[str]) -> None:
    """Raise ``ScenarioError`` if a fault or an adversary names a region that is not ``known``."""
    if (region := getattr(part, "region", None)) is not None:
        _check_known(region, known, "region")
    for region in getattr(part, "regions", ()):
        _check_known(region, known, "regions")


def _check_known(region: str, known: Iterable[str], field: str) -> None:
    if region not in known:
        raise ScenarioError(f"{field}: {region!r} is not allowed: this network's nodes are in {', '.join(sorted(known))}")
