"""Peer sampling: who knows whom, kept fresh by exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import numpy as np
    import scipy.sparse as sp

    Array = np.ndarray[Any, np.dtype[Any]]


class Cyclon:
    """Everybody knows a few others and exchanges some with the one it has known longest; so the dead are found out.

    In a cycle every node p that is online takes one turn, in random order: its contacts grow older by one; it asks the oldest,
    q. If q does not answer, p forgets it. Otherwise p sends ``shuffle`` − 1 random other contacts and itself, new; q sends
    ``shuffle`` random contacts of its own; both fill free places with what they did not know, then those of contacts sent
    away. So links turn round and wander, everybody is known by about as many as it knows, and contacts that nobody renews are
    asked and dropped.

    This is the protocol by itself, without a network; in a world it is :class:`~decai_sim.world.overlay.LiveCyclon`.

    Colluders send only each other, new, whoever asks and whomever they ask, and keep what they are sent for themselves. So the
    others' views fill up with colluders.

    Source: Voulgaris, Gavidia and van Steen, "CYCLON: Inexpensive Membership Management for Unstructured P2P Overlays",
    Journal of Network and Systems Management 13 (2005): enhanced shuffling; Jesi, Hales and van Steen, "Identifying malicious
    peers before it's too late: a decentralized secure peer sampling service" (SASO 2007): colluders, the "hub attack".
    Assumes: a turn is over before the next one of its nodes begins; messages are not lost.
    Deviations: turns of different nodes run at the same time where nobody has to take part in two. Views begin with random
    contacts. A node that knows nobody any more is given random contacts that are online, as by a bootstrap server.

    Args:
        n: number of nodes.
        view: how many others a node knows, c; n − 1 in networks that are smaller.
        shuffle: how many contacts are exchanged at a time, l.
        seed: decides every draw.
        colluding: ``(n,)`` bool, who they are; None: nobody.

    Attributes:
        views: ``(n, view)`` int64, whom each node knows, −1 for nobody; in no order.
        ages: ``(n, view)`` int64, cycles since each contact was new.
        cycles: how many there have been.

    Raises:
        ScenarioError: ``view`` or ``shuffle`` is below 1, or ``shuffle`` above ``view``, or ``colluding`` is not of ``n`` nodes.

    Example:
        >>> import numpy as np
        >>> overlay = Cyclon(100, view=8, shuffle=4)
        >>> online = np.arange(100) < 90  # ten fail
        >>> for _ in range(40): overlay.step(online)
        >>> bool((overlay.views[:90] >= 90).any())  # and are forgotten
        False
    """

    def __init__(self, n: int, view: int = 20, shuffle: int = 8, seed: int = 0, colluding: Array | None = None) -> None:
        import numpy as np

        from decai_sim.world.topologies import wiring

        if view < 1:
            raise ScenarioError(f"view: {view} is not allowed: must be 1 or more")
        if not 1 <= shuffle <= view:
            raise ScenarioError(f"shuffle: {shuffle} is not allowed: must lie in 1…{view} (view = {view})")
        self.n, self.size = n, max(min(view, n - 1), 0)
        self.shuffle = min(shuffle, self.size)
        self.cycles = 0
        self._generator = np.random.default_rng(seed)
        self._colludes = np.zeros(n, bool) if colluding is None else np.array(colluding, bool)
        if self._colludes.shape != (n,):
            raise ScenarioError(f"colluding: shape {self._colludes.shape} is not allowed: must be ({n},)")
        self._lies = np.random.default_rng([seed, 1])  # of its own, so that the honest draw what they would among honest ones
        others = wiring.distinct(np.full(n, max(n - 1, 0)), self.size, self._generator)
        self.views: Array = others + (others >= np.arange(n)[:, None])
        self.ages: Array = np.zeros_like(self.views)

    def csr(self) -> sp.csr_array:
        """``(n, n)`` int8 adjacency matrix, directed: row ``i`` holds whom node ``i`` knows."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        known = self.views >= 0
        return wiring.from_arrows(self.n, np.nonzero(known)[0], self.views[known])

    def captured(self) -> float:
        """Share of colluders among the contacts that honest nodes know; not a number where they know nobody."""
        known = self.views[~self._colludes]
        known = known[known >= 0]
        return float(self._colludes[known].mean()) if len(known) else float("nan")

    def step(self, online: Array | None = None) -> None:
        """One cycle: a turn of everybody who is online.

        Args:
            online: ``(n,)`` bool; None: everybody is.
        """
        import numpy as np

        self.cycles += 1
        there = np.ones(self.n, bool) if online is None else np.asarray(online, bool)
        if self.size == 0 or there.sum() < 2:
            return
        self._bootstrap(there)
        waiting = np.flatnonzero(there)
        self.ages[waiting] += 1
        while len(waiting):
            slots = self._oldest(waiting)
            asked = self.views[waiting, slots]
            silent = (asked < 0) | ~there[asked]
            self.views[waiting[silent], slots[silent]] = -1
            waiting, slots, asked = waiting[~silent], slots[~silent], asked[~silent]
            turn = self._apart(waiting, asked)
            self._exchange(waiting[turn], slots[turn], asked[turn])
            waiting = waiting[~turn]

    def _oldest(self, nodes: Array) -> Array:
        """``(k,)`` place of each node's oldest contact."""
        import numpy as np

        oldest: Array = np.where(self.views[nodes] >= 0, self.ages[nodes], -1).argmax(axis=1)
        return oldest

    def _apart(self, asking: Array, asked: Array) -> Array:
        """Which exchanges can run at once: those that come first, in a random order, at both their ends."""
        import numpy as np

        order = self._generator.permutation(len(asking))
        first = np.full(self.n, len(asking))
        np.minimum.at(first, asking, order)
        np.minimum.at(first, asked, order)
        apart: Array = (first[asking] == order) & (first[asked] == order)
        return apart

    def _exchange(self, p: Array, slot: Array, q: Array) -> None:
        """Shuffles between ``p[k]`` and ``q[k]``; no node is there twice."""
        import numpy as np

        # Who is sent: first the place of the one asked, then random ones, empty places last.
        rank_p, rank_q = self._generator.random((len(p), self.size)), self._generator.random((len(q), self.size))
        rank_p[self.views[p] < 0] = rank_q[self.views[q] < 0] = 2.0
        rank_p[np.arange(len(p)), slot] = -1.0
        sent_p, sent_q = (np.argsort(rank, axis=1)[:, : self.shuffle] for rank in (rank_p, rank_q))
        rows = np.arange(len(p))[:, None]
        to_q, to_p = (self.views[nodes[:, None], sent] for nodes, sent in ((p, sent_p), (q, sent_q)))
        ages_to_q, ages_to_p = (self.ages[nodes[:, None], sent] for nodes, sent in ((p, sent_p), (q, sent_q)))
        self._replace(p, to_q, ages_to_q)
        self._replace(q, to_p, ages_to_p)
        to_q[:, 0], ages_to_q[:, 0] = p, 0  # the place of q itself
        for nodes, sent, rank, new, ages in ((p, sent_p, rank_p, to_p, ages_to_p), (q, sent_q, rank_q, to_q, ages_to_q)):
            gives_up = np.zeros(rank.shape)
            gives_up[rows, sent] = 4 - rank[rows, sent]
            known = self.views[nodes], self.ages[nodes]
            self.views[nodes], self.ages[nodes] = take_in(nodes, *known, gives_up, new, ages)

    def _replace(self, senders: Array, sent: Array, ages: Array) -> None:
        """Put colluders, brand-new, in place of what colluders would send."""
        import numpy as np

        from decai_sim.world.topologies import wiring

        lying = np.flatnonzero(self._colludes[senders])
        if len(lying):
            colluders = np.flatnonzero(self._colludes)
            drawn = wiring.distinct(np.full(len(lying), len(colluders)), sent.shape[1], self._lies)
            named = np.where(drawn >= 0, colluders[drawn], -1)
            sent[lying], ages[lying] = np.where(named == senders[lying, None], -1, named), 0

    def _bootstrap(self, there: Array) -> None:
        import numpy as np

        from decai_sim.world.topologies import wiring

        lonely = np.flatnonzero(there & (self.views < 0).all(axis=1))
        if len(lonely):
            online = np.flatnonzero(there)
            drawn = wiring.distinct(np.full(len(lonely), len(online) - 1), self.size, self._generator)
            drawn += drawn >= np.searchsorted(online, lonely)[:, None]
            self.views[lonely] = np.where(drawn >= 0, online[drawn], -1)
            self.ages[lonely] = 0


def take_in(nodes: Array, old: Array, age: Array, gives_up: Array, new: Array, new_age: Array) -> tuple[Array, Array]:
    """Views after an exchange: what was not known fills free places first, then those of contacts that were sent away.

    Args:
        nodes: ``(k,)`` whose views they are.
        old: ``(k, c)`` whom each knew, −1 for nobody.
        age: ``(k, c)`` their ages.
        gives_up: ``(k, c)`` 0 for contacts to keep, above 1 for those whose places may be taken, the highest first.
        new: ``(k, l)`` whom each was sent, all different, −1 for nobody.
        new_age: ``(k, l)`` their ages.

    Returns:
        ``(k, c)`` views and ages.
    """
    import numpy as np

    known = (new[:, :, None] == old[:, None, :]).any(axis=2)
    new = np.where(known | (new == nodes[:, None]), -1, new)
    standing = np.concatenate([gives_up, np.full(new.shape, 1.0)], axis=1)
    everyone, everyones_age = np.concatenate([old, new], axis=1), np.concatenate([age, new_age], axis=1)
    standing[everyone < 0] = np.inf
    best = np.argsort(standing, axis=1, kind="stable")[:, : old.shape[1]]
    rows = np.arange(len(nodes))[:, None]
    return everyone[rows, best], everyones_age[rows, best]
