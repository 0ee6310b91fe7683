"""News for everybody, and nothing learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.component import field_of
from decai_sim.errors import RunStoppedError, ScenarioError
from decai_sim.protocols.base import Lab, Protocol
from decai_sim.world.dissemination import Dissemination, Flood

if TYPE_CHECKING:
    from decai_sim.attacks import Attack
    from decai_sim.defenses import Rule

_MOST = 10**9
"""Times of arrival that are kept: 12 GB."""
_LOOKS = 20
"""How often between two items somebody looks whether the run is to stop."""


class Broadcast(Protocol):
    """Now and then a node has something new, such as a block or a model, and a dissemination protocol brings it to everybody.

    Source: the set-up of Decker & Wattenhofer, "Information propagation in the Bitcoin network" (P2P 2013).
    Assumes: who has news is drawn evenly among the nodes that are online.
    Deviations: news comes at even intervals.

    Attributes:
        dissemination: how news reaches everybody.
        items: how many pieces of news there are; each is one round.
        interval_s: time from one to the next, and from the last to the end, virtual seconds.
        nbytes: size of each, bytes.

    Example:
        >>> Broadcast(items=3, nbytes=535_000).total_rounds
        3
    """

    learns: ClassVar[bool] = False

    dissemination: field_of(Dissemination) = Flood()  # type: ignore[valid-type]
    items: int = Field(default=10, ge=1)
    interval_s: float = Field(default=60.0, gt=0)
    nbytes: int = Field(default=1000, ge=1, le=2**40)

    @property
    def kinds(self) -> frozenset[str] | None:
        """Those of the dissemination protocol."""
        return None if self.dissemination.kinds is None else frozenset(self.dissemination.kinds)

    @property
    def total_rounds(self) -> int:
        """The number of items."""
        return self.items

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Refuse attacks on learning and rules, since there is nothing to learn, and more items than there is memory for."""
        if self.items * nodes > _MOST:
            raise ScenarioError(
                f"protocol.items: {self.items} is not allowed: with nodes = {nodes}, at most {_MOST // nodes}; when each reaches "
                "every node is kept in memory"
            )
        if attack is not None:
            raise ScenarioError(
                f"attack: {attack.kind!r} is not allowed: under protocol 'broadcast' nothing is learned; "
                "what acts on messages goes into adversaries"
            )
        if defense is not None:
            raise ScenarioError("defense: a rule is not allowed: under protocol 'broadcast' nothing is aggregated")

    def run(self, lab: Lab) -> None:
        """Publish and watch; ``n_selected`` are those online when a round begins, ``n_replied`` those reached when it ends."""
        import numpy as np

        world = lab.world
        world.use_links()
        spread = self.dissemination.start(world, self.items)
        draw = lab.streams.of("origins")
        for k in range(self.items):
            online = np.flatnonzero(world.nodes.online[: world.n])
            if len(online):
                spread.publish(int(draw.choice(online)), self.nbytes)
            for look in range(1, _LOOKS + 1):
                if lab.stop is not None and lab.stop.is_set():
                    raise RunStoppedError("the run was stopped")
                world.run(self.interval_s * (k + look / _LOOKS))
            reached = np.flatnonzero(np.isfinite(spread.reached_s[len(spread.sizes) - 1])).tolist() if len(online) else []
            record: dict[str, Any] = {
                "round": k + 1,
                "t_s": world.clock.now,
                "accuracy": float("nan"),
                "loss": float("nan"),
                "n_selected": len(online),
                "n_replied": len(reached),
                "replied": reached,
                "bytes_up": sum(world.links.bytes_up[:-1]),
                "bytes_down": sum(world.links.bytes_down[:-1]),
            }
            lab.rounds.append(record)
            lab.on_round(record)
