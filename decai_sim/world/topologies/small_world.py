"""Small-world graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp


class SmallWorld(Topology):
    """A ring of near neighbours, some links of which lead to random nodes: short paths, high clustering, connected.

    Source: Watts & Strogatz, "Collective dynamics of 'small-world' networks", Nature 393 (1998), Fig. 1.
    Assumes: nothing.
    Deviations: redrawn until connected (at most 100 times). New ends are drawn for all rewired links at once, and again for those
    that meet, where the source rewires one after the other.

    Attributes:
        degree: links per node on the ring, even.
        rewire: probability that a link is rewired.

    Raises:
        ScenarioError: ``degree`` is not below the number of nodes, or no graph was connected.

    Example:
        >>> SmallWorld(degree=4, rewire=0.1).build(100, seed=1).number_of_edges()
        200
    """

    degree: int = Field(default=8, ge=2, multiple_of=2)
    rewire: float = Field(default=0.1, ge=0, le=1)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """A connected small-world graph."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        if self.degree >= n:
            raise ScenarioError(f"topology.degree: {self.degree} is not allowed: must be below nodes = {n}")
        generator = np.random.default_rng(seed)
        for _ in range(100):
            matrix = self._drawn(n, generator)
            if wiring.is_connected(matrix):
                return matrix
        raise ScenarioError(
            f"topology.rewire: {self.rewire:g} is not allowed: with degree = {self.degree} none of 100 graphs was connected"
        )

    def _drawn(self, n: int, generator: np.random.Generator) -> sp.csr_array:
        import numpy as np

        from decai_sim.world.topologies import wiring

        near = np.tile(np.arange(n), self.degree // 2)  # in the source's order: round the ring, then to the next nearest
        far = (near + np.repeat(np.arange(1, self.degree // 2 + 1), n)) % n
        moved = generator.random(len(near)) < self.rewire
        codes = wiring.codes_of(near, far)
        targets = wiring.partners(n, near[moved], np.sort(codes[~moved], kind="stable"), generator, codes[moved])
        a, b = near[moved][targets >= 0], targets[targets >= 0]
        matrix = wiring.from_links(n, np.concatenate([near[~moved], a]), np.concatenate([far[~moved], b]))
        lost = int((targets < 0).sum())
        if lost:  # in a graph that is nearly complete: their nodes were full, so they go where there is room
            room = np.flatnonzero(np.triu(matrix.toarray() == 0, 1))  # type: ignore[no-untyped-call]
            more = np.divmod(generator.choice(room, lost, replace=False), n)
            a, b = (np.concatenate([ends, extra]) for ends, extra in zip(wiring.links(matrix), more, strict=True))
            matrix = wiring.from_links(n, a, b)
        return matrix
