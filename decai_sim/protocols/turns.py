"""What protocols without rounds have in common: somebody is drawn, and trainings are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decai_sim.protocols.neighbours import rows

if TYPE_CHECKING:
    from decai_sim.protocols.peers import Peers


class Turns:
    """Draws neighbours, and makes a record each time the nodes have trained once more on average.

    Args:
        at: the nodes.
    """

    def __init__(self, at: Peers) -> None:
        self._at = at
        self._draw = at.lab.streams.counter("turns")
        self._drawn = [0] * at.n
        self._trained = 0
        self._nodes: set[int] = set()
        at.world.use_links()
        self._graph = at.world.contacts
        self._neighbours = rows(self._graph)

    def uniform(self, node: int) -> float:
        """A number in (0, 1), another each time."""
        self._drawn[node] += 1
        return self._draw(node, self._drawn[node])

    def neighbour(self, node: int) -> int | None:
        """One of the neighbours that are there; None: there is none."""
        at = self._at
        if at.world.contacts is not self._graph:
            self._graph = at.world.contacts
            self._neighbours = rows(self._graph)
        here = [other for other in self._neighbours[node] if at.online[other]]
        return here[int(self.uniform(node) * len(here))] if here else None

    def count(self, node: int) -> None:
        """``node`` has trained once more."""
        at = self._at
        self._trained += 1
        self._nodes.add(node)
        if self._trained == at.n * (len(at.lab.rounds) + 1):
            replied, self._nodes = sorted(self._nodes), set()
            at.record(at.models, max(len(replied), len(at.here())), replied)
