"""SWIM among the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from decai_sim.world.membership.base import Membership

if TYPE_CHECKING:
    from decai_sim.world.swim import Swim
    from decai_sim.world.world import World


class SWIM(Membership, kind="swim"):
    """Every period each node probes another one; who does not answer, directly or through others, is suspected and then given up.

    All of it is messages among nodes: ``swim_ping``, ``swim_ack`` and ``swim_ping_req``, which queue, get lost and are counted.
    How it works in detail, and what to expect, is said at :class:`~decai_sim.world.swim.Swim`.

    Source: Das, Gupta & Motivala, "SWIM: Scalable weakly-consistent infection-style process group membership protocol" (DSN
    2002).
    Assumes: at first everybody knows who is there. The server is not of the group: its list is that of free heartbeats, every
        30 s with a patience of two, whatever the nodes find.
    Deviations: those of ``Swim``. Protocols do not ask it: what nodes find is there to be measured, in ``run.detections``.

    Attributes:
        period_s: length of a protocol period, virtual seconds.
        proxies: how many are asked to probe in one's place, the paper's k.
        suspicion_periods: how long a suspected node may deny it, periods; 0: it is declared dead at once.
        timeout_s: how long to wait for an answer before others are asked, seconds, below ``period_s``; None: 0.3 periods.
        news: most pieces of news on a message.
        together: whether all nodes' periods begin at the same moments; if not, each begins at a random moment of its own.

    Example:
        >>> SWIM(period_s=5).proxies
        3
    """

    among_nodes: ClassVar[bool] = True

    examples = ({}, {"period_s": 5, "proxies": 1, "suspicion_periods": 3, "timeout_s": 2, "news": 4, "together": False})

    period_s: float = Field(default=1.0, gt=0)
    proxies: int = Field(default=3, ge=0)
    suspicion_periods: float = Field(default=5.0, ge=0)
    timeout_s: float | None = Field(default=None, gt=0)
    news: int = Field(default=6, ge=0)
    together: bool = True

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.timeout_s is not None and self.timeout_s >= self.period_s:
            raise ValueError(f"timeout_s = {self.timeout_s:g} must be below period_s = {self.period_s:g}")
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """Probes, answers to them, and requests to probe in one's place."""
        return "swim_ping", "swim_ack", "swim_ping_req"

    def watch(self, world: World) -> Swim:
        """Let the nodes watch each other."""
        from decai_sim.world.swim import Swim

        swim = Swim(world, self.period_s, self.proxies, self.suspicion_periods, self.timeout_s, self.news, self.together)
        swim.start()
        return swim
