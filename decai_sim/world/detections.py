"""What failure detectors find, and whether it was so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.world.nodes import Nodes


class Detections:
    """The findings of a failure detector, each compared with the truth at its moment.

    Args:
        nodes: who is really there.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._rows: list[tuple[float, int, int, str, bool, float, bool]] = []
        self._found: set[tuple[int, int]] = set()

    def record(self, t_s: float, observer: int, node: int, state: str) -> None:
        """``observer`` finds, now, that ``node`` is in ``state`` (``suspect`` or ``dead``)."""
        there = self._nodes.online[node]
        absence = node, self._nodes.session[node]
        first = not there and absence not in self._found
        if first:
            self._found.add(absence)
        delay_s = float("nan") if there else t_s - self._nodes.left_s[node]
        self._rows.append((t_s, observer, node, state, there, delay_s, first))

    def frame(self) -> pd.DataFrame:
        """The findings: ``t_s, observer, node, state, wrong, delay_s, first``.

        ``wrong``: the node was there. ``delay_s``: seconds since it had left, NaN if it was there. ``first``: nobody had found
        out about this absence before.
        """
        import pandas as pd

        frame = pd.DataFrame(self._rows, columns=["t_s", "observer", "node", "state", "wrong", "delay_s", "first"])
        types: dict[str, Any] = {"t_s": float, "observer": int, "node": int, "wrong": bool, "delay_s": float, "first": bool}
        return frame.astype(types)
