"""Peer sampling in a world: by messages, among nodes that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.world.overlay.base import Overlay
from decai_sim.world.overlay.cyclon import take_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decai_sim.world.bulk import Arrivals
    from decai_sim.world.world import World

Array = np.ndarray[Any, np.dtype[Any]]

HEADER_BYTES, CONTACT_BYTES = 40, 12
"""Sizes of an empty message, and of each contact in it; ours."""


class LiveCyclon(Overlay):
    """Every period each node that is online shuffles contacts with the one it has known longest, in messages of real size.

    At its turn a node's contacts grow older by one; it sends ``shuffle`` − 1 random ones and itself, new, to the oldest
    (``shuffle``), which sends back ``shuffle`` random ones of its own (``shuffle_reply``). Both fill free places with what they
    did not know, then those of contacts sent away. Who has not answered by the next turn is forgotten: so the dead are found
    out, if nobody renews them. Who comes, or knows nobody any more, begins with one random contact that is online, as a
    bootstrap server would name it, and gets others by shuffling.

    The world's links are the views: each turn brings in what they are then, before anybody shuffles. Links lead from those who
    know to those who are known.

    Source: Voulgaris, Gavidia and van Steen, "CYCLON: Inexpensive Membership Management for Unstructured P2P Overlays",
    Journal of Network and Systems Management 13 (2005): enhanced shuffling.
    Assumes: every node has the bootstrap server's address; asking it costs nothing.
    Deviations: all nodes' periods begin together. Who joins is given one contact, where the paper sends random walks on its
    behalf and so leaves others' in-degrees as they are. Contacts on their way to somebody are sent to others only if there are
    too few else. Sizes of messages are ours: 40 bytes, and 12 for each contact.

    Args:
        world: whose nodes they are.
        views: ``(n, c)`` whom each node knows at first, −1 for nobody.
        ages: ``(n, c)`` periods since each contact was new.
        shuffle: how many contacts are exchanged at a time, at most c.
        period_s: seconds between turns.

    Attributes:
        views, ages: as above, as they are now.
        asked: ``(n,)`` who is yet to answer each node; −1: nobody.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Internet, Mix, World
        >>> from decai_sim.world.topologies import PeerSampling
        >>> world = World(50, Internet(), None, Mix(laptop=1), Streams(1), PeerSampling(period_s=5))
        >>> world.use_links(); world.run(12)
        >>> world.trace.traffic()[["kind", "delivered"]].values.tolist()
        [['shuffle', 100], ['shuffle_reply', 100]]
    """

    kinds = "shuffle", "shuffle_reply"
    """Kinds of its messages, as the trace calls them."""

    def __init__(self, world: World, views: Array, ages: Array, shuffle: int, period_s: float) -> None:
        super().__init__(world, period_s)
        self.views, self.ages, self.shuffle = views, ages, shuffle
        n = world.n
        self.asked = np.full(n, -1)
        self._letter = np.full(n, -1)  # what each node has asked with
        self._draw = world.streams.counter("cyclon")
        self._lies = world.streams.counter("cyclon", "lies")
        self._eclipsed: list[tuple[Array, Array]] = []
        # What letters say, found by number; those of a few periods are kept, far longer than a letter travels.
        self._sent = 0
        self._number = np.full(max(16 * n, 1), -1)
        self._ids = np.full((len(self._number), shuffle), -1)
        self._ids_ages = np.zeros((len(self._number), shuffle), dtype=np.int64)
        self._answers = np.full(len(self._number), -1)  # which letter each one answers; −1: it asks

    def eclipse(self, attackers: Sequence[int] | Array, victims: Sequence[int] | Array) -> None:
        """Let ``attackers`` fill the views of ``victims``; see :class:`~decai_sim.world.adversaries.Eclipse`.

        To a victim they send each other's names, new; to anybody else nobody who is a victim. Besides its own shuffle each of
        them asks one random victim every period.
        """
        theirs = np.zeros(self.world.n, dtype=bool)
        theirs[np.asarray(victims)] = True
        self._eclipsed.append((np.sort(np.asarray(attackers, dtype=np.int64)), theirs))

    def captured(self, nodes: Sequence[int] | Array, by: Sequence[int] | Array) -> float:
        """Share of those ``by`` among the contacts that ``nodes`` know now; not a number where they know nobody."""
        known = self.views[np.asarray(nodes)]
        known = known[known >= 0]
        return float(np.isin(known, by).mean()) if len(known) else float("nan")

    def start(self) -> None:
        """Begin now."""
        world = self.world
        self._box = world.bulk.open(self._arrived, anyone=True)
        world.nodes.on_offline.append(self._goes)
        world.nodes.on_online.append(self._joins)
        super().start()

    def _goes(self, node: int, began_s: float) -> None:
        if node >= 0:
            self.asked[node] = -1

    def _joins(self, node: int) -> None:
        if node >= 0:
            self.views[node], self.ages[node] = -1, 0

    # -- turns ----------------------------------------------------------------------------------------------------------------

    def turn(self, k: int) -> None:
        """Forget who has not answered, name contacts to who has none, bring in the links, and shuffle."""
        if not self.views.shape[1]:
            return
        online = np.array(self.world.nodes.online[: self.world.n])
        silent = np.flatnonzero((self.asked >= 0) & online)
        of_silent = self.views[silent]
        of_silent[of_silent == self.asked[silent, None]] = -1
        self.views[silent] = of_silent
        self.asked[:] = -1
        self._bootstrap(k, online)
        views = self.views.copy()
        self.world.relink(lambda: _links(views), k, views.size)
        self._ask(k, online)

    def _bootstrap(self, k: int, online: Array) -> None:
        there = np.flatnonzero(online)
        lonely = there[(self.views[there] < 0).all(axis=1)]
        if len(lonely) and len(there) > 1:
            drawn = (self._draw.array(-1 - k, lonely) * (len(there) - 1)).astype(np.int64)
            drawn += drawn >= np.searchsorted(there, lonely)
            self.views[lonely, 0], self.ages[lonely] = there[drawn], 0

    def _ask(self, k: int, online: Array) -> None:
        known = self.views >= 0
        who = np.flatnonzero(online & known.any(axis=1))
        self.ages[who] += 1
        oldest = np.where(known[who], self.ages[who], -1).argmax(axis=1)
        asked = self.views[who, oldest]
        numbers = self._new(len(who))
        rank = self._draw.array(numbers[:, None], np.arange(self.views.shape[1]))
        rank[~known[who]] = 2.0
        rank[np.arange(len(who)), oldest] = -1.0  # whose place in the letter is the sender's own
        ids, ages, _ = self._some(who, rank)
        ids[:, 0], ages[:, 0] = who, 0
        self.asked[who], self._letter[who] = asked, numbers
        src, dst = [who], [asked]
        self._write(numbers, -1, who, asked, ids, ages)
        for attackers, victims in self._eclipsed:
            there = attackers[online[attackers]]
            prey = np.flatnonzero(victims & online)
            if len(prey):
                numbers = self._new(len(there))
                dst.append(prey[(self._lies.array(k, there) * len(prey)).astype(np.int64)])
                src.append(there)
                self._write(numbers, -1, there, dst[-1], np.full((len(there), self.shuffle), -1), 0)
        src_, dst_ = np.concatenate(src), np.concatenate(dst)
        self._send(np.full(len(src_), self.world.clock.now), src_, dst_, "shuffle", np.arange(self._sent - len(src_), self._sent))

    def _some(self, nodes: Array, rank: Array) -> tuple[Array, Array, Array]:
        """Contacts of nodes with the lowest ranks, their ages, and their places."""
        places = np.argsort(rank, axis=1)[:, : self.shuffle]
        return self.views[nodes[:, None], places], self.ages[nodes[:, None], places], places

    # -- letters --------------------------------------------------------------------------------------------------------------

    def _new(self, count: int) -> Array:
        """Numbers for that many letters."""
        self._sent += count
        return np.arange(self._sent - count, self._sent)

    def _write(self, numbers: Array, answers: Array | int, src: Array, dst: Array, ids: Array, ages: Array | int) -> None:
        """Keep what letters say until they are read; those of attackers are not what they would honestly be."""
        where = numbers % len(self._number)
        self._number[where], self._answers[where] = numbers, answers
        self._ids[where], self._ids_ages[where] = ids, ages
        for attackers, victims in self._eclipsed:
            theirs = np.zeros(self.world.n, dtype=bool)
            theirs[attackers] = True
            bad = theirs[src]
            hidden = where[bad & ~victims[dst]]
            self._ids[hidden] = np.where(victims[self._ids[hidden]] & (self._ids[hidden] >= 0), -1, self._ids[hidden])
            lies = bad & victims[dst]
            if lies.any():
                # A run of attackers from a random place in a random order: all different.
                order = attackers[np.argsort(self._lies.array(numbers[lies][:, None], np.arange(len(attackers))), axis=1)]
                named = np.full((len(order), self.shuffle), -1)
                named[:, : order.shape[1]] = order[:, : self.shuffle]
                self._ids[where[lies]], self._ids_ages[where[lies]] = named, 0

    def _send(self, t_s: Array, src: Array, dst: Array, kind: str, numbers: Array) -> None:
        nbytes = HEADER_BYTES + CONTACT_BYTES * (self._ids[numbers % len(self._number)] >= 0).sum(axis=1)
        self.world.bulk.send(self._box, t_s, src, dst, nbytes, kind, numbers)

    def _arrived(self, arrivals: Arrivals) -> None:
        """Take letters in, each node one after the other, and answer those that ask."""
        node, letter = arrivals.dst, arrivals.item % len(self._number)
        whole = self._number[letter] == arrivals.item  # not one that was so long under way that it is forgotten
        asks = whole & (self._answers[letter] < 0)
        reply = np.full(len(node), -1)
        reply[asks] = self._new(int(asks.sum()))
        rank = np.full((len(node), self.views.shape[1]), 2.0)
        rank[asks] = self._draw.array(reply[asks][:, None], np.arange(rank.shape[1]))
        for some in _one_each(node):
            some = some[whole[some]]
            asking = asks[some]
            ask, answer = some[asking], some[~asking]
            gives_up_of_asked = self._reply(node[ask], arrivals.item[ask], arrivals.src[ask], reply[ask], rank[ask])
            # An answer to what was asked in an earlier period, or before the node went, comes too late.
            awaited = self.asked[node[answer]] == arrivals.src[answer]
            awaited &= self._letter[node[answer]] == self._answers[letter[answer]]
            answer = answer[awaited]
            gives_up = np.concatenate([gives_up_of_asked, self._settle(node[answer])])
            both = np.concatenate([ask, answer])
            who = node[both]
            known, new = (self.views[who], self.ages[who]), (self._ids[letter[both]], self._ids_ages[letter[both]])
            self.views[who], self.ages[who] = take_in(who, *known, gives_up, *new)
        if asks.any():
            self._send(arrivals.t_s[asks], node[asks], arrivals.src[asks], "shuffle_reply", reply[asks])

    def _reply(self, node: Array, asked_in: Array, to: Array, reply: Array, rank: Array) -> Array:
        """Write what nodes answer; returns whose places in their views may be taken for it, as :func:`take_in` has it."""
        # Last of all who is on its way to somebody else already: what two are sent would be known twice as well.
        known, waits = self.views[node], self.asked[node] >= 0
        own = self._ids[self._letter[node] % len(self._number)]
        rank[(known[:, :, None] == own[:, None, :]).any(axis=2) & waits[:, None]] += 1.0
        rank[(known == self.asked[node, None]) & waits[:, None]] += 1.0
        rank[known < 0] = 3.0
        ids, ages, places = self._some(node, rank)
        self._write(reply, asked_in, node, to, ids, ages)
        gives_up = np.zeros(rank.shape)
        np.put_along_axis(gives_up, places, 4 - np.take_along_axis(rank, places, axis=1), axis=1)
        return gives_up

    def _settle(self, node: Array) -> Array:
        """Nodes have been answered; returns what :meth:`_reply` returns, of the letters that they have asked with."""
        sent, known = self._ids[self._letter[node] % len(self._number)], self.views[node]
        gives_up = np.where((known[:, :, None] == sent[:, None, :]).any(axis=2), 3.0, 0.0)
        gives_up[known == self.asked[node, None]] = 5.0
        self.asked[node] = -1
        return gives_up


def _one_each(node: Array) -> list[Array]:
    """Places of ``node``, so that in each of the lists no node is there twice, and those of one node follow each other."""
    order = np.argsort(node, kind="stable")
    ordered = node[order]
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    nth = np.arange(len(node)) - np.repeat(begins, np.diff(np.append(begins, len(node))))
    return [np.sort(order[nth == turn]) for turn in range(int(nth.max()) + 1)]


def _links(views: Array) -> Any:
    from decai_sim.world.topologies import wiring

    known = views >= 0
    return wiring.from_arrows(len(views), np.nonzero(known)[0], views[known])
