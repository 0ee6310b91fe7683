"""Partitions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from decai_sim.errors import ScenarioError
from decai_sim.world.faults.base import Fault, note
from decai_sim.world.faults.effects import Effects
from decai_sim.world.targets import check_region

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from decai_sim.world.world import World


class Partition(Fault):
    """The network falls apart: messages sent between different parts are lost until it heals; within a part nothing changes.

    Source: Gilbert & Lynch, "Brewer's conjecture and the feasibility of consistent, available, partition-tolerant web services",
    SIGACT News 33 (2002), whose network may lose arbitrarily many messages.
    Assumes: what is on its way when the network falls apart still arrives.
    Deviations: none.

    Attributes:
        by: what separates the parts: ``region``; ``cut``: two halves with few links between them, none where the network's
            connected parts make up halves; ``groups``: as given.
        regions: with ``region``: these on one side, all others on the other; empty: every region is a part of its own.
        groups: with ``groups``: lists of nodes (−1 is the server); nodes not named form one more part. By ``cut``, and where it
            is not named, the server is with the largest part.
        for_s: when it heals, seconds after its beginning; None: never.

    Example:
        >>> Partition(by="groups", groups=[[0, 1], [2, 3]], at_s=60, for_s=30).groups
        ((0, 1), (2, 3))
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"at_s": 5.0, "for_s": 10.0},
        {"regions": ["EU"], "for_s": 5.0},
        {"by": "cut"},
        {"by": "groups", "groups": [[0, 1], [2, 3, -1]], "for_s": 8.0},
    )

    by: Literal["region", "cut", "groups"] = "region"
    regions: tuple[str, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    for_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _what_belongs_together(self) -> Self:
        if (self.by == "groups") != bool(self.groups):
            raise ValueError("groups and by='groups' go together")
        if self.regions and self.by != "region":
            raise ValueError("regions goes with by='region'")
        named = Counter(node for group in self.groups for node in group)
        if named and max(named.values()) > 1:
            raise ValueError(f"groups: node {named.most_common(1)[0][0]} is there twice")
        return self

    def check(self, n: int) -> None:
        for group in self.groups:
            for node in group:
                if not -1 <= node < n:
                    raise ScenarioError(f"groups: {node} is not allowed: nodes are numbered from 0 to {n - 1}, -1 is the server")

    def parts(self, world: World) -> list[int]:
        """``n + 1`` numbers, the server's last: which part everybody is in.

        Raises:
            ScenarioError: in this world that would be one part.
        """
        import numpy as np

        self.check(world.n)
        if self.by == "region":
            for region in self.regions:
                check_region(region, world, "regions")
            names = world.paths.regions
            part = np.isin(names, self.regions).astype(int) if self.regions else np.unique(names, return_inverse=True)[1]
        else:
            part = np.zeros(world.n + 1, dtype=int)
            for i, group in enumerate(self.groups, 1):
                part[list(group)] = i  # -1 is the last
            if self.by == "cut":
                if not world.graph.nnz:
                    raise ScenarioError("by: 'cut' is not allowed: this world's nodes have no links among them")
                from decai_sim.world.placement import halves

                part[:-1] = halves(world.graph)
            if not any(-1 in group for group in self.groups):
                part[-1] = np.bincount(part[:-1]).argmax()
        if len(np.unique(part)) < 2:
            raise ScenarioError(f"by: {self.by!r} is not allowed: all nodes would be in one part")
        return part.tolist()  # type: ignore[no-any-return]

    def install(self, world: World, number: int = 0) -> None:
        parts, effects = self.parts(world), Effects.of(world)
        unheard = [node for node in range(world.n) if parts[node] != parts[-1]]

        def begin() -> None:
            note(world, f"partition into {len(set(parts))}")
            effects.cut(parts)
            world.membership.mute(unheard)

        def end() -> None:
            note(world, "partition healed")
            effects.heal(parts)
            world.membership.unmute(unheard)

        world.clock.at(self.at_s, begin)
        if self.for_s is not None:
            world.clock.at(self.at_s + self.for_s, end)
