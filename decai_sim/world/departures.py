"""How very many messages leave at once: through their senders' queues and onto their links, or not at all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakSet
from zlib import crc32

import numpy as np

from decai_sim.trace import LOST, OFFLINE, Trace, by_kind
from decai_sim.world.calendar import ARRIVES, REACHES, entries, those
from decai_sim.world.links import LEAST_RTO_S, TABLE
from decai_sim.world.sending import Relays, Sending
from decai_sim.world.transfers import Transfer
from decai_sim.world.turns import turns
from decai_sim.world.walks import Walks

if TYPE_CHECKING:
    from decai_sim.world.links import Links
    from decai_sim.world.presence import Presence
    from decai_sim.world.wiring import Wiring


_UNWIRED = 1 << 40
"""What in the places of links tells those apart that no wiring has prepared."""


class Departures:
    """Does to messages side by side what :meth:`Links.send` does to each.

    What it does to single ones is done by :class:`Links` itself: to those that are sent again, to messages larger than a chunk
    from their second chunk on, and to all where rates are shared.

    Args:
        env: the clock's environment.
        links, trace: the world's.
        presence: who is there.
        arrived: called with mailbox, sender, receiver, size, item and kind of what arrives by itself.

    Attributes:
        names: of kinds, by their codes.
        relays: what is passed on for others, by mailbox.
        promised_s: what no message takes less than.
    """

    def __init__(self, env: Any, links: Links, trace: Trace, presence: Presence, arrived: Callable[..., object]) -> None:
        self._env, self._links, self._trace, self._presence, self._arrived = env, links, trace, presence, arrived
        self.names: dict[int, str] = {}
        self._single: WeakSet[Transfer] = WeakSet()
        self.relays: list[Relays | None] = []
        self.promised_s = 0.0
        paths = links.paths
        self._singly = paths.queueing == "fair"
        self._queue_bytes = paths.queue_bytes if math.isfinite(paths.queue_bytes) else None
        self._chunk_bytes = links.chunk_bytes
        # What has reached its receiver may still have to be sent again: by which way, is remembered then.
        self._remembers = links.both and self._queue_bytes is not None and paths.retransmit > 0
        # Where losses come in bursts, those of a link that no wiring has prepared do, too.
        start = lambda src, dst: (links.place.array(src, dst, _UNWIRED) * TABLE).astype(np.int64)  # noqa: E731
        self._walks = Walks(start, len(presence.here), TABLE) if paths.loss is not None and paths.loss.memory else None
        self._ways: list[tuple[Wiring | None, float, bool]] = []
        self._way: dict[tuple[int, float, bool], int] = {}

    def single(self) -> Iterator[tuple[int, int]]:
        """Mailbox and item of every message that travels by itself and may still arrive."""
        for transfer in self._single:
            if not transfer.over:
                box, _, _, _, item, _ = transfer.args
                yield box, item

    def places(self, m: int) -> np.ndarray:
        """``(m,)`` places among what happens at one instant."""
        first = next(self._env._eid)
        self._env._eid = itertools.count(first + m)
        places: np.ndarray = first + np.arange(m)
        return places

    def leave(self, sending: Sending) -> Iterator[np.ndarray]:
        """Let messages leave; yields the entries of those that are on their way.

        Raises:
            RuntimeError: one will be there before now.
        """
        if None in sending.wirings:
            self._look_up(sending)
        nbytes = sending.column("nbytes")
        first = self._trace.many_out(
            sending.t_s, sending.src, sending.dst, sending.code, nbytes, set_out=not self._singly and self._chunk_bytes is None
        )
        number = np.arange(first, first + len(sending))
        if self._singly:
            for transfer, _ in self._transfers(sending, number):
                self._links.begin(transfer)
            return
        here = self._presence.here[sending.src]
        there_are = bool(here.all())
        sizes = nbytes
        if self._chunk_bytes is not None:
            sizes = np.where(here, np.minimum(nbytes, self._chunk_bytes), nbytes)
            for kind, mine in by_kind(sending.code):
                self._trace.set_out(kind, int(sizes[mine].sum()))
        np.add.at(self._links.uploaded, sending.src.astype(np.int64, copy=False), sizes)
        if not there_are:
            gone = sending.those(~here)
            self._trace.many_settled(number[~here], gone.t_s, OFFLINE, gone.code, nbytes[~here], gone.t_s)
            sending, number = sending.those(here), number[here]
            if not len(sending):
                return
        yield self._transmit(sending, number, self._draws(sending))

    def _transmit(self, sending: Sending, number: np.ndarray, place: np.ndarray) -> np.ndarray:
        links = self._links
        latency = self._latency(sending, place)
        dies = links.lost[place] | (latency == np.inf)
        if links.groups is not None:
            dies |= links.groups[sending.src] != links.groups[sending.dst]

        t_s, src, dst, size = sending.t_s, sending.src, sending.dst, sending.column("nbytes")
        if self._chunk_bytes is not None:
            size = np.minimum(size, self._chunk_bytes)
        both = links.both  # they have to queue at their receivers too
        s_per_byte = links.up_s[src]
        own = size * s_per_byte
        wide = own if both else np.maximum(own, size * links.down_s[dst])
        longest_s = None if self._queue_bytes is None else self._queue_bytes * s_per_byte
        start = turns(t_s, own, src, links.upload_free_s, longest_s)
        if longest_s is not None and np.isnan(start).any():
            enters = ~np.isnan(start)
            self._drop(sending.those(~enters), number[~enters], place[~enters])
            sending, number, place = sending.those(enters), number[enters], place[enters]
            latency, dies, start, size, wide = (column[enters] for column in (latency, dies, start, size, wide))
            t_s = sending.t_s
            if not len(t_s):
                return entries(t_s=t_s)
        begins, out = start, start + wide
        if links.capacities is not None:
            slot = self._slots(sending)
            passing_s = size * links.capacities.s_per_byte[slot]
            begins = turns(start, passing_s, slot, links.capacities.free_s)
            out = np.maximum(out, begins + passing_s)
        self._trace.many_waited(sending.code, start - t_s)
        reaches = (begins if both else out) + latency
        self._keep_promises(sending, reaches)
        made = entries(
            t_s=reaches,
            place=self.places(len(sending)),
            stage=REACHES if both else ARRIVES,
            box=sending.box,
            src=sending.src,
            dst=sending.dst,
            kind=sending.code,
            item=sending.item,
            nbytes=sending.nbytes,
            number=number,
            sent_s=t_s,
            out_s=out,
            session=self._presence.session[sending.src],
            link=sending.link,
            via=self._remembered(sending) if self._remembers else 0,
        )
        by_itself = dies
        if self._chunk_bytes is not None:
            large = sending.column("nbytes") > self._chunk_bytes
            if large.any():
                self._go_on(sending.those(large), number[large], place[large], out[large], reaches[large], dies[large])
                by_itself, dies = dies | large, dies & ~large
        if dies.any():
            if links.paths.retransmit:
                self._again(sending.those(dies), number[dies], place[dies], out[dies], queued=True)
            else:
                self._lost(sending.those(dies), number[dies])
        return those(made, ~by_itself) if by_itself.any() else made

    def _look_up(self, sending: Sending) -> None:
        """Find latencies, and places in the tables of jitter and loss, of what goes along no wiring."""
        paths, place = self._links.paths, self._links.place
        which: Any = slice(None) if len(sending.wirings) == 1 else sending.wiring == sending.wirings.index(None)
        src, dst, t_s, item, code = sending.src[which], sending.dst[which], sending.t_s[which], sending.item[which], sending.code
        base_s = paths.bases_s(src, dst)
        if self._walks is not None:
            self._found(sending, which, base_s, np.zeros(len(src), dtype=np.int64))  # until they leave
            return
        # By the kind's name: its code depends on what the trace has been told of before.
        if isinstance(code, int):
            named: Any = crc32(self.names[code].encode())
        else:
            of_codes = np.zeros(max(self.names) + 1, dtype=np.int64)
            kinds = list(self.names)
            of_codes[kinds] = [crc32(self.names[kind].encode()) for kind in kinds]
            named = of_codes[code[which]]
        places = (place.array(src, dst, item, named, np.ascontiguousarray(t_s).view(np.int64)) * TABLE).astype(np.int64)
        self._found(sending, which, base_s, places)

    @staticmethod
    def _found(sending: Sending, which: Any, base_s: np.ndarray, places: np.ndarray) -> None:
        if isinstance(which, slice):
            sending.base_s, sending.link = base_s, places
        else:
            sending.base_s[which], sending.link[which] = base_s, places

    def _latency(self, sending: Sending, place: np.ndarray) -> np.ndarray:
        links, src, dst, code = self._links, sending.src, sending.dst, sending.code
        latency: np.ndarray = sending.base_s * (links.stretch[place] * links.lags[src] * links.lags[dst]) + sending.longer_s
        for hold_up in links.tamper:
            for kind, mine in by_kind(code):
                latency[mine] += hold_up(src[mine], dst[mine], self.names[kind])
        if links.tamper_relayed:
            relayed = np.flatnonzero(self._relayed(sending))
            for hold_up in links.tamper_relayed:
                for kind, mine in by_kind(sending.column("code")[relayed]):
                    these = relayed[mine]
                    latency[these] += hold_up(src[these], dst[these], self.names[kind])
        return latency

    def _relayed(self, sending: Sending) -> np.ndarray:
        """Which of them their senders pass on for others; ``(m,)`` bool."""
        found = np.zeros(len(sending), dtype=bool)
        code, src, item = sending.column("code"), sending.src, sending.item
        for box, mine in by_kind(sending.box):
            relays = self.relays[box]
            if relays is not None:
                found[mine] = relays(code[mine], src[mine], item[mine])
        return found

    def _draws(self, sending: Sending) -> np.ndarray:
        """Where in the tables of jitter and loss each of them is found."""
        if len(sending.wirings) == 1:
            wiring = sending.wirings[0]
            if wiring is None and self._walks is not None:
                sending.link = self._walks.advance(sending.src, sending.dst)
            alike: np.ndarray = sending.link if wiring is None else wiring.advance(sending.link)
            return alike
        places: np.ndarray = sending.link.copy()
        for i, wiring in enumerate(sending.wirings):
            mine = sending.wiring == i
            if wiring is not None:
                places[mine] = wiring.advance(sending.link[mine])
            elif self._walks is not None:
                sending.link[mine] = places[mine] = self._walks.advance(sending.src[mine], sending.dst[mine])
        return places

    def _slots(self, sending: Sending) -> np.ndarray:
        """Where the capacities of their links are found."""
        assert self._links.capacities is not None
        wiring = sending.wirings[0]
        if len(sending.wirings) == 1 and wiring is not None and wiring.slot is not None:
            slots: np.ndarray = wiring.slot[sending.link]
            return slots
        return self._links.capacities.slots(sending.src, sending.dst)

    def _keep_promises(self, sending: Sending, next_s: np.ndarray) -> None:
        now = self._env._now
        if next_s.min() < now:
            kinds = {repr(self.names[kind]) for kind in sending.column("code")[next_s < now].tolist()}
            names = ", ".join(sorted(kinds))
            raise RuntimeError(f"{names}: a message takes less than the {self.promised_s:g} s that were promised")

    # -- one by one -----------------------------------------------------------------------------------------------------------

    def dropped(self, heads: np.ndarray, t_s: np.ndarray) -> None:
        """Deal with what full download queues dropped.

        Args:
            heads: the entries.
            t_s: ``(m,)`` when.
        """
        if not self._remembers:
            number, kind, nbytes, sent_s = (heads[name] for name in ("number", "kind", "nbytes", "sent_s"))
            self._trace.many_settled(number, t_s, LOST, kind, nbytes, sent_s)
            return
        for head, at_s in zip(heads.tolist(), t_s.tolist(), strict=True):
            one = dict(zip(heads.dtype.names or (), head, strict=True))
            wiring, longer_s, relayed = self._ways[one["via"]]
            if wiring is None:
                cursors, link = [one["link"]], 0
                base_s = float(self._links.paths.bases_s(np.array([one["src"]]), np.array([one["dst"]]))[0])
            else:
                cursors, link, base_s = wiring.cursor, one["link"], float(wiring.base_s[one["link"]])
            names = "number", "sent_s", "src", "dst", "nbytes", "kind", "item", "box"
            said = [*(one[name] for name in names), base_s, longer_s, relayed]
            transfer = self._transfer(*said)
            self._links.again(transfer, cursors, link, one["out_s"], queued=True, least_s=at_s + LEAST_RTO_S)

    def _remembered(self, sending: Sending) -> np.ndarray:
        relayed = self._relayed(sending) if self._links.tamper_relayed else np.zeros(len(sending), dtype=bool)
        columns = sending.column("wiring").tolist(), sending.column("longer_s").tolist(), relayed.tolist()
        ways = []
        for wiring, *rest in zip(*columns, strict=True):
            way = sending.wirings[wiring], *rest
            number = self._way.setdefault((id(way[0]), *rest), len(self._ways))
            if number == len(self._ways):
                self._ways.append(way)
            ways.append(number)
        return np.array(ways)

    def _drop(self, sending: Sending, number: np.ndarray, place: np.ndarray) -> None:
        """Their senders' queues are full."""
        if self._links.paths.retransmit:
            self._again(sending, number, place, sending.t_s, queued=False)
        else:
            self._lost(sending, number)

    def _lost(self, sending: Sending, number: np.ndarray) -> None:
        nbytes = sending.column("nbytes")
        self._trace.many_settled(number, sending.t_s, LOST, sending.code, nbytes, sending.t_s)

    def _again(self, sending: Sending, number: np.ndarray, place: np.ndarray, since_s: np.ndarray, *, queued: bool) -> None:
        for (transfer, way), begun_s in zip(self._on_their_ways(sending, number, place), since_s.tolist(), strict=True):
            self._links.again(transfer, *way, begun_s, queued=queued)

    def _go_on(
        self, sending: Sending, number: np.ndarray, place: np.ndarray, out: np.ndarray, reaches: np.ndarray, dies: np.ndarray
    ) -> None:
        self._keep_promises(sending, out)
        columns = out.tolist(), reaches.tolist(), dies.tolist()
        for (transfer, way), out_s, reaches_s, lost in zip(self._on_their_ways(sending, number, place), *columns, strict=True):
            self._links.go_on(transfer, *way, out_s, reaches_s, dies=lost)

    def _on_their_ways(
        self, sending: Sending, number: np.ndarray, place: np.ndarray
    ) -> Iterator[tuple[Transfer, tuple[Any, int]]]:
        """Each with the tables' cursors and which of them it moves on."""
        for i, (transfer, wiring) in enumerate(self._transfers(sending, number)):
            yield transfer, ([int(place[i])], 0) if wiring is None else (wiring.cursor, int(sending.link[i]))

    def _transfers(self, sending: Sending, number: np.ndarray) -> Iterator[tuple[Transfer, Wiring | None]]:
        names = "t_s", "src", "dst", "nbytes", "code", "item", "box", "base_s", "longer_s"
        relayed = self._relayed(sending) if self._links.tamper_relayed else np.zeros(len(sending), dtype=bool)
        columns = number, *(sending.column(name) for name in names), relayed, sending.column("wiring")
        for *said, wiring in zip(*(column.tolist() for column in columns), strict=True):
            yield self._transfer(*said), sending.wirings[wiring]

    def _transfer(
        self,
        number: int,
        sent_s: float,
        src: int,
        dst: int,
        nbytes: int,
        code: int,
        item: int,
        box: int,
        base_s: float,
        longer_s: float,
        relayed: bool,
    ) -> Transfer:
        args = box, src, dst, nbytes, item, code
        kind = self.names[code]
        transfer = Transfer(self._links, number, sent_s, src, dst, nbytes, code, kind, self._arrived, args, longer_s, relayed)
        transfer.base_s = base_s  # the very same: for one link it is computed in another way, to other last bits
        self._single.add(transfer)
        return transfer
