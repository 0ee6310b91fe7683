"""What failure detectors find, and whether it was so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.world.nodes import Nodes


class Detector:
    """A failure detector at work in a world."""

    def detections(self) -> pd.DataFrame:
        """Who found out about whom, and when; columns as in :meth:`Detections.frame`."""
        raise NotImplementedError

    def trust(self, node: int) -> float:
        """Share of those who watch, and are there, who believe now that ``node`` is there, 0…1."""
        raise NotImplementedError


class Detections:
    """The findings of a failure detector, each compared with the truth at its moment.

    Args:
        nodes: who is really there.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._rows: list[tuple[float, int, int, str, bool, float, bool]] = []
        self._found: set[tuple[int, float]] = set()  # absences

    def record(self, t_s: float, observer: int, node: int, state: str) -> None:
        """``observer`` finds, now, that ``node`` is in ``state`` (``suspect`` or ``dead``)."""
        self.add(t_s, observer, node, state, None if self._nodes.online[node] else self._nodes.left_s[node])

    def add(self, t_s: float, observer: int, node: int, state: str, left_s: float | None) -> None:
        """As :meth:`record`, of a moment that may have passed: ``left_s`` is when ``node`` had left, None if it was there."""
        first = left_s is not None and (node, left_s) not in self._found
        if left_s is None:
            self._rows.append((t_s, observer, node, state, True, float("nan"), first))
            return
        self._found.add((node, left_s))
        self._rows.append((t_s, observer, node, state, False, t_s - left_s, first))

    def frame(self) -> pd.DataFrame:
        """The findings: ``t_s, observer, node, state, wrong, delay_s, first``.

        ``wrong``: the node was there. ``delay_s``: seconds since it had left, NaN if it was there. ``first``: nobody had found
        out about this absence before.
        """
        import pandas as pd

        frame = pd.DataFrame(self._rows, columns=["t_s", "observer", "node", "state", "wrong", "delay_s", "first"])
        types: dict[str, Any] = {"t_s": float, "observer": int, "node": int, "wrong": bool, "delay_s": float, "first": bool}
        return frame.astype(types)
