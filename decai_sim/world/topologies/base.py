"""The topology family: who is wired to whom."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.component import Component
from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import networkx as nx
    import scipy.sparse as sp

    from decai_sim.world.overlay.base import Overlay
    from decai_sim.world.world import World

PERIOD_S = 10.0
"""How long a round of a time-varying topology lasts in a run, seconds, unless it says otherwise; ours."""


class Topology(Component, family="topologies"):
    """Base of topologies: undirected graphs on nodes 0 … n−1.

    A topology says what it is by :meth:`csr` (arrays, quick at 100,000 nodes) or by :meth:`build` (NetworkX, handy in a
    notebook); the other one follows, so that both are always the same graph.
    """

    time_varying: ClassVar[bool] = False
    """Whether :meth:`at` differs from round to round."""

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        own = vars(cls)
        # Who redefines one of the two means both: what was inherited would describe another graph.
        if "build" in own and "csr" not in own:
            cls.csr = _csr_of(own["build"])  # type: ignore[method-assign, assignment]
        elif "csr" in own and "build" not in own:
            cls.build = _build_of(own["csr"])  # type: ignore[method-assign, assignment]

    def build(self, n: int, seed: int) -> nx.Graph:
        """The graph on ``n`` nodes; the same for the same seed.

        Raises:
            ScenarioError: this topology has no graph on ``n`` nodes.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither csr nor build")

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The ``(n, n)`` adjacency matrix: int8 ones, symmetric, empty diagonal, indices sorted within rows.

        Of a time-varying topology: every link there is in any round of its :meth:`period`, in either direction.

        Raises:
            ScenarioError: this topology has no graph on ``n`` nodes.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither csr nor build")

    def at(self, n: int, seed: int, server_round: int) -> sp.csr_array:
        """The ``(n, n)`` graph of one round: row ``i`` holds the nodes that node ``i`` contacts in it, and need not be symmetric.

        Args:
            n: number of nodes.
            seed: as for :meth:`csr`.
            server_round: which round, 0 or more.

        Raises:
            ScenarioError: this topology has no graph on ``n`` nodes.
        """
        return self.csr(n, seed)

    def overlay(self, world: World, seed: int) -> Overlay | None:
        """What changes the links while a world runs; None: they stay as they are.

        Args:
            world: on whose nodes the topology is.
            seed: as for :meth:`csr`.
        """
        if not self.time_varying:
            return None
        from decai_sim.world.overlay.rounds import Rounds

        return Rounds(world, self, seed, getattr(self, "period_s", PERIOD_S))

    def period(self, n: int) -> int | None:
        """After how many rounds :meth:`at` starts again; 1: it never changes; None: every round is new."""
        return None if self.time_varying else 1


def _build_of(csr: Callable[[Any, int, int], sp.csr_array]) -> Callable[[Any, int, int], nx.Graph]:
    @wraps(Topology.build)
    def build(self: Topology, n: int, seed: int) -> nx.Graph:
        from decai_sim.world.topologies import wiring

        return wiring.as_graph(csr(self, n, seed))

    return build


def _csr_of(build: Callable[[Any, int, int], nx.Graph]) -> Callable[[Any, int, int], sp.csr_array]:
    @wraps(Topology.csr)
    def csr(self: Topology, n: int, seed: int) -> sp.csr_array:
        import numpy as np

        from decai_sim.world.topologies import wiring

        graph = build(self, n, seed)
        if set(graph) != set(range(n)):
            raise ScenarioError(f"topology.kind: {self.kind!r} is not allowed: its nodes are not 0 … {n - 1}")
        ends = np.array(list(graph.edges()), dtype=np.int64).reshape(-1, 2)
        return wiring.from_links(n, ends[:, 0], ends[:, 1])

    return csr
