"""Kademlia-like overlays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from decai_sim.world.topologies.base import Topology

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp


class Kademlia(Topology):
    """Nodes have random identifiers and know a few others at every distance, more near than far: what DHTs route on.

    The distance of two identifiers is their XOR, as a number. A node's bucket ``l`` is for those that share its first ``l``
    bits and not the next, and holds up to ``bucket`` of them at random.

    Source: Maymounkov & Mazières, "Kademlia: A Peer-to-peer Information System Based on the XOR Metric", IPTPS 2002, Section 2.
    Assumes: routing tables have filled up, with contacts that are a random sample of those they could hold.
    Deviations: a contact is a link, and links go both ways. ``bucket`` is 20 in the source; fewer here, lest networks of
    hundreds be nearly complete. Identifiers have 62 bits instead of 160, enough for all to differ.

    Attributes:
        bucket: contacts per bucket, the source's k.

    Example:
        >>> Kademlia(bucket=20).build(20, seed=0).number_of_edges()  # everybody has room for everybody
        190
    """

    bucket: int = Field(default=4, ge=1)

    def identifiers(self, n: int, seed: int) -> np.ndarray:
        """``(n,)`` int64, the nodes' identifiers, all different."""
        import numpy as np

        return self._identifiers(n, np.random.default_rng(seed))

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """Everybody's contacts, links both ways."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        generator = np.random.default_rng(seed)
        identifiers = self._identifiers(n, generator)
        node = np.argsort(identifiers)
        ordered = identifiers[node]
        sources, targets = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for shift in range(_BITS - 1, -1, -1):
            # All that share a beginning stand together; the bucket is the other half of those who share a bit less.
            sibling = ordered >> shift ^ 1
            low, high = np.searchsorted(ordered, sibling << shift), np.searchsorted(ordered, (sibling + 1) << shift)
            contacts = wiring.distinct(high - low, self.bucket, generator)
            own, which = np.nonzero(contacts >= 0)
            sources.append(node[own])
            targets.append(node[low[own] + contacts[own, which]])
            if (np.diff(ordered >> shift) > 0).all():
                break
        return wiring.from_links(n, np.concatenate(sources), np.concatenate(targets))

    def _identifiers(self, n: int, generator: np.random.Generator) -> np.ndarray:
        import numpy as np

        made = generator.integers(0, 1 << _BITS, n)
        while len(np.unique(made)) < n:
            made = generator.integers(0, 1 << _BITS, n)
        return made


_BITS = 62
