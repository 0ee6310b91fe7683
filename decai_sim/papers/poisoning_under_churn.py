"""Robust rules where nodes come and go and updates are late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.curves import settled
from decai_sim.papers.rows import Row
from decai_sim.papers.worker_momentum import ahead, measured, middle, no_better

if TYPE_CHECKING:
    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

NODES, ATTACKERS = 24, 6
"""A quarter of the nodes attack, and they do not go offline."""
ATTACKS: dict[str, dict[str, Any]] = {"sign flip": {"kind": "sign_flip", "scale": 4}, "ALIE": {"kind": "alie"}}
RULES = {"trimmed mean": "trimmed_mean", "Krum": "krum"}
OFFLINE = {"nobody offline": 0, "a third offline": 8, "half offline": 12}
"""How many nodes, all of them honest, are gone soon after the beginning."""
EXPONENTS = (0.0, 0.5)
"""How much less a late update counts: not at all, and by (1 + τ)^−½ as is usual."""
_OURS = "measured with this simulator; no publication says"


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        rounds: of training.
        buffer: how many replies make a model where nobody waits.
        task: its kind.
        seeds: of how many runs.
    """

    rounds: int = 40
    buffer: int = 8
    task: str = "digits"
    seeds: int = 1


SMOKE, PAPER = Size(), Size(rounds=100, task="fashion_mnist", seeds=5)


@claim(
    "poisoning-under-churn",
    paper="a finding of this simulator; no publication has robust rules under churn and staleness together",
    where="24 nodes, 6 of which attack; honest nodes go offline, or the server waits for nobody",
    statement="When a third of the nodes go offline, all of them honest, a trimmed mean that was told the share of attackers "
    "lets loud lies through; told their number it withstands them, and Krum does so either way. With half of the nodes gone, "
    "rules that were told the number refuse to go on. Where a server waits for nobody and late updates count less, Krum chooses "
    "later ones than most; where they count as much and half of the nodes are far away, earlier ones.",
)
def poisoning_under_churn(profile: Profile) -> Iterator[Row]:
    """Accuracies by who is offline and what the rule is told, and how late the updates are that Krum chooses."""
    size = SMOKE if profile == "smoke" else PAPER
    yield from offline_rows(size)
    yield from late_rows(size)
    yield from far_rows(size)


def offline_rows(size: Size, attacks: dict[str, Any] | None = None, rules: dict[str, str] | None = None) -> Iterator[Row]:
    """Accuracies with honest nodes offline."""
    for name, attack in (attacks or ATTACKS).items():
        for called, rule in (rules or RULES).items():
            found: dict[tuple[str, str], list[float]] = {}
            for who, gone in OFFLINE.items():
                for told, f in (("share", None), ("number", ATTACKERS)):
                    found[who, told] = [
                        settled(_run(offline(seed, attack, {"kind": rule, "f": f}, gone, size)).rounds, 3)
                        for seed in _seeds(size)
                    ]
                    yield from measured(f"{name}, {called} told the {told}, {who}", found[who, told])
            if name != "sign flip":
                continue
            label = f"{name}, {called}, a third offline"
            all_there, third = found["nobody offline", "number"], found["a third offline", "number"]
            yield no_better(f"{label}: lost if told the number", all_there, third, 0.1, _OURS)
            if called == "trimmed mean":
                yield ahead(f"{label}: number ahead of share by", third, found["a third offline", "share"], 0.1, _OURS)
            else:
                share = found["a third offline", "share"]
                yield no_better(f"{label}: lost if told the share", found["nobody offline", "share"], share, 0.1, _OURS)
            half = found["half offline", "number"]
            yield ahead(f"{name}, {called}, half offline: lost, as every later round is passed over", all_there, half, 0.3, _OURS)


def late_rows(size: Size, attacks: dict[str, Any] | None = None) -> Iterator[Row]:
    """Accuracies of Krum where the server waits and where it does not, and the ages of what it chooses."""
    cases: dict[str, Any] = {"nobody attacks": None, **(attacks or ATTACKS)}
    for name, attack in cases.items():
        waits = [settled(_run(offline(seed, attack, {"kind": "krum"}, 0, size)).rounds, 3) for seed in _seeds(size)]
        yield from measured(f"{name}, Krum, the server waits", waits)
        chosen: dict[float, list[float]] = {}
        for exponent in EXPONENTS:
            runs = [_run(late(seed, attack, exponent, size)) for seed in _seeds(size)]
            how = f"{name}, Krum, nobody waits, {_counting(exponent)}"
            yield from measured(how, [settled(one.rounds, 6) for one in runs])
            seen = [ages(one) for one in runs]
            every, chosen[exponent] = [all_ for all_, _ in seen], [kept for _, kept in seen]
            yield Row(f"{how}: age of all updates", middle(every), "models")
            yield Row(f"{how}: age of those chosen", middle(chosen[exponent]), "models")
            if exponent:
                yield ahead(f"{how}: those chosen are older than all by", chosen[exponent], every, 0.0, _OURS)
        label = f"{name}, Krum, nobody waits: chosen are older if late updates count less, by"
        yield ahead(label, chosen[EXPONENTS[1]], chosen[EXPONENTS[0]], 0.0, _OURS)


def far_rows(size: Size) -> Iterator[Row]:
    """Ages of what Krum chooses where half of the honest nodes are far away and nobody attacks, as in the notebook."""
    from decai_sim.papers import churn_and_poison as elsewhere

    of = elsewhere.Size(size.task, 32, size.rounds, size.seeds)
    for exponent in EXPONENTS:
        runs = [elsewhere.done(elsewhere.late(seed, "krum", exponent, of, from_round=10**6)) for seed in _seeds(size)]
        how = f"half far away, Krum, nobody waits, {_counting(exponent)}"
        yield from measured(how, [settled(one.rounds, 6) for one in runs])
        seen = [elsewhere.ages(one) for one in runs]
        every, chosen = ([float(age[which]) for age in seen] for which in ("seen", "kept"))
        yield Row(f"{how}: age of all updates", middle(every), "models")
        yield Row(f"{how}: age of those chosen", middle(chosen), "models")
        if exponent:
            yield ahead(f"{how}: those chosen are older than all by", chosen, every, 0.0, _OURS)
        else:
            yield ahead(f"{how}: those chosen are fresher than all by", every, chosen, 0.0, _OURS)


def _counting(exponent: float) -> str:
    return f"late updates count (1 + τ)^−{exponent:g}"


def _seeds(size: Size) -> range:
    return range(1, size.seeds + 1)


def _run(scenario: Scenario) -> Run:
    import warnings

    from decai_sim.runs import run

    with warnings.catch_warnings():  # that a round is passed over is a result here
        warnings.filterwarnings("ignore", "round .* is passed over", RuntimeWarning)
        return run(scenario, progress=False)


def _scenario(
    seed: int, attack: dict[str, Any] | None, defense: Any, protocol: dict[str, Any], size: Size, **more: Any
) -> Scenario:
    from decai_sim.scenario import Scenario

    liars = list(range(NODES - ATTACKERS, NODES))
    how = {"rounds": size.rounds, "fraction": 1.0, "local_steps": 5, "batch_size": 16, "lr": 0.1}
    return Scenario.model_validate(
        {
            "nodes": NODES,
            "seed": seed,
            "network": "ideal",
            "task": {"kind": size.task, "partition": "iid", "model": {"kind": "mlp", "hidden": [32]}},
            "protocol": {**how, **protocol},
            "attack": None if attack is None else {"nodes": liars, **attack},
            "defense": defense,
            **more,
        }
    )


def offline(seed: int, attack: dict[str, Any] | None, defense: Any, gone: int, size: Size = SMOKE) -> Scenario:
    """The server waits for all who are listed; the first ``gone`` nodes crash for good soon after the beginning.

    Example:
        >>> offline(1, None, "krum", 8).faults[0].nodes
        (0, 1, 2, 3, 4, 5, 6, 7)
    """
    faults = [{"kind": "crash", "nodes": list(range(gone)), "at_s": 1e-4}] if gone else []
    return _scenario(seed, attack, defense, {"kind": "federated", "deadline_s": 60.0}, size, faults=faults)


def late(seed: int, attack: dict[str, Any] | None, exponent: float, size: Size = SMOKE) -> Scenario:
    """The server makes a model of every few replies, of nodes fast and slow, and waits for nobody.

    Example:
        >>> late(1, None, 0.5).protocol.kind
        'fedbuff'
    """
    protocol = {
        "kind": "fedbuff",
        "buffer": size.buffer,
        "rounds": 2 * size.rounds,
        "staleness_exponent": exponent,
    }
    return _scenario(seed, attack, "krum", protocol, size, devices={"kind": "mix", "phone": 0.5, "laptop": 0.5})


def ages(run: Run) -> tuple[float, float]:
    """How many models have overtaken an update on average: of all that the rule saw, and of those it kept."""
    from decai_sim.papers.churn_and_poison import aged

    verdicts = aged(run)
    return float(verdicts["age"].mean()), float(verdicts["age"][verdicts["kept"].astype(bool)].mean())
