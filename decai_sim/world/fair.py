"""Access rates and links shared by the transfers under way, max–min fairly: no queues, as many TCP connections come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from decai_sim.world.clock import Clock
    from decai_sim.world.link_rates import Rates


def max_min(
    upload_bps: np.ndarray,
    download_bps: np.ndarray,
    src: np.ndarray,
    dst: np.ndarray,
    link_bps: np.ndarray | float = np.inf,
) -> np.ndarray:
    """Max–min fair rates: nobody's can grow without shrinking one that is as small or smaller.

    Source: Bertsekas & Gallager, "Data Networks" (2nd ed., 1992), section 6.5.2, by progressive filling.

    Args:
        upload_bps: ``(n,)`` access rates of senders, bits per second.
        download_bps: ``(n,)`` those of receivers.
        src: ``(k,)`` who sends, for every transfer.
        dst: ``(k,)`` who receives.
        link_bps: ``(k,)`` what the link from the one to the other carries in all, or one number for all links.

    Returns:
        ``(k,)`` rates, bits per second; ``inf`` where nothing limits.

    Example:
        Two uploads of node 0 and one of node 1, all to node 2, whose download is the narrowest:

        >>> max_min(np.array([4.0, 10, 10]), np.array([9.0, 9, 9]), np.array([0, 0, 1]), np.array([2, 2, 2])).tolist()
        [2.0, 2.0, 5.0]
    """
    # An access link of one direction is one resource, and so is a link with a limit; every transfer uses two or three.
    n, m = len(upload_bps), len(download_bps)
    used, capacity = [src, dst + n], np.concatenate([upload_bps, download_bps])
    if np.isfinite(link_bps).any():
        _, first, index = np.unique(src * m + dst, return_index=True, return_inverse=True)
        used.append(index + n + m)
        capacity = np.concatenate([capacity, np.broadcast_to(link_bps, len(src))[first]])
    ends, index = np.unique(np.concatenate(used), return_inverse=True)
    left = capacity[ends].astype(float)
    uses = index.reshape(len(used), -1)
    rates = np.full(len(src), np.inf)
    rising = np.ones(len(src), dtype=bool)
    while rising.any():
        users = np.bincount(uses[:, rising].ravel(), minlength=len(ends))
        share = np.full(len(ends), np.inf)
        np.divide(left, users, out=share, where=users > 0)
        least = float(share.min())
        if least == np.inf:
            break
        full = share <= least * (1 + 1e-12)
        stops = rising & full[uses].any(axis=0)
        rates[stops] = least
        left -= least * np.bincount(uses[:, stops].ravel(), minlength=len(ends))
        left = np.maximum(left, 0.0)
        rising &= ~stops
    return rates


class FairShare:
    """Transfers under way at once, all at their max–min fair rates, which change whenever one begins or ends.

    Args:
        clock: the world's clock.
        upload_bps, download_bps: ``(n,)`` access rates.
        link_rates: what single links carry; None: as much as their ends.
    """

    def __init__(self, clock: Clock, upload_bps: np.ndarray, download_bps: np.ndarray, link_rates: Rates | None = None) -> None:
        self._clock, self._link_rates = clock, link_rates
        self._rated = np.array([upload_bps, download_bps], dtype=float)
        self._rates = self._rated.copy()
        self._src, self._dst = np.zeros((2, 0), dtype=np.int64)
        self._left_bits, self._bps, self._link_bps = np.zeros((3, 0))
        self._ended: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self._as_of_s = 0.0
        self._turn = 0  # which of the reviews asked for is still wanted
        self._due = False

    def start(self, src: int, dst: int, nbytes: float, done: Callable[[], object], broken: Callable[[], object]) -> None:
        """Begin a transfer; ``done()`` is called when its last byte is sent, or ``broken()`` when one of its ends leaves."""
        n = len(self._rates[0])
        self._advance()
        carries = np.full(1, np.inf)
        if self._link_rates is not None and src % n != dst % n:
            carries = self._link_rates.bps(np.array([src]), np.array([dst]))
        self._src = np.append(self._src, src % n)
        self._dst = np.append(self._dst, dst % n)
        self._left_bits = np.append(self._left_bits, 8.0 * nbytes)
        self._bps = np.append(self._bps, 0.0)
        self._link_bps = np.append(self._link_bps, carries)
        self._ended.append((done, broken))
        self._review()

    def slow(self, node: int, factor: float) -> None:
        """Divide both rates of ``node`` by ``factor``; 1 gives them back."""
        self._advance()
        self._rates[:, node] = self._rated[:, node] / factor
        self._review()

    def leave(self, node: int) -> None:
        """Break all transfers from and to ``node``."""
        node %= len(self._rates[0])
        self._finish((self._src == node) | (self._dst == node), broken=True)

    def _advance(self) -> None:
        now = self._clock.now
        if now > self._as_of_s:
            self._left_bits = np.where(np.isinf(self._bps), 0.0, self._left_bits - self._bps * (now - self._as_of_s))
            self._as_of_s = now

    def _review(self) -> None:
        """Share out anew, once for all that changes at this instant."""
        if not self._due:
            self._due = True
            self._clock.at(self._clock.now, self._share_out)

    def _share_out(self) -> None:
        self._due = False
        self._turn += 1
        if not len(self._src):
            return
        self._bps = max_min(self._rates[0], self._rates[1], self._src, self._dst, self._link_bps)
        with np.errstate(invalid="ignore", divide="ignore"):
            needs_s = np.where(self._left_bits <= 0, 0.0, self._left_bits / self._bps)
        next_s = float(needs_s.min())
        if next_s < float("inf"):
            # By time, not by what is left: a rest of rounding must not need an event of its own.
            done = needs_s <= next_s * (1 + 1e-12)
            self._clock.after(next_s, self._some_end, self._turn, done)

    def _some_end(self, turn: int, done: np.ndarray) -> None:
        if turn == self._turn and not self._due:
            self._finish(done, broken=False)

    def _finish(self, which: np.ndarray, *, broken: bool) -> None:
        if not which.any():
            return
        self._advance()
        calls = [self._ended[i][broken] for i in np.flatnonzero(which)]
        stay = ~which
        self._src, self._dst, self._left_bits, self._bps, self._link_bps = (
            column[stay] for column in (self._src, self._dst, self._left_bits, self._bps, self._link_bps)
        )
        self._ended = [self._ended[i] for i in np.flatnonzero(stay)]
        self._review()
        for call in calls:
            call()
