"""Sybils."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from decai_sim.component import whole_share
from decai_sim.errors import ScenarioError
from decai_sim.world.adversaries.base import Adversary, among

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import scipy.sparse as sp

    from decai_sim.world.world import World


class Sybil(Adversary):
    """Many identities, few machines: some nodes are not who they seem, but run side by side on the machines of one adversary.

    The identities of a machine stand in one place, and share its access rates and its computing: each of k has a k-th. They may
    have more links than nodes usually have, since the adversary chooses them.

    Source: Douceur, "The Sybil attack" (IPTPS 2002).
    Assumes: joining costs nothing and nobody vouches for identities, so that there are as many as the adversary likes.
    Deviations: identities take the places of honest nodes rather than join beside them. A machine's rates are the mean of those
        its identities' nodes would have had, shared evenly whether all are busy or not. What silent ones drop is in the trace
        as sent by them and lost.

    Attributes:
        machines: on how many machines the identities run, as evenly as can be.
        behaviour: ``silent``: they listen and send nothing; ``honest``: they relay as they should.
        extra_links: to how many random nodes that are none of theirs each identity is linked in addition; those it has links to
            already included.

    Example:
        >>> Sybil(share=0.3, machines=2, extra_links=8).behaviour
        'silent'
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"share": 0.3},
        {"nodes": [1, 4, 6, 9], "machines": 2, "behaviour": "honest", "extra_links": 2},
    )

    rewires: ClassVar[bool] = True

    machines: int = Field(default=1, ge=1)
    behaviour: Literal["silent", "honest"] = "silent"
    extra_links: int = Field(default=0, ge=0)

    def check(self, n: int) -> None:
        super().check(n)
        if self.nodes is not None:
            self._check_machines(len(set(self.nodes)))
        elif self.share is not None and self.region is None:
            self._check_machines(whole_share(self.share, n))

    def _check_machines(self, identities: int) -> None:
        if self.machines > identities:
            raise ScenarioError(f"machines: {self.machines} is not allowed: there are only {identities} identities")

    def act(self, world: World, who: list[int], number: int) -> None:
        import numpy as np

        from decai_sim.world.faults.effects import Effects

        self._check_machines(len(who))
        identities = world.streams.of("adversaries", number, "machines").permutation(np.array(who, dtype=np.int64))
        machines = np.array_split(identities, self.machines)
        world.paths.move(identities, np.repeat([machine[0] for machine in machines], list(map(len, machines))))
        for machine in machines:
            for node in machine.tolist():
                Effects.of(world).begin("slow", node, len(machine))
                world.flops_per_s[node] /= len(machine)
        theirs = among(world, who)
        if self.extra_links:
            world.rewire(
                lambda graph: _linked(graph, theirs[:-1], self.extra_links, world.streams.of("adversaries", number, "links"))
            )
        if self.behaviour == "silent":

            def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
                return np.where(theirs[src], np.inf, 0.0)

            world.links.tamper.append(hold_up)


def _linked(graph: sp.csr_array, theirs: np.ndarray, count: int, generator: np.random.Generator) -> sp.csr_array:
    """The graph with links from each of ``theirs`` to up to ``count`` random others."""
    import numpy as np

    from decai_sim.world.topologies import wiring

    n = graph.shape[0]
    others, own = np.flatnonzero(~theirs), np.flatnonzero(theirs)
    drawn = wiring.distinct(np.full(len(own), len(others)), min(count, len(others)), generator)
    src, dst = np.repeat(np.arange(n), np.diff(graph.indptr)), graph.indices.astype(np.int64)
    a, b = np.repeat(own, drawn.shape[1]), others[drawn.ravel()]
    return wiring.from_arrows(n, np.concatenate([src, a, b]), np.concatenate([dst, b, a]))
