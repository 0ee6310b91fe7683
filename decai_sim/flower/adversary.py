"""Update attacks, applied when the replies of a round are read, before any rule sees them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from flwr.app import RecordDict

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.flower import arrays
from decai_sim.flower.executors import Content, Exchange, only_arrays

if TYPE_CHECKING:
    from decai_sim.seeding import Streams


class Adversary:
    """Replaces what Byzantine nodes reply.

    An attacker may use honest updates of the same model version whose sender had finished by the time the attacker sent its own,
    among those that reached the server; and all colluders' own updates that were finished by then.

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
        training = [e for e in exchanges if e.is_training and e.reply is not None and e.reply.has_content()]
        versions: dict[int, list[Exchange]] = {}
        for exchange in training:
            versions.setdefault(id(exchange.content), []).append(exchange)
        for group in versions.values():
            if any(exchange.node in self._nodes for exchange in group):
                self._corrupt_version(group[0].content, group)

    def _corrupt_version(self, content: Content, group: list[Exchange]) -> None:
        self._reads += 1
        generator = self._streams.torch("attack", "send", self._reads)
        # Honest rows first, by the time they were finished: what an attacker has seen is then a prefix.
        group = sorted(group, key=lambda e: (e.node in self._nodes, e.finished_s, e.node))
        attackers = [e for e in group if e.node in self._nodes]
        finished = [e.finished_s for e in group[: len(group) - len(attackers)]]
        _, model = only_arrays(content.record)
        start = arrays.to_vector(model)
        updates = arrays.to_matrix([only_arrays(_content(e))[1] for e in group]).sub_(start)
        honest, own = updates[: len(finished)], updates[len(finished) :]
        omniscient = self._attack.omniscient

        def seen(at: int) -> int:
            if omniscient:
                return len(finished)
            return sum(t <= attackers[at].finished_s for t in finished)  # type: ignore[operator]

        for visible, same in groupby(range(len(attackers)), key=seen):
            at = list(same)
            view = View(own=own[at], omniscient=omniscient, n=len(group), f=len(attackers))
            crafted = start + self._attack(honest[:visible], len(at), generator, view)
            for row, index in zip(crafted, at, strict=True):
                reply = _content(attackers[index])
                key, record = only_arrays(reply)
                reply[key] = arrays.from_vector(row, record)


def _content(exchange: Exchange) -> RecordDict:
    assert exchange.reply is not None
    return exchange.reply.content
