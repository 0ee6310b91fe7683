"""A mesh that is kept up, and gossip beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from decai_sim.world.dissemination.base import Dissemination

if TYPE_CHECKING:
    import numpy as np

    from decai_sim.seeding import Counter
    from decai_sim.world.bulk import Arrivals, Wiring
    from decai_sim.world.dissemination.spread import Spread


class GossipSub(Dissemination, kind="gossipsub"):
    """Items go at once along a sparse mesh of links; now and then nodes tell a few others what these might have missed.

    Every heartbeat a node with fewer than ``d_low`` mesh links grafts more, up to ``d``, one with more than ``d_high`` prunes
    down to ``d``, and all announce the items of the last heartbeats to ``d_lazy`` neighbours outside their mesh.

    Source: libp2p specification "gossipsub v1.0" (its default parameters); Vyzovitis et al., "GossipSub: Attack-resilient message
    propagation in the Filecoin and ETH2.0 networks" (arXiv:2007.02754).
    Assumes: one topic. A node notices by its next heartbeat that a neighbour has gone, and at once that a link has, where the
        topology varies: the mesh keeps those of its links that are still there.
    Deviations: no peer scores, no fanout for non-subscribers; heartbeats of all nodes are in step; an announcement has the same
    size whatever it says.

    Attributes:
        d: mesh links a node wants.
        d_low: fewer make it graft.
        d_high: more make it prune.
        d_lazy: how many others hear what it has.
        heartbeat_s: seconds between heartbeats.
        history: for how many heartbeats an item is announced.
        control_bytes: size of a graft, a prune, an announcement or a request.

    Example:
        >>> GossipSub().d, GossipSub(d=8, d_low=6).d_low
        (6, 6)
    """

    examples = ({}, {"d": 3, "d_low": 2, "d_high": 5, "d_lazy": 2})

    kinds: ClassVar[tuple[str, ...]] = ("item", "graft", "prune", "ihave", "iwant")

    d: int = Field(default=6, ge=1)
    d_low: int = Field(default=4, ge=1)
    d_high: int = Field(default=12, ge=1)
    d_lazy: int = Field(default=6, ge=0)
    heartbeat_s: float = Field(default=1.0, gt=0)
    history: int = Field(default=3, ge=1)
    control_bytes: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.d_low <= self.d <= self.d_high:
            raise ValueError(f"d_low <= d <= d_high must hold, not {self.d_low} <= {self.d} <= {self.d_high}")
        return self

    def prepare(self, at: Spread) -> None:
        """Build the mesh; the heartbeats keep it up."""
        import numpy as np

        wiring = at.wiring
        at.state = _Mesh(at.world.streams.counter("gossipsub", at.box), wiring, np.zeros(len(wiring.dst), dtype=bool))
        self._heartbeat(at)

    def _heartbeat(self, at: Spread) -> None:
        import numpy as np

        mesh = _mesh(at)
        wiring, now = mesh.wiring, at.world.clock.now
        online = np.array(at.world.nodes.online[: at.n])
        there = online[wiring.src] & online[wiring.dst]
        mesh.links &= there
        mesh.beats_s.append(now)
        k = len(mesh.beats_s)
        u = mesh.draw.array(k, np.arange(len(there)))
        degree = np.bincount(wiring.src[mesh.links], minlength=at.n)

        wanted = np.where(degree < self.d_low, self.d - degree, 0)
        grafted = _lowest(u, there & ~mesh.links, wiring.src, wanted)
        mesh.links[grafted] = True
        self._tell(at, grafted, "graft", k)
        if k == 1:  # the mesh has long been there when a run begins
            back, there_is = _numbers(wiring, wiring.dst[grafted], wiring.src[grafted])
            mesh.links[back[there_is]] = True
        pruned = _lowest(u, mesh.links, wiring.src, np.where(degree > self.d_high, degree - self.d, 0))
        mesh.links[pruned] = False
        self._tell(at, pruned, "prune", k)

        since = now - self.history * self.heartbeat_s
        recent = ((at.reached_s > since) & (at.reached_s <= now)).any(axis=0) & online
        lazy = _lowest(1 - u, there & ~mesh.links & recent[wiring.src], wiring.src, np.full(at.n, self.d_lazy))
        self._tell(at, lazy, "ihave", k)
        at.world.clock.after(self.heartbeat_s, self._heartbeat, at)

    def _tell(self, at: Spread, links: np.ndarray, kind: str, k: int) -> None:
        import numpy as np

        now = np.full(len(links), at.world.clock.now)
        at.bulk.along(at.box, now, links, at.wiring, self.control_bytes, kind, np.full(len(links), k - 1))

    def spread(self, at: Spread, t_s: np.ndarray, nodes: np.ndarray, items: np.ndarray, came_from: np.ndarray) -> None:
        """Along the mesh, but not back."""
        mesh = _mesh(at)
        links, whose = mesh.wiring.of(nodes)
        go = mesh.links[links] & (mesh.wiring.dst[links] != came_from[whose])
        links, whose = links[go], whose[go]
        at.bulk.along(at.box, t_s[whose], links, mesh.wiring, at.nbytes(items[whose]), "item", items[whose])

    def arrived(self, at: Spread, arrivals: Arrivals) -> None:
        """Take in items and pass them on; change the mesh; answer announcements and requests."""
        import numpy as np

        mesh = _mesh(at)
        names = "item", "graft", "prune", "ihave", "iwant"
        items, grafts, prunes, announced, wanted = (arrivals[arrivals.kind == at.kind(name)] for name in names)
        at.pass_on(items)
        for told, now_linked in ((grafts, True), (prunes, False)):
            if len(told):
                back, there_is = _numbers(mesh.wiring, told.dst, told.src)
                mesh.links[back[there_is]] = now_linked
        if len(announced):
            said_s = np.array(mesh.beats_s)[announced.item]
            known_s = at.reached_s[: len(at.sizes)]
            theirs = known_s[:, announced.src]
            offered = (theirs <= said_s) & (theirs > said_s - self.history * self.heartbeat_s)
            which, missing = (offered & (known_s[:, announced.dst] > announced.t_s)).T.nonzero()
            t_s, src, dst = announced.t_s[which], announced.src[which], announced.dst[which]
            at.send(t_s, dst, src, self.control_bytes, "iwant", missing)
        if len(wanted):
            at.send(wanted.t_s, wanted.dst, wanted.src, at.nbytes(wanted.item), "item", wanted.item)


@dataclass
class _Mesh:
    draw: Counter
    wiring: Wiring
    links: np.ndarray
    """``(m,)`` bool: which links of the wiring are in their beginning's mesh."""
    beats_s: list[float] = field(default_factory=list)


def _mesh(at: Spread) -> _Mesh:
    """The mesh on the links that there are now."""
    import numpy as np

    mesh: _Mesh = at.state
    if mesh.wiring is not at.wiring:
        before, in_mesh = mesh.wiring, mesh.links
        mesh.wiring, mesh.links = at.wiring, np.zeros(len(at.wiring.dst), dtype=bool)
        kept, there_is = _numbers(mesh.wiring, before.src[in_mesh], before.dst[in_mesh])
        mesh.links[kept[there_is]] = True
    return mesh


def _numbers(wiring: Wiring, src: np.ndarray, dst: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(k,)`` the numbers of the links from ``src`` to ``dst``, and which of them there are."""
    import numpy as np

    links = wiring.link(src, dst)
    if not len(wiring.dst):
        return links, np.zeros(len(links), dtype=bool)
    nearest = np.minimum(links, len(wiring.dst) - 1)
    return links, (wiring.src[nearest] == src) & (wiring.dst[nearest] == dst)


def _lowest(u: np.ndarray, among: np.ndarray, src: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of the links ``among``, up to ``wanted[node]`` of every node, those with the lowest ``u``; ascending."""
    import numpy as np

    links = np.flatnonzero(among & (wanted[src] > 0))
    links = links[np.lexsort((u[links], src[links]))]
    begins = np.flatnonzero(np.diff(src[links], prepend=-1))
    rank = np.arange(len(links)) - np.repeat(begins, np.diff(begins, append=len(links)))
    return np.sort(links[rank < wanted[src[links]]])
