"""What the server believes: nodes are seen through heartbeats, not by omniscience."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from decai_sim.world.clock import Clock
from decai_sim.world.detections import Detections, Detector

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.world.nodes import Nodes

_SERVER = -1


class Listing(Detector):
    """The server's list of nodes, as heartbeats let it see them.

    A node sends a heartbeat when it comes online and every ``interval_s`` after. It is listed from the arrival of its first
    heartbeat until ``patience`` intervals have passed since its last: a vanished node stays listed for a while, and its replies
    never come. With the default of 30 s and 2 (Flower's ``HEARTBEAT_DEFAULT_INTERVAL`` and ``HEARTBEAT_PATIENCE``) that is 30 to
    60 s. The times follow from a node's sessions, so no event is spent on a heartbeat; their few bytes are not counted, and none
    is lost unless the node is muted or the server is down. Heartbeats that are messages, and get lost, are those of
    :class:`~decai_sim.world.heartbeats.Heartbeats`.

    Args:
        delay_s: gives how long each node's heartbeat travels, ``(n,)`` seconds; asked when the first one counts, since nodes may
            be moved before.
        phase_s: ``(n,)`` how long before time 0 the nodes that are online then sent their last heartbeat, seconds.
        interval_s: seconds between heartbeats.
        patience: missed intervals after which a node is struck off.
    """

    def __init__(
        self,
        clock: Clock,
        nodes: Nodes,
        delay_s: Callable[[], np.ndarray],
        phase_s: np.ndarray,
        interval_s: float = 30.0,
        patience: int = 2,
    ) -> None:
        self._clock, self._nodes = clock, nodes
        self._phase_s = phase_s
        self._delays, self._interval_s, self._patience = delay_s, interval_s, patience
        here = np.array(nodes.online[:-1])
        # Whoever is online at time 0 was so before and is known.
        self._from_s = np.where(here, 0.0, math.inf)
        self._until_s = np.full(len(here), math.inf)
        self._muted = np.zeros(len(here), dtype=np.int64)
        self._lapses: list[tuple[float, int]] = []  # when who was, or will be, struck off
        self._lapse: dict[int, int] = {}  # which of them is each node's that may still be called off
        self._absences: dict[int, list[list[float]]] = {}
        nodes.on_online.append(self._came)
        nodes.on_offline.append(self._left)

    @cached_property
    def _delay_s(self) -> np.ndarray:
        return self._delays()

    def mute(self, nodes: Sequence[int] | np.ndarray) -> None:
        """From now on no heartbeat of these ``nodes`` reaches the server, until as many calls of :meth:`unmute` let them."""
        for node in nodes:
            if not self._muted[node] and self._nodes.online[node]:
                self._fall_silent(node, self._nodes.since_s[node])
            self._muted[node] += 1

    def unmute(self, nodes: Sequence[int] | np.ndarray) -> None:
        """Undo one :meth:`mute`: those that nothing else mutes, and that are online, are heard with their next heartbeat."""
        for node in nodes:
            self._muted[node] -= 1
            if not self._muted[node] and self._nodes.online[node]:
                began_s = self._began_s(node, self._nodes.since_s[node])
                beats = math.ceil((self._clock.now - began_s) / self._interval_s)
                self._speak(node, began_s + beats * self._interval_s + self._delay_s[node])

    def _came(self, node: int) -> None:
        if node == _SERVER:
            self.unmute(range(len(self._muted)))
            return
        self._absences.get(node, [[0.0, 0.0]])[-1][1] = self._clock.now
        if not self._muted[node]:
            self._speak(node, self._clock.now + self._delay_s[node])

    def _left(self, node: int, began_s: float) -> None:
        if node == _SERVER:
            self.mute(range(len(self._muted)))
            return
        self._absences.setdefault(node, []).append([self._clock.now, math.inf])
        if not self._muted[node]:
            self._fall_silent(node, began_s)

    def _began_s(self, node: int, began_s: float) -> float:
        return began_s if began_s != 0.0 else -float(self._phase_s[node])

    def _speak(self, node: int, first_s: float) -> None:
        """Heartbeats of ``node`` arrive from ``first_s`` on."""
        now = self._clock.now
        if not self._from_s[node] <= now < self._until_s[node]:
            self._from_s[node] = first_s
        elif node in self._lapse:
            self._lapses[self._lapse[node]] = math.inf, node
        self._until_s[node] = math.inf

    def _fall_silent(self, node: int, began_s: float) -> None:
        """The last heartbeat of ``node`` that arrives is the last one sent before now."""
        began_s = self._began_s(node, began_s)
        beats = math.floor((self._clock.now - began_s) / self._interval_s)
        last_s = began_s + beats * self._interval_s + self._delay_s[node]
        self._until_s[node] = last_s + self._patience * self._interval_s
        self._lapse[node] = len(self._lapses)
        self._lapses.append((float(self._until_s[node]), node))

    def listed(self) -> np.ndarray:
        """Nodes on the list now, ascending."""
        now = self._clock.now
        return np.flatnonzero((self._from_s <= now) & (now < self._until_s))

    def lists(self, node: int) -> bool:
        """Whether ``node`` is on the list now."""
        return bool(self._from_s[node] <= self._clock.now < self._until_s[node])

    def lapses_s(self, node: int) -> float:
        """When ``node`` is struck off if it sends nothing more, virtual seconds; ``inf`` while its heartbeats arrive."""
        return float(self._until_s[node])

    def trust(self, node: int) -> float:
        """1 if ``node`` is on the list, else 0."""
        return float(self.lists(node))

    def detections(self) -> pd.DataFrame:
        """Whom the server has struck off when; columns as in :meth:`~decai_sim.world.detections.Detections.frame`."""
        found = Detections(self._nodes)
        for t_s, node in sorted(self._lapses):
            if t_s <= self._clock.now:
                away = [left_s for left_s, back_s in self._absences.get(node, ()) if left_s <= t_s < back_s]
                found.add(t_s, _SERVER, node, "suspect", away[0] if away else None)
        return found.frame()
