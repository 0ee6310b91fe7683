"""Who is there, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from decai_sim.world.nodes import Nodes


class Presence:
    """What :class:`~decai_sim.world.nodes.Nodes` knows of every node, the server last, kept up as nodes come and go.

    Args:
        nodes: the world's.

    Attributes:
        here: ``(n + 1,)`` bool: who is online now.
        left_s: ``(n + 1,)`` when each last went offline.
        session: ``(n + 1,)`` how many times each has gone offline.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self.here = np.array(nodes.online)
        self.left_s = np.array(nodes.left_s)
        self.session = np.array(nodes.session)
        # First of all, so that whoever sends when a node comes or goes finds it so.
        nodes.on_offline.insert(0, self._goes)
        nodes.on_online.insert(0, self._comes)

    def alive(self, entries: np.ndarray) -> np.ndarray:
        """``(m,)`` bool: which of these messages, which are there, have not died with one of their ends."""
        dst = entries["dst"]
        alive: np.ndarray = self.here[dst] & (self.left_s[dst] <= entries["sent_s"])
        src, session = entries["src"], entries["session"]
        changed = self.session[src] != session
        if changed.any():
            for i in np.flatnonzero(alive & changed).tolist():
                alive[i] = self._nodes.ended_s[int(src[i])][int(session[i])] >= entries["out_s"][i]
        return alive

    def _goes(self, node: int, began_s: float) -> None:
        self.here[node] = False
        self.left_s[node] = self._nodes.left_s[node]
        self.session[node] = self._nodes.session[node]

    def _comes(self, node: int) -> None:
        self.here[node] = True
