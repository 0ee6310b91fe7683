"""What Byzantine nodes of a run without a server send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from decai_sim.attacks.base import PeerAttack, UpdateAttack, View
from decai_sim.learning.values import Made, Value

if TYPE_CHECKING:
    import torch

    from decai_sim.protocols.neighbours import Lists
    from decai_sim.protocols.peers import Peers

_PAST = 4
"""Rounds for which what nodes have sent is remembered: nobody is further behind those it hears from than a few."""


@dataclass(frozen=True, eq=False)
class _Sent:
    """What a node had when it sent: its model, the one it began the round with, and when, virtual seconds."""

    node: int
    model: Value
    start: Value
    at_s: float


class Attackers:
    """Makes up what attackers send in the place of their models.

    They may use the models that honest nodes have sent in the same round by the time they send themselves, of those nodes that
    their attack lets them see, and their colluders' own. Updates are differences from the model that the attacker began its round
    with; what they call the previous movement is how that differs from the one with which it began when it was last at work. Who
    knows the rule, where it needs nothing that the node alone has, tries it as a node would that has the first of the updates
    and hears all others.

    Args:
        at: the nodes.
        attack: what they do.
    """

    def __init__(self, at: Peers, attack: UpdateAttack | PeerAttack) -> None:
        self._at, self._attack = at, attack
        self._nodes = at.lab.byzantine
        self._sent: dict[int, list[_Sent]] = {}
        self._first: dict[int, tuple[int, _Sent]] = {}
        self._starts: dict[int, list[Value]] = {}  # the last two models with which each attacker has begun a round

    def note(self, node: int, number: int, model: Value) -> None:
        """A node is about to send ``model`` in round ``number``."""
        sent = _Sent(node, model, self._at.models[node], self._at.now)
        self._sent.setdefault(number, []).append(sent)
        for past in [past for past in self._sent if past < number - _PAST]:
            del self._sent[past]
        if node in self._nodes:
            self._first.setdefault(node, (number, sent))
            self._starts[node] = [*self._starts.get(node, [])[-1:], sent.start]

    def attacks(self, node: int, number: int) -> bool:
        """Whether it lies in this round."""
        return self._at.lab.attacks(node, number)

    def degree(self, node: int, number: int, degree: int) -> int:
        """How many neighbours it says it has."""
        if isinstance(self._attack, PeerAttack) and self.attacks(node, number):
            return self._attack.claims_degree(degree)
        return degree

    def instead(self, node: int, number: int, model: Value, to: list[int], linked: Lists) -> dict[int, Value]:
        """What a node that attacks sends to each of ``to``.

        Args:
            node: the attacker; what it has has been noted.
            number: its round.
            model: its honest model.
            to: who will get something.
            linked: whom each node hears from in this round.
        """
        if isinstance(self._attack, PeerAttack):
            return self._to_each(node, number, model, to, linked)
        lie = self._crafted(node, number, linked)
        return dict.fromkeys(to, lie)

    # -- the same to all ------------------------------------------------------------------------------------------------------

    def _crafted(self, node: int, number: int, linked: Lists) -> Value:
        attack, at, nodes = self._attack, self._at, self._nodes
        assert isinstance(attack, UpdateAttack)
        sent = self._sent[number]
        own = [one for one in sent if one.node in nodes and (attack.collude or one.node == node)]
        mine = next(i for i, one in enumerate(own) if one.node == node)
        honest = [one for one in sent if one.node not in nodes]
        if attack.sees == "itself":
            honest = []
        elif attack.sees == "neighbourhood":
            near = {other for one in own for other in linked[one.node]}
            honest = [one for one in honest if one.node in near]
        h, b, n = len(honest), len(own), at.n
        generator = at.lab.streams.torch("attack", "send", node, number)
        known = [self._first.get(one.node) for one in own]
        firsts = [one[1] for one in known if one is not None and one[0] < number]
        firsts = firsts if len(firsts) == b else []
        before = self._starts[node][:-1]
        everybody = attack.sees == "all"
        ruled = at.ruled if attack.knows_rule and at.ruled is not None and at.ruled.can_be_tried else None

        def make(rows: torch.Tensor) -> torch.Tensor:
            start, rest = rows[0], rows[1:]
            seen, theirs = rest[:h] - start, rest[h : h + b] - start
            past = None if not firsts else rest[h + b : h + 2 * b] - rest[h + 2 * b : h + 3 * b]
            view = View(
                theirs,
                n=n if everybody else h + b,
                f=len(nodes) if everybody and attack.collude else b,
                previous=start - rest[-1] if before else None,
                past=past,
                rule=None if ruled is None else lambda updates: ruled.tried(updates, start, number),
                round=number,
            )
            return start + attack(seen, b, generator, view)[mine]

        models = [own[mine].start, *(one.model for one in [*honest, *own])]
        models += [one.model for one in firsts] + [one.start for one in firsts] + before
        return Made(models, make)

    # -- to each something else -------------------------------------------------------------------------------------------------

    def _to_each(self, node: int, number: int, model: Value, to: list[int], linked: Lists) -> dict[int, Value]:
        attack = self._attack
        assert isinstance(attack, PeerAttack)
        generator = self._at.lab.streams.torch("attack", "send", node, number)
        lied_to = attack.lies_to(len(to), generator).tolist()
        return {
            other: self._for(other, number, model, linked) if lied else model for other, lied in zip(to, lied_to, strict=True)
        }

    def _for(self, receiver: int, number: int, model: Value, linked: Lists) -> Value:
        """For one receiver: all its attacking neighbours tell it the same."""
        attack, at = self._attack, self._at
        assert isinstance(attack, PeerAttack)
        now = {one.node: one.model for one in self._sent[number]}
        around = [other for other in linked[receiver] if at.online[other]]
        honest = [other for other in around if other not in self._nodes]
        weight = at.protocol.counted(at, receiver, number, around)
        attackers = sum(weight[other] for other in around if other in self._nodes)
        if attackers <= 0:  # whatever they send, nobody counts it
            return model
        generator = at.lab.streams.torch("attack", "tell", receiver, number)

        def make(rows: torch.Tensor) -> torch.Tensor:
            weights = rows.new_tensor([weight[other] for other in honest])
            told = attack.to_neighbour(rows[1], rows[2:], weights, attackers, generator)
            return rows[0].clone() if told is None else told

        return Made([model, *(now.get(other, at.models[other]) for other in (receiver, *honest))], make)
