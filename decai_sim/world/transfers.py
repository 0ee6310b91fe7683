"""What :class:`~decai_sim.world.links.Links` moves: messages, and chunks of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from decai_sim.trace import OFFLINE
from decai_sim.world.clock import Occurrence

if TYPE_CHECKING:
    from decai_sim.world.links import Links


class Travelling(Occurrence):
    """What travels at once: a message, or a chunk of one."""

    __slots__ = ("_links", "dies", "followed", "landing", "latency_s", "out_s", "size", "tries")

    _links: Links
    size: int
    tries: int
    out_s: float
    landing: bool
    followed: bool
    dies: bool
    latency_s: float

    @property
    def whole(self) -> Transfer:
        """The message it is of."""
        raise NotImplementedError

    def transferred(self) -> None:
        """All bytes have been sent, where rates are shared."""
        links = self._links
        self.out_s = links.now
        if self.dies:
            links.lose(self.whole, self)
        else:
            links.post(self.out_s + self.latency_s, self)

    def broken(self) -> None:
        """One of its ends has gone, where rates are shared."""
        self._links.end(self.whole, OFFLINE)


class Transfer(Travelling):
    """One message, from its sending to its end.

    Args:
        links: what moves it.
        number: what the trace calls it.
        sent_s: when it was sent.
        src, dst: from and to whom.
        nbytes: size on the wire, bytes.
        code, kind: number and name of its kind.
        deliver: called with ``args`` on arrival.
        args: see there.
        longer_s: by how much it takes longer than its link has it, seconds.
        relayed: whether its sender passes it on for others.
    """

    __slots__ = (
        *("number", "sent_s", "src", "dst", "nbytes", "code", "kind", "deliver", "args", "longer_s"),
        *("relayed", "session", "cursors", "link", "base_s", "queued", "missing", "over", "waiting", "__weakref__"),
    )

    session: int
    cursors: Any
    link: int
    base_s: float
    waiting: int
    """Bytes not yet in the sender's queue; of what travels in chunks alone."""
    missing: int
    """Bytes not yet there; likewise."""

    def __init__(
        self,
        links: Links,
        number: int,
        sent_s: float,
        src: int,
        dst: int,
        nbytes: int,
        code: int,
        kind: str,
        deliver: Callable[..., object],
        args: tuple[Any, ...],
        longer_s: float = 0.0,
        relayed: bool = False,
    ) -> None:
        self._links = links
        self.number = number
        self.sent_s = sent_s
        self.src = src
        self.dst = dst
        self.nbytes = self.size = nbytes
        self.code = code
        self.kind = kind
        self.deliver = deliver
        self.args = args
        self.longer_s = longer_s
        self.relayed = relayed
        self.tries = 0
        self.queued = self.over = self.landing = False

    @property
    def whole(self) -> Transfer:
        return self

    def happen(self) -> None:
        self._links.reached(self, self)


class Chunk(Travelling):
    """Part of a message."""

    __slots__ = ("_whole",)

    def __init__(self, links: Links, whole: Transfer, size: int) -> None:
        self._links, self._whole, self.size, self.tries = links, whole, size, 0
        self.landing = self.followed = False

    @property
    def whole(self) -> Transfer:
        return self._whole

    def happen(self) -> None:
        self._links.reached(self._whole, self)
