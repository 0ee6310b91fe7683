"""Moshpit SGD: averaging in small groups that change from round to round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.learning.values import Mix, Value, average
from decai_sim.protocols.in_rounds import InRounds, Sent
from decai_sim.world.sizes import ENVELOPE_BYTES

if TYPE_CHECKING:
    from decai_sim.protocols.neighbours import Lists
    from decai_sim.protocols.peers import Peers


@dataclass(eq=False)
class _Group:
    """Nodes that average: what each brings, and what each has of the two steps."""

    members: list[int]
    models: dict[int, Value] = field(default_factory=dict)
    parts: dict[int, int] = field(default_factory=dict)
    averages: dict[int, int] = field(default_factory=dict)
    mean: Mix | None = None
    failed: bool = False


@dataclass(frozen=True, eq=False)
class _Part:
    """A member's part of its model, or the average of all members' parts."""

    group: _Group
    averaged: bool


@dataclass(eq=False)
class _State:
    links: dict[int, tuple[Lists, Lists]] = field(default_factory=dict)
    groups: dict[tuple[int, int], _Group] = field(default_factory=dict)
    of: dict[int, _Group] = field(default_factory=dict)
    """The group that each node is averaging in."""


class MoshpitSGD(InRounds, kind="moshpit"):
    """Each round every node trains and averages with all others of a small group; the next round has other groups.

    Nodes are laid out on a grid of so many dimensions that a line of it holds ``group_size`` of them; in round t the groups
    are the lines along dimension t. Where all places are taken and nobody leaves, all models are equal after as many rounds of
    averaging as there are dimensions. A group averages in two steps: everybody sends every other member that one's part of the
    model, and gets back the averages of the parts.

    Source: Ryabinin, Gorbunov, Plokhotnyuk & Pekhimenko, "Moshpit SGD: communication-efficient decentralized training on
    heterogeneous unreliable devices" (NeurIPS 2021), Algorithms 1 and 2; the two steps are its Section 3.1.
    Assumes: everybody can reach everybody. If a member goes, or is not heard for ``deadline_s``, those of its group that have not
    got the average keep their models; other groups notice nothing. With one group of all this is all-reduce.
    Deviations: members find each other by telling each other that they are ready, not in a distributed hash table. Places on the
    grid are fixed, and nodes train for whole epochs between averages. Who makes up a group is settled, for all of it, by who is
    first to wait no longer, and all members learn at once that one has gone: no messages are spent on either.

    Attributes:
        group_size: how many nodes average together, at most; None: all.

    Example:
        >>> MoshpitSGD(group_size=4).dimensions(64)
        3
    """

    uses_topology: ClassVar[bool] = False
    examples = ({"group_size": 3}, {"group_size": None})

    group_size: int | None = Field(default=8, ge=2)

    @property
    def kinds(self) -> frozenset[str]:
        """That a node is ready, and parts of models."""
        return frozenset({"ready", "part"})

    def rounds_to_agree(self, nodes: int) -> int:
        """As many as there are dimensions."""
        return self.dimensions(nodes)

    def dimensions(self, nodes: int) -> int:
        """Of the grid: after so many rounds everybody has been averaged with everybody, over others."""
        size, many = self.group_size or nodes, 1
        while size**many < nodes:
            many += 1
        return many

    def prepare(self, at: Peers) -> None:
        """Nobody averages yet."""
        at.state.more = _State()

    def links(self, at: Peers, number: int) -> tuple[Lists, Lists]:
        """The others of the group."""
        state: _State = at.state.more
        along = (number - 1) % self.dimensions(at.n)
        if along not in state.links:
            lines: dict[int, list[int]] = {}
            for node in range(at.n):
                lines.setdefault(self._line(node, along, at.n), []).append(node)
            others = [[other for other in lines[self._line(node, along, at.n)] if other != node] for node in range(at.n)]
            state.links[along] = others, others
        return state.links[along]

    def _line(self, node: int, along: int, n: int) -> int:
        """Which line along a dimension a node lies on: its place without that coordinate."""
        size: int = self.group_size or n
        below: int = size**along
        return node // (below * size) * below + node % below

    def announce(self, at: Peers, node: int, to: list[int], sent: Sent) -> None:
        """Only that one is ready."""
        at.send(node, to, sent, "ready", ENVELOPE_BYTES)

    def combined(self, at: Peers, node: int, own: Value, heard: dict[int, Sent]) -> Value:
        """What one has; averaging takes messages, and comes later."""
        return own

    def gathered(self, at: Peers, node: int, own: Value, heard: dict[int, Sent]) -> None:
        """Send the others their parts."""
        state: _State = at.state.more
        number = at.state.round[node]
        key = number, self._line(node, (number - 1) % self.dimensions(at.n), at.n)
        group = state.groups.get(key)
        if group is None:
            self._forget(state, number)
            group = state.groups[key] = _Group(sorted({node, *heard}))
        group.failed |= any(not at.online[other] for other in group.members)
        if group.failed or node not in group.members:
            self._failed(at, node)
            self.finish(at, node, own)
            return
        if len(group.members) == 1:
            self.finish(at, node, own)
            return
        state.of[node], group.models[node] = group, own
        self._send(at, node, group, averaged=False)
        at.wake(node, self.deadline_s, -number)
        self._look(at, node, group)

    def received(self, at: Peers, node: int, src: int, payload: Any) -> None:
        """Count parts."""
        if not isinstance(payload, _Part):
            super().received(at, node, src, payload)
            return
        group = payload.group
        counted = group.averages if payload.averaged else group.parts
        counted[node] = counted.get(node, 0) + 1
        self._look(at, node, group)

    def woke(self, at: Peers, node: int, number: int) -> None:
        """The deadline of averaging has a negative number."""
        if number >= 0:
            super().woke(at, node, number)
        elif at.state.round[node] == -number:
            self._give_up(at, node)

    def left(self, at: Peers, node: int) -> None:
        """Its group cannot finish."""
        super().left(at, node)
        group = at.state.more.of.pop(node, None)
        if group is not None:
            group.failed = True
            for other in group.members:
                if at.state.more.of.get(other) is group:
                    self._give_up(at, other)

    def _look(self, at: Peers, node: int, group: _Group) -> None:
        state: _State = at.state.more
        if state.of.get(node) is not group:
            return
        others = len(group.members) - 1
        if group.parts.get(node, 0) == others:
            group.parts[node] = -1  # once
            self._send(at, node, group, averaged=True)
        if group.parts.get(node, 0) < 0 and group.averages.get(node, 0) == others:
            if group.mean is None:
                group.mean = average([group.models[member] for member in group.members])
            del state.of[node]
            self.finish(at, node, group.mean)

    def _send(self, at: Peers, node: int, group: _Group, *, averaged: bool) -> None:
        size = ENVELOPE_BYTES + -(-(at.nbytes - ENVELOPE_BYTES) // len(group.members))
        at.send(node, [other for other in group.members if other != node], _Part(group, averaged), "part", size)

    def _give_up(self, at: Peers, node: int) -> None:
        group = at.state.more.of.pop(node, None)
        if group is not None:
            group.failed = True
            self._failed(at, node)
            self.finish(at, node, group.models[node])

    @staticmethod
    def _failed(at: Peers, node: int) -> None:
        at.world.trace.event(at.now, node, "averaging_failed")

    @staticmethod
    def _forget(state: _State, number: int) -> None:
        for key in [key for key in state.groups if key[0] < number - 8]:
            del state.groups[key]
