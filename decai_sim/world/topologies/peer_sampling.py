"""An overlay kept up by peer sampling."""

from __future__ import annotations

import copy
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from decai_sim.world.topologies.base import PERIOD_S, Topology

if TYPE_CHECKING:
    import scipy.sparse as sp

    from decai_sim.world.overlay.cyclon import Cyclon
    from decai_sim.world.overlay.live_cyclon import LiveCyclon
    from decai_sim.world.world import World


class PeerSampling(Topology):
    """Everybody knows a few others and keeps exchanging them: an overlay like a random graph that nobody designs.

    In a run nodes exchange contacts by messages, come and go, and repair what others leave behind: see
    :class:`decai_sim.world.overlay.LiveCyclon`. :meth:`at` is the same without a network, for theory: round r's graph is the
    overlay after r exchanges each, with everybody online. A run begins with that of round 0.

    Source: Voulgaris, Gavidia and van Steen, "CYCLON: Inexpensive Membership Management for Unstructured P2P Overlays",
    Journal of Network and Systems Management 13 (2005).
    Assumes: a node can reach everybody it knows.
    Deviations: those of :class:`~decai_sim.world.overlay.Cyclon`, in a run of ``LiveCyclon``. :meth:`csr` is the overlay of
    round 0, for there is no last one.

    Attributes:
        view: how many others a node knows; all, in networks that are smaller.
        shuffle: how many of them it exchanges at a time.
        warmup: exchanges before round 0; the overlay begins with random views.
        period_s: how long a round lasts in a run, virtual seconds; the default is ours.

    Raises:
        ScenarioError: ``shuffle`` is more than ``view``.

    Example:
        >>> topology = PeerSampling(view=4, shuffle=2)
        >>> contacts = topology.at(50, seed=7, server_round=3)  # directed: whom a node knows need not know it
        >>> set(contacts.sum(axis=1).tolist())
        {4}
    """

    time_varying = True

    view: int = Field(default=8, ge=1)
    shuffle: int = Field(default=4, ge=1)
    warmup: int = Field(default=10, ge=0)
    period_s: float = Field(default=PERIOD_S, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.shuffle > self.view:
            raise ValueError(f"shuffle must not exceed view = {self.view}")
        return self

    def csr(self, n: int, seed: int) -> sp.csr_array:
        """The overlay of round 0, links both ways."""
        from decai_sim.world.topologies import wiring

        return wiring.union(self.at(n, seed, 0))

    def at(self, n: int, seed: int, server_round: int) -> sp.csr_array:
        """Whom everybody knows in a round; directed."""
        return _past(self.view, self.shuffle, n, seed).after(self.warmup + server_round).csr()

    def overlay(self, world: World, seed: int) -> LiveCyclon:
        """Peer sampling by messages, that begins with the views of round 0."""
        from decai_sim.world.overlay.live_cyclon import LiveCyclon

        begin = _past(self.view, self.shuffle, world.n, seed).after(self.warmup)
        return LiveCyclon(world, begin.views, begin.ages, begin.shuffle, self.period_s)


class _Past:
    """One overlay, stepped on as later rounds are asked for and begun again for earlier ones: in order, a step each."""

    def __init__(self, view: int, shuffle: int, n: int, seed: int) -> None:
        self.made_of = (n, view, shuffle, seed)
        self.lock = threading.Lock()
        self.overlay: Cyclon | None = None

    def after(self, steps: int) -> Cyclon:
        """A copy of it, which nobody steps on."""
        from decai_sim.world.overlay.cyclon import Cyclon

        n, view, shuffle, seed = self.made_of
        with self.lock:
            if self.overlay is None or self.overlay.cycles > steps:
                self.overlay = Cyclon(n, view=view, shuffle=shuffle, seed=seed)
            while self.overlay.cycles < steps:
                self.overlay.step()
            return copy.deepcopy(self.overlay)


_past = lru_cache(maxsize=4)(_Past)
