"""The record of what happened in virtual time: events and messages, column by column."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

OUTCOMES = ("expired", "delivered", "lost", "offline")
"""How a message can end. One still under way when the run ends counts as ``expired``: nobody waited for it."""


class _Names:
    """Text kept once, referred to by number."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: list[str] = list(names)
        self._codes: dict[str, int] = {name: code for code, name in enumerate(self.names)}

    def code(self, name: str) -> int:
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name)
        return code


class Trace:
    """Append-only columns of events and messages of one run.

    Times are virtual seconds, nodes are numbers from 0 with −1 for the server, sizes are bytes.

    Example:
        >>> trace = Trace()
        >>> trace.event(0.5, 3, "online")
        >>> row = trace.message(1.0, src=-1, dst=3, kind="train", nbytes=100)
        >>> trace.settle(row, 1.2, "delivered")
        >>> trace.messages().outcome.tolist(), len(trace.digest())
        (['delivered'], 64)
    """

    def __init__(self) -> None:
        self._kinds, self._details = _Names(), _Names()
        self._e_t, self._e_node, self._e_kind, self._e_detail = array("d"), array("q"), array("q"), array("q")
        self._m_sent, self._m_delivered = array("d"), array("d")
        self._m_src, self._m_dst, self._m_kind = array("q"), array("q"), array("q")
        self._m_bytes, self._m_outcome = array("q"), array("b")
        self._decisions: list[tuple[int, float, int, str, str]] = []

    def event(self, t_s: float, node: int, kind: str, detail: str = "") -> None:
        """Record that ``kind`` happened at ``node``."""
        self._e_t.append(t_s)
        self._e_node.append(node)
        self._e_kind.append(self._kinds.code(kind))
        self._e_detail.append(self._details.code(detail))

    def decision(self, t_s: float, node: int, kind: str, detail: str = "") -> None:
        """Record what the content of a tensor decided about ``node``, such as that a rule ``rejected`` its update.

        It stands among the events, and not in the digest: the last bits of a tensor depend on the number of threads, what happens
        in the network does not.
        """
        self._decisions.append((len(self._e_t), t_s, node, kind, detail))

    def message(self, t_s: float, *, src: int, dst: int, kind: str, nbytes: int) -> int:
        """Record a message on its way; returns its row for :meth:`settle`."""
        self._m_sent.append(t_s)
        self._m_delivered.append(float("nan"))
        self._m_src.append(src)
        self._m_dst.append(dst)
        self._m_kind.append(self._kinds.code(kind))
        self._m_bytes.append(nbytes)
        self._m_outcome.append(0)
        return len(self._m_sent) - 1

    def settle(self, row: int, t_s: float, outcome: str) -> None:
        """Record how the message of ``row`` ended: one of :data:`OUTCOMES`; ``t_s`` counts for ``delivered`` alone."""
        self._m_outcome[row] = OUTCOMES.index(outcome)
        if outcome == "delivered":
            self._m_delivered[row] = t_s

    @property
    def n_messages(self) -> int:
        """Messages recorded so far."""
        return len(self._m_sent)

    def events(self) -> pd.DataFrame:
        """Events and decisions as a frame, in the order of their recording: ``t_s, node, kind, detail``."""
        import numpy as np
        import pandas as pd

        kinds, details = _Names(self._kinds.names), _Names(self._details.names)
        decided = [(t, node, kinds.code(kind), details.code(detail)) for _, t, node, kind, detail in self._decisions]
        columns = list(zip(*decided, strict=True)) or [()] * 4
        at = [after for after, *_ in self._decisions]
        recorded = (self._e_t, self._e_node, self._e_kind, self._e_detail)
        types = (float, np.int64, np.int64, np.int64)
        t_s, node, kind, detail = (
            np.insert(np.array(mine, dtype=dtype), at, np.array(theirs, dtype=dtype))
            for mine, theirs, dtype in zip(recorded, columns, types, strict=True)
        )
        return pd.DataFrame(
            {"t_s": t_s, "node": node, "kind": _labels(kind, kinds.names), "detail": _labels(detail, details.names)}
        )

    def messages(self) -> pd.DataFrame:
        """Messages as a frame: ``t_sent_s, t_delivered_s, src, dst, kind, bytes, outcome``."""
        import numpy as np
        import pandas as pd

        return pd.DataFrame(
            {
                "t_sent_s": np.array(self._m_sent, dtype=float),
                "t_delivered_s": np.array(self._m_delivered, dtype=float),
                "src": np.array(self._m_src, dtype=np.int64),
                "dst": np.array(self._m_dst, dtype=np.int64),
                "kind": _labels(self._m_kind, self._kinds.names),
                "bytes": np.array(self._m_bytes, dtype=np.int64),
                "outcome": _labels(self._m_outcome, list(OUTCOMES)),
            }
        )

    def digest(self) -> str:
        """SHA-256 (hex) over all events and messages, decisions left out: equal for equal histories."""
        sha = hashlib.sha256()
        for names in (self._kinds.names, self._details.names):
            sha.update("\0".join(names).encode() + b"\1")
        for column in (
            *(self._e_t, self._e_node, self._e_kind, self._e_detail),
            *(self._m_sent, self._m_delivered, self._m_src, self._m_dst, self._m_kind, self._m_bytes, self._m_outcome),
        ):
            sha.update(len(column).to_bytes(8, "little"))
            sha.update(column.tobytes())
        return sha.hexdigest()


def _labels(codes: array[int] | np.ndarray, names: list[str]) -> pd.Series:
    import numpy as np
    import pandas as pd

    numbers = np.array(codes, dtype=np.int64)
    return pd.Series(pd.Categorical.from_codes(numbers, categories=pd.Index(names))).cat.remove_unused_categories()
