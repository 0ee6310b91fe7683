"""The record of what happened in virtual time: events and messages, column by column."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

OUTCOMES = ("expired", "delivered", "lost", "offline")
"""How a message can end. One still under way when the run ends counts as ``expired``: nobody waited for it."""
DELIVERED, LOST, OFFLINE = (OUTCOMES.index(name) for name in ("delivered", "lost", "offline"))

_TRAFFIC = ["kind", "messages", "bytes", "bytes_sent", "delivered", "lost", "offline", "expired", "bytes_delivered"]
_TRAFFIC += ["mean_delay_s", "mean_queued_s", "max_queued_s"]


@dataclass(slots=True)
class _Count:
    """What messages of one kind amount to."""

    sent: int = 0
    nbytes: int = 0
    nbytes_sent: int = 0
    ended: list[int] = field(default_factory=lambda: [0] * len(OUTCOMES))
    nbytes_delivered: int = 0
    delay_s: float = 0.0
    queued: int = 0
    queued_s: float = 0.0
    longest_s: float = 0.0

    def row(self, kind: str) -> dict[str, object]:
        """As :meth:`Trace.traffic` has it."""
        outcomes = dict(zip(OUTCOMES, self.ended, strict=True))
        return {
            "kind": kind,
            "messages": self.sent,
            "bytes": self.nbytes,
            "bytes_sent": self.nbytes_sent,
            **outcomes,
            "expired": self.sent - sum(self.ended[1:]),
            "bytes_delivered": self.nbytes_delivered,
            "mean_delay_s": self.delay_s / outcomes["delivered"] if outcomes["delivered"] else math.nan,
            "mean_queued_s": self.queued_s / self.queued if self.queued else 0.0,
            "max_queued_s": self.longest_s,
        }


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

    Times are virtual seconds, nodes are numbers from 0 with −1 for the server, sizes are bytes. :meth:`traffic` counts every
    message. The rows of messages stay within bounds: whenever there are more than ``max_rows``, every other one is let go, so
    that from then on only every second, then every fourth message has one, and so on; which ones depends on their number alone.

    Args:
        max_rows: most rows of messages to keep; 37 bytes each.

    Example:
        >>> trace = Trace()
        >>> trace.event(0.5, 3, "online")
        >>> number = trace.message(1.0, src=-1, dst=3, kind="train", nbytes=100)
        >>> trace.settle(number, 1.2, "delivered")
        >>> trace.messages().outcome.tolist(), len(trace.digest())
        (['delivered'], 64)
    """

    def __init__(self, max_rows: int = 4_000_000) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows: {max_rows!r} is not allowed: at least 1")
        self.max_rows = max_rows
        self._kinds, self._details = _Names(), _Names()
        self._e_t, self._e_node, self._e_kind, self._e_detail = array("d"), array("q"), array("q"), array("q")
        self._m_sent, self._m_delivered = array("d"), array("d")
        self._m_src, self._m_dst, self._m_kind = array("i"), array("i"), array("i")
        self._m_bytes, self._m_outcome = array("q"), array("b")
        self._decisions: list[tuple[int, float, int, str, str]] = []
        self._sent = 0
        self._every = 1
        self._counts: dict[int, _Count] = defaultdict(_Count)  # by code of kind
        self._open: dict[int, tuple[int, int, float]] = {}  # what settle() has to know of messages without a row, perhaps

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

    def code(self, kind: str) -> int:
        """The number that stands for ``kind`` in what follows."""
        return self._kinds.code(kind)

    def message(self, t_s: float, *, src: int, dst: int, kind: str, nbytes: int) -> int:
        """Record a message on its way; returns its number for :meth:`settle`."""
        code = self._kinds.code(kind)
        number = self.out(t_s, src, dst, code, nbytes)
        self.set_out(code, nbytes)
        self._open[number] = code, nbytes, t_s
        return number

    def settle(self, number: int, t_s: float, outcome: str) -> None:
        """Record how a message ended: one of :data:`OUTCOMES`; ``t_s`` counts for ``delivered`` alone."""
        ended = OUTCOMES.index(outcome)
        self.settled(number, t_s, ended, *self._open.pop(number))

    def out(self, t_s: float, src: int, dst: int, code: int, nbytes: int) -> int:
        """As :meth:`message`, for those who can tell :meth:`settled` all about it."""
        number = self._sent
        self._sent += 1
        count = self._counts[code]
        count.sent += 1
        count.nbytes += nbytes
        if number % self._every == 0:
            self._m_sent.append(t_s)
            self._m_delivered.append(math.nan)
            self._m_src.append(src)
            self._m_dst.append(dst)
            self._m_kind.append(code)
            self._m_bytes.append(nbytes)
            self._m_outcome.append(0)
            self._thin_out()
        return number

    def set_out(self, code: int, nbytes: int) -> None:
        """Count bytes of that kind that a sender sets out to send: a message's, some of its, or the same once more."""
        self._counts[code].nbytes_sent += nbytes

    def settled(self, number: int, t_s: float, outcome: int, code: int, nbytes: int, sent_s: float) -> None:
        """As :meth:`settle`: the outcome by its place in :data:`OUTCOMES`, and what was said when it was sent."""
        count = self._counts[code]
        count.ended[outcome] += 1
        if outcome == DELIVERED:
            count.nbytes_delivered += nbytes
            count.delay_s += t_s - sent_s
        row, without = divmod(number, self._every)
        if not without:
            self._m_outcome[row] = outcome
            if outcome == DELIVERED:
                self._m_delivered[row] = t_s

    def many_out(
        self,
        t_s: np.ndarray,
        src: np.ndarray,
        dst: np.ndarray,
        code: np.ndarray | int,
        nbytes: np.ndarray,
        *,
        set_out: bool = True,
    ) -> int:
        """As :meth:`out`, of many messages, ``(m,)`` each or one ``code`` for all; returns the first one's number.

        Unless ``set_out`` is False their bytes are counted as by :meth:`set_out` too.
        """
        import numpy as np

        first, m = self._sent, len(t_s)
        self._sent += m
        for kind, n, total in _per_kind(code, nbytes):
            count = self._counts[kind]
            count.sent += n
            total = int(total)
            count.nbytes += total
            if set_out:
                count.nbytes_sent += total
        rows = slice(-first % self._every, None, self._every)
        kinds = np.full(m, code) if isinstance(code, int) else code
        columns = t_s, np.full(m, math.nan), src, dst, kinds, nbytes, np.zeros(m, dtype=np.int8)
        for column, values in zip(self._message_columns(), columns, strict=True):
            column.frombytes(np.ascontiguousarray(values[rows], dtype=column.typecode).view(np.uint8).data)
        self._thin_out()
        return first

    def many_settled(
        self, number: np.ndarray, t_s: np.ndarray, outcome: int, code: np.ndarray | int, nbytes: np.ndarray, sent_s: np.ndarray
    ) -> None:
        """As :meth:`settled`, of many messages with one outcome; ``(m,)`` each, or one ``code`` for all."""
        import numpy as np

        if not len(number):
            return
        if outcome == DELIVERED:
            for kind, n, total, delay_s in _per_kind(code, nbytes, t_s - sent_s):
                count = self._counts[kind]
                count.ended[outcome] += n
                count.nbytes_delivered += int(total)
                count.delay_s += float(delay_s)
        else:
            for kind, n, _ in _per_kind(code, nbytes):
                self._counts[kind].ended[outcome] += n
        rows = number
        if self._every > 1:
            here = number % self._every == 0
            rows, t_s = number[here] // self._every, t_s[here]
        np.frombuffer(self._m_outcome, dtype=np.int8)[rows] = outcome
        if outcome == DELIVERED:
            np.frombuffer(self._m_delivered)[rows] = t_s

    def waited(self, code: int, n: int, total_s: float, longest_s: float) -> None:
        """Count that ``n`` messages waited in queues, for so long in all and at most; ``n`` 0: no message of its own."""
        count = self._counts[code]
        count.queued += n
        count.queued_s += total_s
        if longest_s > count.longest_s:
            count.longest_s = longest_s

    def many_waited(self, code: np.ndarray | int, seconds: np.ndarray, *, again: bool = False) -> None:
        """As :meth:`waited`, of many messages, ``(m,)`` each; ``again``: they have been counted in another queue."""
        for kind, mine in by_kind(code):
            own = seconds[mine]
            self.waited(kind, 0 if again else len(own), float(own.sum()), float(own.max()))

    def _thin_out(self) -> None:
        """Let every other row go while there are too many."""
        while len(self._m_sent) > self.max_rows:
            self._every *= 2
            for column in self._message_columns():
                column[:] = column[::2]

    def _message_columns(self) -> tuple[array[Any], ...]:
        return (
            *(self._m_sent, self._m_delivered, self._m_src, self._m_dst),
            *(self._m_kind, self._m_bytes, self._m_outcome),
        )

    @property
    def n_messages(self) -> int:
        """Messages so far."""
        return self._sent

    @property
    def every(self) -> int:
        """Every how manieth message has a row: 1 until there are ``max_rows``, then a power of 2."""
        return self._every

    def traffic(self) -> pd.DataFrame:
        """What all messages of each kind amount to, whether they have a row or not.

        Returns:
            ``kind, messages, bytes, bytes_sent, delivered, lost, offline, expired, bytes_delivered, mean_delay_s, mean_queued_s,
            max_queued_s``, sorted by kind: ``bytes`` are those of all messages, each counted once, ``bytes_sent`` those that
            their senders set out to send, again and again if they were lost (and fewer where a message in chunks was given up
            before its last); the mean time from sending to delivery of those delivered, the mean time in queues of those that got
            into one, and the longest time in a single queue.
        """
        import pandas as pd

        names = self._kinds.names
        rows = [count.row(names[code]) for code, count in sorted(self._counts.items(), key=lambda item: names[item[0]])]
        return pd.DataFrame(rows, columns=_TRAFFIC)

    def many_events(self, t_s: np.ndarray, node: np.ndarray, kind: str, details: Sequence[str]) -> None:
        """As :meth:`event`, of many nodes; ``(k,)`` each, ``details`` too."""
        self._e_t.frombytes(t_s.astype("d").tobytes())
        self._e_node.frombytes(node.astype("q").tobytes())
        self._e_kind.extend(array("q", (self._kinds.code(kind),)) * len(t_s))
        self._e_detail.extend(map(self._details.code, details))

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
        """Messages as a frame: ``t_sent_s, t_delivered_s, src, dst, kind, bytes, outcome``.

        ``attrs["every"]`` says every how manieth message is in it: see :attr:`every`.
        """
        import numpy as np
        import pandas as pd

        frame = pd.DataFrame(
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
        frame.attrs["every"] = self._every
        return frame

    def digest(self) -> str:
        """SHA-256 (hex) over all events and messages, decisions left out: equal for equal histories.

        Messages without a row are in it by their numbers and bytes, by kind and outcome.
        """
        sha = hashlib.sha256()
        for codes, names in ((self._e_kind, self._kinds), (self._e_detail, self._details), (self._m_kind, self._kinds)):
            used, ranks = _ranked(codes, names.names)
            sha.update("\0".join(used).encode() + b"\1" + ranks)
        others: list[array[Any]] = [self._e_t, self._e_node]
        others += [column for column in self._message_columns() if column is not self._m_kind]
        for column in others:
            sha.update(len(column).to_bytes(8, "little"))
            sha.update(column.tobytes())
        if self._every > 1:  # sums of seconds stay out: their last bits depend on how many were added at once
            for code, count in sorted(self._counts.items(), key=lambda item: self._kinds.names[item[0]]):
                said = self._kinds.names[code], count.sent, count.nbytes, count.ended, count.nbytes_delivered
                sha.update(repr(said).encode())
        return sha.hexdigest()


def _ranked(codes: array[int], names: list[str]) -> tuple[list[str], bytes]:
    """The names that are used, sorted, and every code's place among them: who taught the trace a name first is no history."""
    import numpy as np

    numbers = np.array(codes, dtype=np.int64)
    used = sorted(np.unique(numbers).tolist(), key=names.__getitem__)
    rank = np.zeros(len(names), dtype=np.int32)
    rank[used] = np.arange(len(used))
    return [names[code] for code in used], rank[numbers].tobytes()


def _labels(codes: array[int] | np.ndarray, names: list[str]) -> pd.Series:
    import numpy as np
    import pandas as pd

    numbers = np.array(codes, dtype=np.int64)
    return pd.Series(pd.Categorical.from_codes(numbers, categories=pd.Index(names))).cat.remove_unused_categories()


def _per_kind(code: np.ndarray | int, *columns: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """The kinds among ``code``, ``(m,)`` or one for all: how many there are of each, and the sums of their ``columns``."""
    import numpy as np

    if isinstance(code, int):
        yield code, len(columns[0]), *(column.sum() for column in columns)
        return
    many = np.bincount(code)
    kinds = np.flatnonzero(many)
    if len(kinds) == 1:
        yield int(kinds[0]), len(code), *(column.sum() for column in columns)
        return
    # Bytes as well: sums below 2**53 are exact.
    sums = (np.bincount(code, column)[kinds].tolist() for column in columns)
    yield from zip(kinds.tolist(), many[kinds].tolist(), *sums, strict=True)


def by_kind(code: np.ndarray | int) -> Iterator[tuple[int, Any]]:
    """The kinds among ``code``, ``(m,)`` or one for all, and what picks out those of each."""
    import numpy as np

    if isinstance(code, int):
        yield code, slice(None)
        return
    if len(code) and (code == code[0]).all():
        yield int(code[0]), slice(None)
        return
    for kind in np.unique(code).tolist():
        yield kind, code == kind
