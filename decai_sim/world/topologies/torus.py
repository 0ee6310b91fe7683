"""The torus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class Torus(Topology):
    """A grid of rows and columns whose edges meet: every node has four neighbours, left, right, above and below.

    Node ``i`` is in row ``i // columns``, column ``i % columns``.

    Source: graph theory; spectral gap of the k×k torus' Metropolis weights 2/5 (1 − cos 2π/k).
    Assumes: the number of nodes is a product.
    Deviations: two rows (or columns) are linked once, not twice.

    Attributes:
        rows: how many rows; None: the number nearest to the columns', so that the grid is as square as can be.

    Raises:
        ScenarioError: the nodes do not fill so many rows of two or more.

    Example:
        >>> sorted(Torus().build(9, seed=0).neighbors(0))
        [1, 2, 3, 6]
    """

    rows: int | None = Field(default=None, ge=2)

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The torus; ``seed`` changes nothing."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        rows = self.rows or max((k for k in range(2, math.isqrt(n) + 1) if n % k == 0), default=0)
        if rows == 0 or n % rows or n < 2 * rows:
            what = "two or more rows" if self.rows is None else f"{rows} rows"
            raise ScenarioError(f"topology.rows: {self.rows} is not allowed: nodes = {n} do not fill {what} of two or more each")
        columns = n // rows
        row, column = np.divmod(np.arange(n), columns)
        right = row * columns + (column + 1) % columns
        below = (row + 1) % rows * columns + column
        return wiring.from_links(n, np.tile(np.arange(n), 2), np.concatenate([right, below]))
