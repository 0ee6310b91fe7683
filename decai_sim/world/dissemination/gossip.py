"""Gossip in rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from decai_sim.world.dissemination.base import Dissemination

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Counter
    from decai_sim.world.bulk import Arrivals
    from decai_sim.world.dissemination.spread import Spread


class _Gossip(Dissemination, abstract=True):
    """What all gossip in rounds has in common: every ``period_s`` every node turns to a few random others.

    Attributes:
        period_s: seconds between rounds; all nodes keep the same.
        fanout: how many others a node turns to in a round.
        peers: ``anyone``: uniformly among all other nodes, as the theory has it; ``neighbours``: among those of the topology.
    """

    period_s: float = Field(default=1.0, gt=0)
    fanout: int = Field(default=1, ge=1)
    peers: Literal["anyone", "neighbours"] = "anyone"

    @property
    def turns_to_anyone(self) -> bool:
        """Whether nodes send to others than their neighbours."""
        return self.peers == "anyone"

    def prepare(self, at: Spread) -> None:
        """Begin the rounds."""
        at.state = _Rounds(at.world.streams.counter("gossip", at.box))
        at.world.clock.after(0.0, self._round, at)

    def _round(self, at: Spread) -> None:
        import numpy as np

        now = at.world.clock.now
        at.state.began_s.append(now)
        if at.sizes:
            self.turn(at, now, len(at.state.began_s) - 1, np.flatnonzero(at.world.nodes.online[: at.n]))
        at.world.clock.after(self.period_s, self._round, at)

    def turn(self, at: Spread, now: float, k: int, online: np.ndarray) -> None:
        """What the nodes that are ``online`` do in round ``k``, at ``now``."""
        raise NotImplementedError

    def spread(self, at: Spread, t_s: np.ndarray, nodes: np.ndarray, items: np.ndarray, came_from: np.ndarray) -> None:
        """Nothing: the next round does."""

    def turn_to_others(
        self, at: Spread, now: float, k: int, nodes: np.ndarray, kind: str, items: np.ndarray, nbytes: np.ndarray
    ) -> None:
        """Let each of ``nodes`` send a message to each of ``fanout`` others, drawn for this round, node and item."""
        import numpy as np

        for nth in range(self.fanout):
            u = at.state.draw.array(k, nth, nodes, items)
            if self.peers == "anyone":
                others = (nodes + 1 + (u * (at.n - 1)).astype(np.int64)) % at.n
                at.send(np.full(len(nodes), now), nodes, others, nbytes, kind, items)
            else:
                begins = at.wiring.begins[nodes]
                n_links = at.wiring.begins[nodes + 1] - begins
                some = n_links > 0
                links = (begins + (u * n_links).astype(np.int64))[some]
                at.bulk.along(at.box, np.full(len(links), now), links, at.wiring, nbytes[some], kind, items[some])


@dataclass
class _Rounds:
    draw: Counter
    began_s: list[float] = field(default_factory=list)


class Push(_Gossip):
    """Every round, whoever has an item sends it to random others, whether they have it or not.

    Source: Demers et al., "Epidemic algorithms for replicated database maintenance" (PODC 1987); Pittel, "On spreading a rumor"
    (SIAM Journal on Applied Mathematics 47, 1987): log2 n + ln n + O(1) rounds to reach all n.
    Assumes: rounds in step. Towards the end nearly all is sent in vain.
    Deviations: of several items each goes to others of its own.

    Attributes:
        rounds: for how many rounds after it has got it a node sends an item; None: for ever.

    Example:
        >>> Push(fanout=2).fanout
        2
    """

    examples = ({}, {"fanout": 2, "peers": "neighbours", "rounds": 5})

    kinds: ClassVar[tuple[str, ...]] = ("item",)

    rounds: int | None = Field(default=None, ge=1)

    def turn(self, at: Spread, now: float, k: int, online: np.ndarray) -> None:
        """Send what one has."""
        import numpy as np

        since = at.reached_s[: len(at.sizes), online]
        hot = since <= now
        if self.rounds is not None:
            hot &= since > now - self.rounds * self.period_s
        items, who = np.nonzero(hot)
        self.turn_to_others(at, now, k, online[who], "item", items, at.nbytes(items))

    def arrived(self, at: Spread, arrivals: Arrivals) -> None:
        """Take in items."""
        at.receive(arrivals)


class Pull(_Gossip):
    """Every round, every node tells random others what it has; they send what it lacks.

    Source: Demers et al., "Epidemic algorithms for replicated database maintenance" (PODC 1987), anti-entropy.
    Assumes: rounds in step. Slow while few have an item, very fast once half of them do.
    Deviations: a digest has the same size whatever it says.

    Attributes:
        digest_bytes: size of a digest, or of a request for one item.

    Example:
        >>> Pull(period_s=0.5).period_s
        0.5
    """

    examples = ({}, {"fanout": 2, "peers": "neighbours"})

    kinds: ClassVar[tuple[str, ...]] = ("digest", "item")

    digest_bytes: int = Field(default=64, ge=1)
    both_ways: ClassVar[bool] = False

    def turn(self, at: Spread, now: float, k: int, online: np.ndarray) -> None:
        """Say what one has; the round's number stands for it."""
        import numpy as np

        rounds, sizes = np.full(len(online), k), np.full(len(online), self.digest_bytes)
        self.turn_to_others(at, now, k, online, "digest", rounds, sizes)

    def arrived(self, at: Spread, arrivals: Arrivals) -> None:
        """Take in items; answer digests and requests."""
        import numpy as np

        items, digests, wants = (arrivals[arrivals.kind == at.kind(name)] for name in ("item", "digest", "want"))
        at.receive(items)
        if len(digests):
            known_s = at.reached_s[: len(at.sizes)]
            said_s = np.array(at.state.began_s)[digests.item]
            caller_has, has = known_s[:, digests.src] <= said_s, known_s[:, digests.dst] <= digests.t_s
            self._send(at, digests, has & ~caller_has, "item")
            if self.both_ways:
                self._send(at, digests, caller_has & ~has, "want")
        if len(wants):
            at.send(wants.t_s, wants.dst, wants.src, at.nbytes(wants.item), "item", wants.item)

    def _send(self, at: Spread, digests: Arrivals, which: np.ndarray, kind: str) -> None:
        which_digest, items = which.T.nonzero()
        nbytes = at.nbytes(items) if kind == "item" else self.digest_bytes
        at.send(digests.t_s[which_digest], digests.dst[which_digest], digests.src[which_digest], nbytes, kind, items)


class PushPull(Pull):
    """Every round, every node exchanges digests with random others, and both sides get what they lack.

    Source: Demers et al., "Epidemic algorithms for replicated database maintenance" (PODC 1987); Karp et al., "Randomized rumor
    spreading" (FOCS 2000): log3 n + O(ln ln n) rounds to reach all n.
    Assumes: rounds in step.
    Deviations: the side that is called asks for what it lacks with one request an item.

    Example:
        >>> PushPull().kind
        'push_pull'
    """

    kinds: ClassVar[tuple[str, ...]] = ("digest", "item", "want")
    both_ways: ClassVar[bool] = True
