"""Claims: what publications say, and whether it is so here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Literal

from decai_sim.papers.rows import Row

Profile = Literal["smoke", "paper"]
"""``smoke``: seconds, one to three seeds; ``paper``: the published setting as far as the machine allows, five seeds or more."""

Check = Callable[[Profile], Iterable[Row]]

_FILES = (
    "spectral_gap",
    "one_peer_exponential",
    "percolation",
    "swim_detection",
    "weibull_sessions",
    "max_min_fairness",
    "queueing_delay",
    "gossip_rounds",
    "bitcoin_propagation",
    "client_drift",
    "fedbuff",
    "consensus_in_runs",
    "push_sum",
    "exponential_graphs",
    "epidemic_learning",
    "uneven_rings",
    "ad_psgd",
    "moshpit",
    "sim_to_real",
    "bucketing",
    "clipped_gossip",
    "mixing_on_digits",
    "alie",
    "ipm",
    "min_max",
    "fltrust",
    "model_replacement",
    "peer_rules",
    "poisoning_under_churn",
    "nnm",
)
"""Modules of this package that hold a claim each, in the order in which they are checked."""


@dataclass(frozen=True)
class Claim:
    """Something published that can be checked here.

    Attributes:
        name: what ``decai-sim reproduce`` calls it.
        paper: the publication.
        where: where in it.
        statement: what it says, in one sentence.
        check: from a profile to the figures, each with what it is held against.
    """

    name: str
    paper: str
    where: str
    statement: str
    check: Check

    def rows(self, profile: Profile = "smoke") -> list[Row]:
        """Check it. The figures depend on nothing but the profile; their names begin with the claim's."""
        return [row.of(self.name) for row in self.check(profile)]


def claim(name: str, *, paper: str, where: str, statement: str) -> Callable[[Check], Claim]:
    """Make a check a :class:`Claim`; the arguments are its attributes.

    Example:
        >>> @claim("two-and-two", paper="Peano 1889", where="arithmetic", statement="2 + 2 = 4.")
        ... def two_and_two(profile):
        ...     yield Row.near("2 + 2", 2 + 2, "", 4, 0, "Peano 1889")
        >>> [(row.name, row.meets) for row in two_and_two.rows()]
        [('two-and-two: 2 + 2', True)]
    """

    def made(check: Check) -> Claim:
        return Claim(name, paper, where, statement, check)

    return made


@cache
def _all() -> dict[str, Claim]:
    modules = (import_module(f"decai_sim.papers.{name}") for name in _FILES)
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Claim)]
    return {one.name: one for one in found}


def claims() -> dict[str, Claim]:
    """All claims by name.

    Example:
        >>> claims()["spectral-gap"].statement[:37]
        'Averaging with Metropolis weights nea'
    """
    return dict(_all())
