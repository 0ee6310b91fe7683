"""Selective forwarding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from decai_sim.errors import ScenarioError
from decai_sim.world.adversaries.base import Adversary, Carried, among
from decai_sim.world.targets import check_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from decai_sim.world.world import World


class Selective(Adversary):
    """They drop, or hold up, only messages of some kinds, or to some nodes, and are blameless otherwise.

    Under block relay ``kinds=["block"]`` gives those who announce blocks, are asked for them, and do not deliver: whoever asked
    waits for its timeout, while somebody who is merely silent would have been passed over.

    Source: Gervais, Ritzdorf, Karame and Capkun, "Tampering with the delivery of blocks and transactions in Bitcoin" (CCS 2015),
    for announcing without delivering; Karlof & Wagner, "Secure routing in wireless sensor networks: attacks and
    countermeasures", Ad Hoc Networks 1 (2003), for selective forwarding.
    Assumes: they see of what kind a message is and who is to get it.
    Deviations: the papers tell apart what messages say too. Their own messages of those kinds, and to those nodes, are among
        them. What is dropped is in the trace as sent by them and lost.

    Attributes:
        kinds: of which kinds, as the trace calls them, such as ``item`` or ``block``; None: of all.
        victims: to which nodes, −1 being the server; None: to everybody.
        delay_s: for how long they are held up, seconds; None: they are dropped.

    Example:
        >>> Selective(share=0.1, kinds=["block"]).kinds
        ('block',)
    """

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"share": 0.3, "kinds": ["item"]},
        {"share": 0.5, "victims": [0, 3, -1], "delay_s": 2.0},
    )

    kinds: tuple[str, ...] | None = Field(default=None, min_length=1)
    victims: tuple[int, ...] | None = Field(default=None, min_length=1)
    delay_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if self.kinds is None and self.victims is None:
            raise ValueError("say which messages: kinds, victims or both; all of them is drop, or delay")
        return self

    def check(self, n: int) -> None:
        super().check(n)
        check_nodes(self.victims or (), n, "victims")

    def check_carried(self, carried: Carried) -> None:
        super().check_carried(carried)
        for kind in self.kinds or ():
            if carried.kinds is not None and kind not in carried.kinds:
                known = ", ".join(sorted(carried.kinds))
                raise ScenarioError(
                    f"kinds: {kind!r} is not allowed: under protocol {carried.protocol!r} messages are of kind {known}"
                )

    def in_vain(self, kinds: frozenset[str]) -> str | None:
        missed = [kind for kind in self.kinds or () if kind not in kinds]
        return f"kinds: no message of kind {', '.join(missed)} was sent" if missed else None

    def act(self, world: World, who: list[int], number: int) -> None:
        import numpy as np

        theirs = among(world, who)
        victims = np.ones(world.n + 1, dtype=bool) if self.victims is None else among(world, self.victims)
        extra_s = np.inf if self.delay_s is None else self.delay_s

        def hold_up(src: np.ndarray, dst: np.ndarray, kind: str) -> np.ndarray:
            if self.kinds is not None and kind not in self.kinds:
                return np.zeros(len(src))
            return np.where(theirs[src] & victims[dst], extra_s, 0.0)

        world.links.tamper.append(hold_up)
