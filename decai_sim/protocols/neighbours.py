"""Whom the nodes of a topology send to, and whom they hear from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import scipy.sparse as sp

    from decai_sim.protocols.base import Lab

Lists = list[list[int]]


class Neighbours:
    """The links of a run's topology, as lists, in rounds that nodes count for themselves.

    Args:
        lab: the run.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._period = lab.topology.period(lab.world.n)
        self._known: dict[int, tuple[Lists, Lists]] = {}

    def __call__(self, number: int) -> tuple[Lists, Lists]:
        """Whom each node sends to in round ``number``, counted from 1, and whom it hears from."""
        key = number - 1 if self._period is None else (number - 1) % self._period
        found = self._known.get(key)
        if found is None:
            if self._period is None:  # nodes that keep in step need few of them at once
                self._known = {past: lists for past, lists in self._known.items() if past > key - 64}
            graph = self._lab.world.contacts_in(key)
            found = self._known[key] = rows(graph), rows(graph.T.tocsr())
        return found


def rows(graph: sp.csr_array) -> Lists:
    """The neighbours of every node, ascending."""
    import numpy as np

    graph.sort_indices()  # type: ignore[no-untyped-call]
    return [part.tolist() for part in np.split(graph.indices, graph.indptr[1:-1])]
