"""Sending: one event a message, every byte accounted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from decai_sim.trace import Trace
from decai_sim.world.clock import Clock

if TYPE_CHECKING:
    from decai_sim.world.network import Paths
    from decai_sim.world.nodes import Nodes


class Links:
    """Moves messages between nodes.

    A message waits for its turn in the sender's upload queue (first in, first out), is transmitted at the slower of the two
    access rates and arrives one latency later. A fast sender's queue is busy only as long as its own rate needs: a server feeds
    many slow receivers at once. The message dies if it is lost on the way, if its sender vanishes before the last byte is out,
    or if its receiver goes meanwhile or is not there when it arrives.
    """

    def __init__(self, clock: Clock, paths: Paths, nodes: Nodes, trace: Trace) -> None:
        self._clock, self._paths, self._nodes, self._trace = clock, paths, nodes, trace
        self._up_s_per_byte = (8 / paths.upload_bps).tolist()
        self._down_s_per_byte = (8 / paths.download_bps).tolist()
        self._upload_free_s = [0.0] * len(paths.upload_bps)
        self._sent: dict[tuple[int, int], int] = {}
        self.bytes_up = [0] * len(paths.upload_bps)
        """Bytes each node set out to send, the server's last."""
        self.bytes_down = [0] * len(paths.upload_bps)
        """Bytes each node received, the server's last."""
        nodes.on_offline.append(self._hang_up)

    def _hang_up(self, node: int, began_s: float) -> None:
        self._upload_free_s[node] = 0.0  # what was still queued has died

    def send(self, src: int, dst: int, nbytes: int, kind: str, deliver: Callable[..., object], *args: Any) -> None:
        """Send ``nbytes`` from ``src`` to ``dst``; on arrival ``deliver(*args)`` is called, or never.

        Args:
            src: sending node, −1 for the server.
            dst: receiving node, −1 for the server.
            nbytes: size on the wire, bytes.
            kind: what the trace calls it.
            deliver: called at the arrival time.
            args: its arguments.
        """
        now = self._clock.now
        k = self._sent.get((src, dst), 0)
        self._sent[src, dst] = k + 1
        row = self._trace.message(now, src=src, dst=dst, kind=kind, nbytes=nbytes)
        self.bytes_up[src] += nbytes
        if not self._nodes.online[src]:
            self._trace.settle(row, now, "offline")
            return

        start = max(now, self._upload_free_s[src])
        self._upload_free_s[src] = start + nbytes * self._up_s_per_byte[src]
        out = start + nbytes * max(self._up_s_per_byte[src], self._down_s_per_byte[dst])
        arrival = out + self._paths.latency_s(src, dst, k)
        if self._paths.loses(src, dst, k):
            self._trace.settle(row, arrival, "lost")
            return
        session = self._nodes.session
        self._clock.at(arrival, self._arrive, row, src, session[src], out, dst, session[dst], nbytes, deliver, args)

    def _arrive(
        self,
        row: int,
        src: int,
        session: int,
        out_s: float,
        dst: int,
        receiving: int,
        nbytes: int,
        deliver: Callable[..., object],
        args: tuple[Any, ...],
    ) -> None:
        nodes = self._nodes
        cut_off = nodes.session[src] != session and nodes.ended_s[src][session] < out_s
        if cut_off or not nodes.online[dst] or nodes.session[dst] != receiving:
            self._trace.settle(row, self._clock.now, "offline")
            return
        self._trace.settle(row, self._clock.now, "delivered")
        self.bytes_down[dst] += nbytes
        deliver(*args)
