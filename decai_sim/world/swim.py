"""SWIM: a group in which everybody watches everybody, at a constant cost for each."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from decai_sim.world.detections import Detections, Detector

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.world.world import World

_ALIVE, _SUSPECT, _DEAD = range(3)
_STATES = ("alive", "suspect", "dead")


class _Belief(NamedTuple):
    state: int
    incarnation: int


class Swim(Detector):
    """Every period each node probes another one; who does not answer, directly or through others, is suspected and then given up.

    A probe is a ``ping`` that wants an ``ack``. If none has come after ``timeout_s``, ``proxies`` others are asked to ping for it
    (``ping_req``). If none has come by the period's end either, the node is suspected; if it does not deny that within
    ``suspicion_periods``, it is declared dead. Such news rides on these messages, on each node's about 3·log₂ n times. A node
    that hears it is suspected denies it with a higher *incarnation*.

    What to expect, n large: of a crash somebody learns e / (e − 1) = 1.58 periods later on average, if periods begin together. If
    messages are lost with probability p, a probe of a node that is there fails with probability
    (1 − (1 − p)²)·(1 − (1 − p)⁴)^proxies.

    Source: Das, Gupta & Motivala, "SWIM: Scalable weakly-consistent infection-style process group membership protocol" (DSN
    2002): probes, analysis of detection time and accuracy, suspicion, round-robin choice of whom to probe.
    Assumes: at first everybody knows who is there; the server is not of the group.
    Deviations: in the paper death is final; here the higher incarnation of a node that returns, or that was wrongly declared
    dead, overrides it, as in Hashicorp's memberlist. Nobody pings the dead, so two sides of a partition that have declared each
    other dead stay apart when it heals. Sizes of messages are ours: 40 bytes, and 12 for each piece of news.

    Args:
        world: where nodes come and go.
        period_s: length of a protocol period, seconds.
        proxies: how many are asked to probe in one's place, the paper's k.
        suspicion_periods: how long a suspected node may deny it, periods; 0: it is declared dead at once.
        timeout_s: how long to wait for an answer before others are asked, seconds; None: 0.3 periods.
        news: most pieces of news on a message.
        together: whether all nodes' periods begin at the same moments; if not, each begins at a random moment of its own. The
            first probe after a crash then comes one period later on average, and its failure is known another period after.

    Raises:
        ValueError: a time, or a number, is below what is allowed.

    Example:
        >>> from decai_sim.seeding import Streams
        >>> from decai_sim.world import Internet, Mix, World
        >>> from decai_sim.world.faults import Crash
        >>> world = World(20, Internet(), None, Mix(laptop=1), Streams(1))
        >>> Crash(nodes=[3], at_s=10).install(world)
        >>> swim = Swim(world, period_s=5)
        >>> swim.start(); world.run(100)
        >>> found = swim.detections(); set(found[found["state"] == "dead"].node), swim.share_believing(3, "dead")
        ({3}, 1.0)
    """

    def __init__(
        self,
        world: World,
        period_s: float = 1.0,
        proxies: int = 3,
        suspicion_periods: float = 5.0,
        timeout_s: float | None = None,
        news: int = 6,
        together: bool = True,
    ) -> None:
        timeout_s = 0.3 * period_s if timeout_s is None else timeout_s
        if not 0 < period_s < math.inf:
            raise ValueError(f"period_s: {period_s!r} is not allowed: above 0")
        if not 0 < timeout_s < period_s:
            raise ValueError(f"timeout_s: {timeout_s!r} is not allowed: above 0 and below period_s = {period_s}")
        for name, value in (("proxies", proxies), ("suspicion_periods", suspicion_periods), ("news", news)):
            if not value >= 0:
                raise ValueError(f"{name}: {value!r} is not allowed: 0 or more")
        n = world.n
        self._world, self._period_s, self._timeout_s = world, period_s, timeout_s
        self._proxies, self._suspicion_s, self._news, self._together = proxies, suspicion_periods * period_s, news, together
        self._found = Detections(world.nodes)
        self._random = random.Random(world.streams.integer("swim"))
        self._most_told = math.ceil(3 * math.log2(n + 1))
        self._sent: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._began_s: float | None = None
        self._rests_since_s: float | None = None
        self.probes = 0
        """Probes so far whose period has ended."""

        # What everybody knew at the beginning, and per node what it has learnt since.
        self._at_first = [_Belief(_ALIVE if here else _DEAD, 0) for here in world.nodes.online[:n]]
        self._learnt: list[dict[int, _Belief]] = [{} for _ in range(n)]
        self._telling: list[dict[int, int]] = [{} for _ in range(n)]  # per node: about whom it has news, and how often told
        self._deadline_s: list[dict[int, float]] = [{} for _ in range(n)]  # per node: until when those it suspects may deny it
        self._incarnation = [0] * n
        # The probe under way: its number, of whom, in which session, and whether it was answered.
        self._number, self._target, self._session, self._answered = [0] * n, [-1] * n, [0] * n, [True] * n
        # A random order in which to probe, shuffled as it is used (Fisher–Yates) and begun again at its end.
        self._order: list[array[int]] = [array("i") for _ in range(n)]
        self._place = [0] * n
        world.nodes.on_online.append(self._returned)

    def start(self) -> None:
        """Begin now; it goes on for as long as the world runs."""
        if self._began_s is not None:
            raise ValueError("start: it has begun already")
        now = self._began_s = self._world.clock.now
        if self._together:
            self._world.clock.at(now, self._all, now)
            return
        phase_s = self._world.streams.of("swim", "phase").uniform(0.0, self._period_s, self._world.n).tolist()
        for node in range(self._world.n):
            self._world.clock.at(now + phase_s[node], self._one, node, now + phase_s[node])

    # -- what it found --------------------------------------------------------------------------------------------------------

    def detections(self) -> pd.DataFrame:
        """Who found out by himself about whom; columns as in :meth:`~decai_sim.world.detections.Detections.frame`.

        State ``suspect`` is a probe that failed (of a node not yet believed dead), ``dead`` a suspicion that was not denied in
        time. What is merely heard from others is not listed.
        """
        return self._found.frame()

    def load(self) -> pd.DataFrame:
        """Messages so far, by kind: ``kind, messages, bytes, per_node_and_period`` (of all nodes, there or not)."""
        import pandas as pd

        periods = 0.0 if self._began_s is None else (self._world.clock.now - self._began_s) / self._period_s
        rows = [(kind, self._sent[kind], self._bytes[kind]) for kind in sorted(self._sent)]
        frame = pd.DataFrame(rows, columns=["kind", "messages", "bytes"])
        frame["per_node_and_period"] = frame["messages"] / (self._world.n * periods) if periods else 0.0
        return frame

    def belief(self, observer: int, node: int) -> str:
        """What ``observer`` believes of ``node``: ``alive``, ``suspect`` or ``dead``."""
        return _STATES[self._believes(observer, node).state]

    def share_believing(self, node: int, state: str) -> float:
        """Share of the other nodes that are there now who believe that ``node`` is in ``state``."""
        there = [other for other in range(self._world.n) if self._world.nodes.online[other] and other != node]
        return sum(self.belief(other, node) == state for other in there) / len(there) if there else math.nan

    def trust(self, node: int) -> float:
        """Share of the other nodes that are there now who do not believe that ``node`` is dead."""
        return 1.0 - self.share_believing(node, "dead")

    # -- periods --------------------------------------------------------------------------------------------------------------

    def _all(self, due_s: float) -> None:
        online = self._world.nodes.online
        if not any(online[: self._world.n]):
            self._rests_since_s = due_s  # so that who waits for a node in vain can find out
            return
        for node in range(self._world.n):
            self._period(node)
        self._world.clock.at(due_s + self._period_s, self._all, due_s + self._period_s)

    def _one(self, node: int, due_s: float) -> None:
        self._period(node)
        self._world.clock.at(due_s + self._period_s, self._one, node, due_s + self._period_s)

    def _period(self, node: int) -> None:
        nodes, now = self._world.nodes, self._world.clock.now
        if not nodes.online[node]:
            return
        if self._target[node] >= 0 and self._session[node] == nodes.session[node]:
            self.probes += 1
            if not self._answered[node]:
                self._suspect(node, self._target[node])
        for other, deadline_s in list(self._deadline_s[node].items()):
            # A period's length may not add up to the deadline in the last bit.
            if deadline_s <= now + 1e-9 * self._period_s:
                self._found.record(now, node, other, "dead")
                self._learn(node, other, _Belief(_DEAD, self._believes(node, other).incarnation))
        self._number[node] += 1
        target = self._next(node)
        self._target[node], self._session[node], self._answered[node] = target, nodes.session[node], target < 0
        if target >= 0:
            self._send(node, target, "swim_ping", self._pinged, node, self._number[node])
            self._world.clock.after(self._timeout_s, self._ask_others, node, self._number[node])

    def _next(self, node: int) -> int:
        """Whom ``node`` probes next; −1: it believes that there is nobody."""
        order = self._order[node]
        if not order:
            order.extend(range(self._world.n))
        for _ in range(2 * len(order)):
            if self._place[node] == len(order):
                self._place[node] = 0
            i = self._place[node]
            j = self._random.randrange(i, len(order))
            order[i], order[j] = order[j], order[i]
            self._place[node] += 1
            if order[i] != node and self._believes(node, order[i]).state != _DEAD:
                return order[i]
        return -1

    def _ask_others(self, node: int, number: int) -> None:
        if self._answered[node] or self._number[node] != number or self._session[node] != self._world.nodes.session[node]:
            return
        target, n = self._target[node], self._world.n
        asked: list[int] = []
        for _ in range(10 * self._proxies):
            other = self._random.randrange(n)
            if other not in (node, target, *asked) and self._believes(node, other).state != _DEAD:
                asked.append(other)
                if len(asked) == self._proxies:
                    break
        for other in asked:
            self._send(node, other, "swim_ping_req", self._asked, other, target, node, number)

    # -- messages -------------------------------------------------------------------------------------------------------------

    def _send(self, src: int, dst: int, kind: str, deliver: Callable[..., object], *args: int) -> None:
        news = self._to_tell(src)
        nbytes = 40 + 12 * len(news)
        self._sent[kind] += 1
        self._bytes[kind] += nbytes
        self._world.links.send(src, dst, nbytes, kind, self._received, dst, news, deliver, src, args)

    def _received(
        self, dst: int, news: list[tuple[int, _Belief]], deliver: Callable[..., object], src: int, args: tuple[int, ...]
    ) -> None:
        for about, belief in news:
            self._learn(dst, about, belief)
        deliver(dst, src, *args)

    def _pinged(self, dst: int, src: int, asker: int, number: int) -> None:
        self._send(dst, src, "swim_ack", self._acked, asker, number)

    def _asked(self, dst: int, src: int, other: int, target: int, asker: int, number: int) -> None:
        self._send(dst, target, "swim_ping", self._pinged, asker, number)

    def _acked(self, dst: int, src: int, asker: int, number: int) -> None:
        if dst != asker:
            self._send(dst, asker, "swim_ack", self._acked, asker, number)
        elif self._number[asker] == number:
            self._answered[asker] = True

    # -- beliefs --------------------------------------------------------------------------------------------------------------

    def _believes(self, observer: int, node: int) -> _Belief:
        return self._learnt[observer].get(node) or self._at_first[node]

    def _suspect(self, observer: int, node: int) -> None:
        believed = self._believes(observer, node)
        if believed.state == _DEAD:
            return
        now = self._world.clock.now
        self._found.record(now, observer, node, "suspect")
        if self._suspicion_s:
            self._learn(observer, node, _Belief(_SUSPECT, believed.incarnation))
        else:
            self._found.record(now, observer, node, "dead")
            self._learn(observer, node, _Belief(_DEAD, believed.incarnation))

    def _learn(self, observer: int, about: int, news: _Belief) -> None:
        """Take ``news`` over and tell it on, if it is newer than what ``observer`` believes (section 4.2 of the paper)."""
        if about == observer:
            if news.state != _ALIVE and news.incarnation >= self._incarnation[observer]:
                self._incarnation[observer] = news.incarnation + 1
                self._believe(observer, observer, _Belief(_ALIVE, news.incarnation + 1))
            return
        believed = self._believes(observer, about)
        newer = news.incarnation > believed.incarnation
        worse = news.incarnation == believed.incarnation and news.state > believed.state
        if newer or worse:
            self._believe(observer, about, news)

    def _believe(self, observer: int, about: int, belief: _Belief) -> None:
        self._learnt[observer][about] = belief
        self._telling[observer][about] = 0
        if belief.state == _SUSPECT:
            self._deadline_s[observer][about] = self._world.clock.now + self._suspicion_s
        else:
            self._deadline_s[observer].pop(about, None)

    def _to_tell(self, node: int) -> list[tuple[int, _Belief]]:
        """The news that ``node`` has told least often."""
        telling = self._telling[node]
        if not telling:
            return []
        least = sorted(telling, key=telling.__getitem__)[: self._news]
        news = [(about, self._learnt[node][about]) for about in least]
        for about in least:
            telling[about] += 1
            if telling[about] >= self._most_told:
                del telling[about]
        return news

    def _returned(self, node: int) -> None:
        if 0 <= node < self._world.n:
            if self._rests_since_s is not None:
                periods = math.ceil((self._world.clock.now - self._rests_since_s) / self._period_s)
                due_s, self._rests_since_s = self._rests_since_s + periods * self._period_s, None
                self._world.clock.at(due_s, self._all, due_s)
            self._incarnation[node] += 1
            self._believe(node, node, _Belief(_ALIVE, self._incarnation[node]))
