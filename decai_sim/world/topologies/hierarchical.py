"""Clients, edge servers and a cloud."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import scipy.sparse as sp


class Hierarchical(Topology):
    """A tree of three levels: node 0 is the cloud, nodes 1 … E are edge servers below it, the others clients of one of these.

    Source: Liu, Zhang, Song and Letaief, "Client-Edge-Cloud Hierarchical Federated Learning", ICC 2020, Fig. 1.
    Assumes: a client has one edge server, however it fares.
    Deviations: cloud and edge servers are nodes like all others, with a device and data of their own. Clients are shared out
    evenly, in order of their numbers.

    Attributes:
        edge_servers: how many, E; None: √n.
        clustered: whether the clients of an edge server are also wired to each other.

    Raises:
        ScenarioError: ``edge_servers`` leaves no node for the cloud, or a cluster is too large to wire everybody in it.

    Example:
        >>> sorted(Hierarchical(edge_servers=2).build(7, seed=0).edges())
        [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]
    """

    examples = ({}, {"edge_servers": 3, "clustered": True})

    edge_servers: int | None = Field(default=None, ge=1)
    clustered: bool = False

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The tree; ``seed`` changes nothing."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        servers = min(math.isqrt(n), n - 1) if self.edge_servers is None else self.edge_servers
        if servers >= n:
            raise ScenarioError(
                f"topology.edge_servers: {servers} is not allowed: must be below nodes = {n}, for one is the cloud"
            )
        clients = np.arange(servers + 1, n)
        server = 1 + np.arange(len(clients)) * servers // max(len(clients), 1)
        a, b = [np.zeros(servers, np.int64), server], [np.arange(1, servers + 1), clients]
        if self.clustered:
            sizes = np.bincount(server, minlength=1)
            if (sizes**2).sum() > wiring.DENSE_TO**2:
                raise ScenarioError(f"topology.clustered: True is not allowed: clusters of {sizes.max()} have too many links")
            for start, size in zip((np.cumsum(sizes) - sizes).tolist(), sizes.tolist(), strict=True):
                one, other = np.triu_indices(size, 1)
                a.append(clients[start + one])
                b.append(clients[start + other])
        return wiring.from_links(n, np.concatenate(a), np.concatenate(b))
