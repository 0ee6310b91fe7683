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

    Each victim has as many links as before, to attackers drawn at random (to all of them if they are fewer); so it notices
    nothing, and sees of the network what the attackers like.

    Source: Heilman, Kendler, Zohar and Goldberg, "Eclipse attacks on Bitcoin's peer-to-peer network" (USENIX Security 2015).
    Assumes: the attackers have filled the victims' tables of addresses before the run begins. Protocols that turn to anybody,
        such as gossip with ``peers="anyone"``, do not care; views that are filled while one looks are those of
        :class:`~decai_sim.world.overlay.Cyclon` with colluding nodes.
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

        if not world.graph.nnz:
            raise ScenarioError(f"victims: {list(self.victims)} is not allowed: this world's nodes have no links among them")
        theirs, victims = among(world, who), among(world, self.victims)
        drawn = world.streams.of("adversaries", number, "links")
        world.rewire(lambda graph: _surrounded(graph, victims[:-1], np.array(who), drawn))
        extra_s = np.inf if self.delay_s is None else self.delay_s

        def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
            between = (theirs[src] & victims[dst]) | (victims[src] & theirs[dst])
            return np.where(between, extra_s, 0.0)

        world.links.tamper.append(hold_up)


def _surrounded(graph: sp.csr_array, victims: np.ndarray, attackers: np.ndarray, generator: np.random.Generator) -> sp.csr_array:
    """The graph in which all links of ``victims`` lead to ``attackers``, as many as each had as far as there are."""
    import numpy as np

    from decai_sim.world.topologies import wiring

    low, high = wiring.links(graph)
    untouched = ~(victims[low] | victims[high])
    eclipsed = np.flatnonzero(victims)
    wanted = np.minimum(np.diff(graph.indptr)[eclipsed], len(attackers))
    drawn = wiring.distinct(np.full(len(eclipsed), len(attackers)), int(wanted.max()), generator)
    drawn = generator.permuted(drawn, axis=1)  # so that the first few are as random as all
    a, nth = np.nonzero(np.arange(drawn.shape[1]) < wanted[:, None])
    ends = np.concatenate([low[untouched], eclipsed[a]]), np.concatenate([high[untouched], attackers[drawn[a, nth]]])
    return wiring.from_links(graph.shape[0], *ends)
