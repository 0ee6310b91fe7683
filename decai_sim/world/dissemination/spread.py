"""A dissemination protocol at work: who has what, since when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.errors import ScenarioError

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.world.bulk import Arrivals, Wiring
    from decai_sim.world.dissemination.base import Dissemination
    from decai_sim.world.world import World


class Spread:
    """A dissemination protocol at work in a world.

    Nodes are told apart from 0; items are numbered in the order of their publication.

    Attributes:
        world: where it is at work.
        reached_s: ``(items, n)`` virtual seconds at which each node first had each item; ``inf``: not yet.
        hops: ``(items, n)`` over how many others each item came first; −1: not yet.
        published_s: when each item was published.
        origins: who published it.
        sizes: its size, bytes.
        state: whatever the protocol keeps in mind.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Internet, Mix, SmallWorld, World
        >>> from decai_sim.world.dissemination import Flood
        >>> world = World(100, Internet(), None, Mix(laptop=1), Streams(1), SmallWorld())
        >>> spread = Flood().start(world)
        >>> item = spread.publish(0, nbytes=1000)
        >>> world.run(60)
        >>> spread.table().reached.tolist(), bool(spread.delays_s(item).max() < 1)
        ([100], True)
    """

    def __init__(self, protocol: Dissemination, world: World, items: int) -> None:
        self.protocol, self.world, self.bulk, self.n = protocol, world, world.bulk, world.n
        if not protocol.turns_to_anyone:
            world.use_links()
        self.box = self.bulk.open(
            lambda arrivals: protocol.arrived(self, arrivals), anyone=protocol.turns_to_anyone, relayed=self._relayed
        )
        self.reached_s = np.full((items, world.n), np.inf)
        self.hops = np.full((items, world.n), -1, dtype=np.int32)
        self.published_s: list[float] = []
        self.origins: list[int] = []
        self.sizes: list[int] = []
        self.state: Any = None
        protocol.prepare(self)

    @property
    def wiring(self) -> Wiring:
        """The links of the world's topology as they are now."""
        return self.world.wiring

    def publish(self, origin: int, nbytes: int) -> int:
        """Let ``origin`` have something new for everybody, now.

        Returns:
            The item's number.

        Raises:
            ScenarioError: ``origin`` is not online, or there have been as many items as were announced.
        """
        if not self.world.nodes.online[origin]:
            raise ScenarioError(f"origin: {origin} is not allowed: it is not online at virtual time {self.world.clock.now:g} s")
        item = len(self.sizes)
        if item == len(self.reached_s):
            raise ScenarioError(f"items: {item} is not allowed: more are published than were announced")
        now = self.world.clock.now
        self.published_s.append(now)
        self.origins.append(origin)
        self.sizes.append(nbytes)
        self.world.trace.event(now, origin, "published", f"item {item}")
        at = np.array([now]), np.array([origin]), np.array([item])
        self._first(*at, np.array([0]))
        self.protocol.spread(self, *at, np.array([-1]))
        return item

    def delays_s(self, item: int) -> np.ndarray:
        """``(n,)`` seconds from the publication of ``item`` until each node had it; ``inf``: never."""
        delays: np.ndarray = self.reached_s[item] - self.published_s[item]
        return delays

    def table(self) -> pd.DataFrame:
        """One row an item: ``item, origin, t_s, bytes, reached, t50_s, t90_s, t_all_s, max_hops``.

        Times count from the publication until that share of all nodes had it; ``inf`` where that never was.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for item, (origin, t_s, nbytes) in enumerate(zip(self.origins, self.published_s, self.sizes, strict=True)):
            delays = np.sort(self.delays_s(item))
            when = {f"t{share}_s": delays[-(-share * self.n // 100) - 1] for share in (50, 90)}
            rows.append(
                {
                    "item": item,
                    "origin": origin,
                    "t_s": t_s,
                    "bytes": nbytes,
                    "reached": int(np.isfinite(delays).sum()),
                    **when,
                    "t_all_s": delays[-1],
                    "max_hops": int(self.hops[item].max()),
                }
            )
        return pd.DataFrame(rows)

    # -- what protocols need ----------------------------------------------------------------------------------------------------

    def kind(self, name: str) -> int:
        """The code by which arrivals of messages of this kind are known."""
        return self.bulk.kind(self.box, name)

    def nbytes(self, items: np.ndarray) -> np.ndarray:
        """``(k,)`` sizes of items, bytes."""
        sizes: np.ndarray = np.array(self.sizes, dtype=np.int64)[items]
        return sizes

    def has(self, items: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """``(k,)`` bool: which nodes have which items by now."""
        known: np.ndarray = self.reached_s[items, nodes] < np.inf
        return known

    def fan_out(self, t_s: np.ndarray, nodes: np.ndarray, items: np.ndarray, but: np.ndarray) -> None:
        """Send items to all neighbours of ``nodes`` but one each; ``(k,)`` each."""
        self.bulk.fan_out(self.box, t_s, nodes, self.wiring, self.nbytes(items), "item", items, but=but)

    def send(
        self, t_s: np.ndarray, src: np.ndarray, dst: np.ndarray, nbytes: Any, kind: str, items: np.ndarray, **how: Any
    ) -> None:
        """Send single messages; ``(k,)`` each, ``t_s`` ascending; ``how`` as for :meth:`Bulk.send`."""
        self.bulk.send(self.box, t_s, src, dst, nbytes, kind, items, **how)

    def remind(self, t_s: np.ndarray, nodes: np.ndarray, kind: str, items: np.ndarray) -> None:
        """Let ``nodes`` get a message of their own at ``t_s``; ``(k,)`` each."""
        self.bulk.later(self.box, t_s, nodes, kind, items)

    def pass_on(self, arrivals: Arrivals) -> None:
        """Take in items, and let those to whom they are new spread them."""
        new = self.receive(arrivals)
        if len(new):
            self.protocol.spread(self, arrivals.t_s[new], arrivals.dst[new], arrivals.item[new], arrivals.src[new])

    def _relayed(self, code: np.ndarray, src: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Which messages bring or announce an item that somebody else has published."""
        relayed = np.isin(code, [self.kind(name) for name in self.protocol.relays])
        relayed[relayed] = np.array(self.origins)[items[relayed]] != src[relayed]
        return relayed

    def receive(self, arrivals: Arrivals) -> np.ndarray:
        """Take in items; returns the places, ascending, of those that were new to their receivers."""
        src, dst, items = arrivals.src, arrivals.dst, arrivals.item
        new = np.flatnonzero(~self.has(items, dst))
        if len(new):
            _, first = np.unique(items[new] * self.n + dst[new], return_index=True)
            new = new[np.sort(first)]
            self._first(arrivals.t_s[new], dst[new], items[new], self.hops[items[new], src[new]] + 1)
        return new

    def _first(self, t_s: np.ndarray, nodes: np.ndarray, items: np.ndarray, hops: np.ndarray) -> None:
        self.reached_s[items, nodes] = t_s
        self.hops[items, nodes] = hops
        self.world.trace.many_events(t_s, nodes, "informed", [f"item {item}" for item in items.tolist()])
