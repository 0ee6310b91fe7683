"""Update attacks, applied when the replies of a round are read, before any rule sees them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from flwr.app import ArrayRecord, RecordDict

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.flower import arrays
from decai_sim.flower.executors import Content, Exchange, Finished, only_arrays

if TYPE_CHECKING:
    from decai_sim.seeding import Streams

_COUNT = "num-examples"
"""Under which name replies tell how many samples they stand for."""


class Adversary:
    """Replaces what Byzantine nodes reply.

    An attacker may use what existed when it sent its own: honest updates of the same model version finished by then, of those
    nodes that its attack lets it see, among those the server has read by the time it reads the attacker's; its colluders' own
    updates finished by then, among the same; and how many nodes, and which of its colluders, were sent that version. Attackers
    that finish at the same instant act as one. Omniscient attacks see all that has been read, whenever it was finished.

    Args:
        attack: what they send instead.
        nodes: who they are.
        streams: the run's streams; ``attack`` is used.
        linked: from nodes to those that the topology links to one of them; asked only by attacks that see their neighbourhood.
        rule: from the rows of a round, and how many nodes were asked, to what the server makes of them; None: not known.
    """

    def __init__(
        self,
        attack: UpdateAttack,
        nodes: frozenset[int],
        streams: Streams,
        linked: Callable[[Collection[int]], set[int]] | None = None,
        rule: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self._attack, self._nodes, self._streams, self._linked, self._rule = attack, nodes, streams, linked, rule
        self._reads = 0
        self._rounds: dict[Content, int] = {}
        self._seen: dict[int, list[tuple[int, ArrayRecord]]] = {}  # the last two models that each was sent, and their rounds
        self._first: dict[int, tuple[int, torch.Tensor]] = {}  # what each would have sent first, and in which round

    # -- when ---------------------------------------------------------------------------------------------------------------

    def attacks(self, exchange: Exchange) -> bool:
        """Whether who is asked for a model is an attacker, and attacks in this round."""
        return exchange.is_training and exchange.node in self._nodes and self._attack.active(self._round(exchange.content))

    def rushes(self, exchange: Exchange) -> bool:
        """Whether who is asked sends at once, without working."""
        return self._attack.timing == "rush" and self.attacks(exchange)

    def withholds(self, exchange: Exchange) -> bool:
        """Whether who has been asked sends nothing."""
        return self._attack.timing == "withhold" and self.attacks(exchange)

    def holds_s(self, exchange: Exchange) -> float:
        """For how long who has been asked keeps its reply back, virtual seconds."""
        return self._attack.hold_s if self._attack.timing == "hold" and self.attacks(exchange) else 0.0

    def _round(self, content: Content) -> int:
        """Which round an instruction is of: what it says, or, where apps do not say, how manieth version attackers are sent."""
        if content not in self._rounds:
            said = 0
            for record in content.record.config_records.values():
                number = record.get("server-round", 0)
                said = number if isinstance(number, int) else 0
            self._rounds[content] = said or 1 + max(self._rounds.values(), default=0)
        return self._rounds[content]

    # -- what ---------------------------------------------------------------------------------------------------------------

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
        number, start_record = self._round(content), only_arrays(content.record)[1]
        # Both in the order of time: what an attacker knows is a prefix of each.
        honest = [update for update in content.finished if update.node not in self._nodes]
        own = [update for update in content.finished if update.node in self._nodes]
        for update in own:
            self._remember(update.node, number, start_record)
        start = arrays.to_vector(start_record)
        if not self._attack.active(number):
            for update in own:
                if update.node not in self._first:
                    self._first[update.node] = number, arrays.to_vector(update.model) - start
            return
        generator = self._streams.torch("attack", "send", self._reads)
        rows = arrays.to_matrix([update.model for update in honest + own]).sub_(start)
        theirs = rows[len(honest) :]
        for update, row in zip(own, theirs, strict=True):
            self._first.setdefault(update.node, (number, row.clone()))
        asked = [node for node in content.asked if node in self._nodes]
        for first, sent in self._together(own):
            members = own[first:sent]
            if not any(update in replies for update in members):
                continue
            colluders = range(sent) if self._attack.collude else range(first, sent)
            who = [own[i].node for i in colluders]
            now_s = math.inf if self._attack.omniscient else members[-1].at_s
            seen = self._visible(honest[: bisect_right(honest, now_s, key=lambda update: update.at_s)], who)
            view = View(
                theirs[colluders.start : colluders.stop],
                self._attack.omniscient,
                n=len(content.asked) if self._attack.sees == "all" else len(seen) + len(who),
                f=len(asked) if self._attack.collude else 1,
                previous=self._step(who, number, start),
                past=self._past(who, number),
                rule=self._rule if self._attack.knows_rule else None,
                round=number,
            )
            crafted = self._attack(rows[seen], len(who), generator, view)[first - colluders.start :]
            for update, row in zip(members, crafted, strict=True):
                if update in replies:
                    reply = replies[update]
                    key, record = only_arrays(reply)
                    reply[key] = arrays.from_vector(start + row, record)
                    self._claim(reply)

    def _together(self, own: list[Finished]) -> list[tuple[int, int]]:
        """Who acts as one, as stretches of ``own``."""
        if not self._attack.collude:
            return [(i, i + 1) for i in range(len(own))]
        groups, sent = [], 0
        for _, together in groupby(own, key=lambda update: math.inf if self._attack.omniscient else update.at_s):
            first, sent = sent, sent + len(list(together))
            groups.append((first, sent))
        return groups

    def _visible(self, finished: list[Finished], who: list[int]) -> list[int]:
        """Which of the honest updates, by their places, ``who`` may see."""
        if self._attack.sees == "itself":
            return []
        if self._attack.sees == "all" or self._linked is None:
            return list(range(len(finished)))
        near = self._linked(who)
        return [i for i, update in enumerate(finished) if update.node in near]

    # -- what they remember ---------------------------------------------------------------------------------------------------

    def _remember(self, node: int, number: int, model: ArrayRecord) -> None:
        models = self._seen.setdefault(node, [])
        if not models or models[-1][0] != number:
            self._seen[node] = [*models[-1:], (number, model)]

    def _step(self, who: list[int], number: int, start: torch.Tensor) -> torch.Tensor | None:
        """From the last model before that any of ``who`` was sent to this one."""
        before = [one for node in who for one in self._seen.get(node, []) if one[0] < number]
        if not before:
            return None
        _, model = max(before, key=lambda one: one[0])
        return start - arrays.to_vector(model)

    def _past(self, who: list[int], number: int) -> torch.Tensor | None:
        known = [self._first.get(node) for node in who]
        if any(one is None or one[0] == number for one in known):
            return None
        return torch.stack([one[1] for one in known if one is not None])

    def _claim(self, reply: RecordDict) -> None:
        """Let the attack lie about how many samples there are."""
        for record in reply.metric_records.values():
            if _COUNT in record:
                record[_COUNT] = int(self._attack.claims(int(record[_COUNT])))  # type: ignore[arg-type]


def linked(neighbours: Callable[[], Sequence[Sequence[int]]]) -> Callable[[Collection[int]], set[int]]:
    """Answers who is linked to any of some nodes; ``neighbours`` is asked when the first question comes."""
    lists: list[Sequence[Sequence[int]]] = []

    def answer(nodes: Collection[int]) -> set[int]:
        if not lists:
            lists.append(neighbours())
        return {other for node in nodes for other in lists[0][node]}

    return answer
