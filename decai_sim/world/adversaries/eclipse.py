"""Eclipse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from decai_sim.errors import ScenarioError
from decai_sim.world.adversaries.base import Adversary, among
from decai_sim.world.targets import check_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import scipy.sparse as sp

    from decai_sim.world.world import World


class Eclipse(Adversary):
    """All links of the victims lead to attackers, who drop or hold up what goes to them and what comes from them.

    Where links stay as they are, or are drawn anew each round, each victim has as many as before, to attackers drawn at random
    (to all of them if they are fewer); so it notices nothing, and sees of the network what the attackers like.

    Under peer sampling the attackers fill the victims' views while the world runs: they answer a victim's shuffles with nothing
    but each other's names, each of them asks a random victim every period besides, and they name victims to nobody. So victims
    forget the honest and are forgotten by them, the sooner the more attackers there are to a victim. Messages of the overlay
    itself they let through.

    Source: Heilman, Kendler, Zohar and Goldberg, "Eclipse attacks on Bitcoin's peer-to-peer network" (USENIX Security 2015); of
    views under peer sampling: Jesi, Hales and van Steen, "Identifying malicious peers before it's too late: a decentralized
    secure peer sampling service" (SASO 2007), there of everybody's.
    Assumes: except under peer sampling, the attackers have filled the victims' tables of addresses before the run begins.
        Protocols that turn to anybody, such as gossip with ``peers="anyone"``, do not care.
    Deviations: what victims send is stopped on its way to the attackers, who hear nothing of it; they do relay between others.
        Victims do not look for other neighbours.

    Attributes:
        victims: who is eclipsed; none of them is an attacker.
        delay_s: for how long messages to and from victims are held up, seconds; None: they are dropped.

    Example:
        >>> Eclipse(share=0.1, victims=[0], delay_s=600).victims
        (0,)
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"share": 0.3, "victims": [0]},
        {"nodes": [4, 5], "victims": [1, 2], "delay_s": 3.0},
    )

    rewires: ClassVar[bool] = True
    among_nodes: ClassVar[bool] = True

    victims: Annotated[tuple[int, ...], Field(min_length=1)]
    delay_s: float | None = Field(default=None, gt=0)

    def check(self, n: int) -> None:
        super().check(n)
        check_nodes(self.victims, n, "victims", server_too=False)
        if self.nodes is not None and set(self.nodes) <= set(self.victims):
            raise ScenarioError(f"nodes: {list(self.nodes)} is not allowed: all of them are victims, nobody is left to attack")

    def chosen(self, world: World, number: int = 0) -> list[int]:
        """The attackers, ascending: those chosen that are not victims."""
        attackers = [node for node in super().chosen(world, number) if node not in self.victims]
        if not attackers:
            raise ScenarioError(f"victims: {list(self.victims)} is not allowed: all attackers are among them")
        return attackers

    def act(self, world: World, who: list[int], number: int) -> None:
        import numpy as np

        from decai_sim.world.overlay import LiveCyclon

        if not world.graph.nnz:
            raise ScenarioError(f"victims: {list(self.victims)} is not allowed: this world's nodes have no links among them")
        theirs, victims = among(world, who), among(world, self.victims)
        spared: tuple[str, ...] = ()
        if isinstance(world.overlay, LiveCyclon):
            world.overlay.eclipse(who, self.victims)
            spared = world.overlay.kinds
        else:
            # Drawn anew for each graph, and the same: attackers do not change with the round.
            world.rewire(
                lambda graph: _surrounded(graph, victims[:-1], np.array(who), world.streams.of("adversaries", number, "links"))
            )
        extra_s = np.inf if self.delay_s is None else self.delay_s

        def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
            if kind in spared:
                return np.zeros(len(src))
            between = (theirs[src] & victims[dst]) | (victims[src] & theirs[dst])
            return np.where(between, extra_s, 0.0)

        world.links.tamper.append(hold_up)


def _surrounded(graph: sp.csr_array, victims: np.ndarray, attackers: np.ndarray, generator: np.random.Generator) -> sp.csr_array:
    """The graph in which all links of ``victims`` lead to ``attackers`` and back, as many as each had as far as there are."""
    import numpy as np

    from decai_sim.world.topologies import wiring

    src, dst = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr)), graph.indices.astype(np.int64)
    untouched = ~(victims[src] | victims[dst])
    eclipsed = np.flatnonzero(victims)
    wanted = np.minimum(np.diff(graph.indptr)[eclipsed], len(attackers))
    drawn = wiring.distinct(np.full(len(eclipsed), len(attackers)), int(wanted.max()), generator)
    drawn = generator.permuted(drawn, axis=1)  # so that the first few are as random as all
    a, nth = np.nonzero(np.arange(drawn.shape[1]) < wanted[:, None])
    theirs, others = eclipsed[a], attackers[drawn[a, nth]]
    return wiring.from_arrows(
        graph.shape[0],
        np.concatenate([src[untouched], theirs, others]),
        np.concatenate([dst[untouched], others, theirs]),
    )
