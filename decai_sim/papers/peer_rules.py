"""Rules for nodes without a server: each must keep its neighbours' lies out by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.rows import Row
from decai_sim.papers.worker_momentum import ahead, measured, no_better

if TYPE_CHECKING:
    from decai_sim.scenario import Scenario

ATTACKS: dict[str, dict[str, Any]] = {
    "noise": {"kind": "gaussian", "std": 2.0},
    "sign flip": {"kind": "sign_flip", "scale": 4},
}


@dataclass(frozen=True)
class Size:
    """How large an experiment is.

    Attributes:
        nodes: how many, of which a fifth attacks.
        degree: neighbours of each, more than two for each attacker.
        rounds: of training and averaging.
        task: its kind.
        seeds: of how many runs.
    """

    nodes: int = 15
    degree: int = 8
    rounds: int = 20
    task: str = "digits"
    seeds: int = 1

    @property
    def attackers(self) -> int:
        """How many attack; all of them may be neighbours of the same node."""
        return self.nodes // 5


SMOKE, PAPER = Size(), Size(nodes=20, degree=10, rounds=60, task="fashion_mnist", seeds=5)


@claim(
    "balance",
    paper="Fang et al., 'Byzantine-robust decentralized federated learning' (CCS 2024)",
    where="Section 6: decentralized learning on regular graphs, 20 % attackers, Gaussian and sign-flip-like attacks",
    statement="Nodes that average only models near their own (BALANCE) keep learning under attacks that ruin plain averaging, "
    "and lose nothing without.",
)
def balance(profile: Profile) -> Iterator[Row]:
    """Mean accuracies of the honest nodes' own models."""
    size = SMOKE if profile == "smoke" else PAPER
    yield from peer_rows(
        "BALANCE", {"kind": "balance", "gamma": 1.0, "rounds": size.rounds}, size, "Fang et al., CCS 2024, table 2"
    )


@claim(
    "ubar",
    paper="Guo et al., 'Byzantine-resilient decentralized stochastic gradient descent' (IEEE TCSVT 2021)",
    where="Section V: decentralized learning under Gaussian and sign-flip attacks",
    statement="Nodes that take the nearest models that do well on their own data (UBAR) keep learning under attacks that ruin "
    "plain averaging, and lose little without.",
)
def ubar(profile: Profile) -> Iterator[Row]:
    """Mean accuracies of the honest nodes' own models."""
    yield from peer_rows("UBAR", "ubar", SMOKE if profile == "smoke" else PAPER, "Guo et al., TCSVT 2021, Section V")


@claim(
    "bridge",
    paper="Fang, Yang & Bajwa, 'BRIDGE: Byzantine-resilient decentralized gradient descent' (IEEE TSIPN 2022); Yang & Bajwa, "
    "'ByRDiE' (2019)",
    where="Section VI: decentralized learning, attackers among the neighbours of each node",
    statement="Nodes that leave out the largest and smallest values in each coordinate (BRIDGE-T) keep learning under attacks "
    "that ruin plain averaging, and lose little without.",
)
def bridge(profile: Profile) -> Iterator[Row]:
    """Mean accuracies of the honest nodes' own models; the rule is told how many attack in all, as one node may have them all."""
    size = SMOKE if profile == "smoke" else PAPER
    rule = {"kind": "bridge", "f": size.attackers}
    yield from peer_rows("BRIDGE-T", rule, size, "Fang, Yang & Bajwa, TSIPN 2022, Section VI")


def peer_rows(called: str, rule: Any, size: Size, source: str, attacks: Any = None) -> Iterator[Row]:
    """A rule beside plain averaging, without attackers and under each attack."""
    seeds = range(1, size.seeds + 1)
    plain, ruled = (honest(scenario(seed, None, how, size) for seed in seeds) for how in (None, rule))
    yield from measured("nobody attacks, plain averages", plain)
    yield from measured(f"nobody attacks, {called}", ruled)
    yield no_better(f"nobody attacks: lost to {called}", plain, ruled, 0.1, f"{source}; 0.1 is ours")
    for name, attack in (ATTACKS if attacks is None else attacks).items():
        lost, kept = (honest(scenario(seed, attack, how, size) for seed in seeds) for how in (None, rule))
        yield from measured(f"{name}, plain averages", lost)
        yield from measured(f"{name}, {called}", kept)
        yield ahead(f"{name}: {called} ahead of plain averages by", kept, lost, 0.1, f"{source}; the ordering")


def scenario(seed: int, attack: dict[str, Any] | None = None, rule: Any = None, size: Size = SMOKE) -> Scenario:
    """D-PSGD on a regular graph, data alike; the nodes with the highest numbers attack.

    Example:
        >>> scenario(1, ATTACKS["noise"], "ubar").attack.nodes
        (12, 13, 14)
    """
    from decai_sim.scenario import Scenario

    liars = list(range(size.nodes - size.attackers, size.nodes))
    return Scenario.model_validate(
        {
            "nodes": size.nodes,
            "seed": seed,
            "topology": {"kind": "random_regular", "degree": size.degree},
            "network": "ideal",
            "task": {"kind": size.task, "partition": "iid", "model": {"kind": "mlp", "hidden": [32]}},
            "protocol": {
                "kind": "dpsgd",
                "rounds": size.rounds,
                "local_steps": 5,
                "batch_size": 16,
                "lr": 0.1,
                "node_tests": 360,
            },
            "attack": None if attack is None else {"nodes": liars, **attack},
            "defense": rule,
        }
    )


def honest(scenarios: Any) -> list[float]:
    """The mean accuracy, at the end, of the honest nodes' own models, for each run."""
    from decai_sim.runs import run

    found = []
    for one in scenarios:
        done = run(one, progress=False)
        liars = done.nodes.loc[done.nodes["byzantine"], "node"]
        last = done.models[done.models["round"] == one.protocol.rounds]
        found.append(float(last.loc[~last["node"].isin(liars), "accuracy"].mean()))
    return found
