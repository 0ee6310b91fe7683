"""Update attacks, applied when the replies of a round are read, before any rule sees them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from flwr.app import RecordDict

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.flower import arrays
from decai_sim.flower.executors import Content, Exchange, Finished, only_arrays

if TYPE_CHECKING:
    from decai_sim.seeding import Streams


class Adversary:
    """Replaces what Byzantine nodes reply.

    An attacker may use what existed when it sent its own: honest updates of the same model version finished by then, among
    those the server has read by the time it reads the attacker's; its colluders' own updates finished by then, among the same;
    and how many nodes, and which of its colluders, were sent that version. Attackers that finish at the same instant act as one.
    Omniscient attacks see all that has been read, whenever it was finished.

    Args:
        attack: what they send instead.
        nodes: who they are.
        streams: the run's streams; ``attack`` is used.
    """

    def __init__(self, attack: UpdateAttack, nodes: frozenset[int], streams: Streams) -> None:
        self._attack, self._nodes, self._streams = attack, nodes, streams
        self._reads = 0

    def corrupt(self, exchanges: Sequence[Exchange]) -> None:
        """Change the replies of attackers among ``exchanges`` in place; each reply must be there."""
        versions: dict[Content, dict[Finished, RecordDict]] = {}
        for exchange in exchanges:
            reply, content = exchange.reply, exchange.content
            if exchange.is_training and reply is not None and reply.has_content() and not self._nodes.isdisjoint(content.asked):
                assert exchange.finished_s is not None
                _, model = only_arrays(arrays.snapshot(reply.content))
                versions.setdefault(content, {})[Finished(exchange.node, exchange.finished_s, model)] = reply.content
        for content, replies in versions.items():
            content.finished = sorted([*content.finished, *replies], key=lambda update: (update.at_s, update.node))
            if any(update.node in self._nodes for update in replies):
                self._corrupt_version(content, replies)

    def _corrupt_version(self, content: Content, replies: dict[Finished, RecordDict]) -> None:
        self._reads += 1
        generator = self._streams.torch("attack", "send", self._reads)
        # Both in the order of time: what an attacker knows is a prefix of each.
        honest = [update for update in content.finished if update.node not in self._nodes]
        own = [update for update in content.finished if update.node in self._nodes]
        start = arrays.to_vector(only_arrays(content.record)[1])
        rows = arrays.to_matrix([update.model for update in honest + own]).sub_(start)
        omniscient, f = self._attack.omniscient, sum(node in self._nodes for node in content.asked)

        def now(update: Finished) -> float:
            return math.inf if omniscient else update.at_s

        sent = 0
        for now_s, together in groupby(own, key=now):
            first, sent = sent, sent + len(list(together))
            if not any(update in replies for update in own[first:sent]):
                continue
            seen = bisect_right(honest, now_s, key=lambda update: update.at_s)
            view = View(rows[len(honest) : len(honest) + sent], omniscient, n=len(content.asked), f=f)
            crafted = self._attack(rows[:seen], sent, generator, view)[first:]
            for update, row in zip(own[first:sent], crafted, strict=True):
                if update in replies:
                    reply = replies[update]
                    key, record = only_arrays(reply)
                    reply[key] = arrays.from_vector(start + row, record)
