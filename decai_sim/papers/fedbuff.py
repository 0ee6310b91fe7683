"""Synchronous and asynchronous federation with stragglers, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decai_sim.papers.claims import Profile, claim
from decai_sim.papers.curves import reaching
from decai_sim.papers.rows import Row, interval_rows, median_interval

if TYPE_CHECKING:
    import pandas as pd

    from decai_sim.runs import Run
    from decai_sim.scenario import Scenario

TARGET, BUFFER, OVER = 0.78, 10, 1.3
SLOW_SHARE, FACTOR = 0.1, 10
"""A tenth of the nodes is behind links of a tenth of the rate."""
WAYS = ("FedAvg", "FedAvg, over-selection", "FedBuff", "FedAsync")

_NGUYEN = "Nguyen et al., AISTATS 2022, abstract: 3.3 times as efficient as synchronous learning; the ordering"
_BONAWITZ = "Bonawitz et al., MLSys 2019, section 2.2: 130 % are selected so that nobody waits for the slowest"
_FIRST = "Bonawitz et al., MLSys 2019, section 2.2: the first replies that are enough end the round; the slow are not among them"


@dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        nodes: how many hold data; a fifth of them is at work at any time.
        rounds: of the synchronous protocols; the asynchronous ones get as many replies.
        task: its kind.
        model: what is trained.
        target: the accuracy that is to be reached.
        buffer: how many replies make a model of FedBuff.
    """

    nodes: int = 100
    rounds: int = 16
    task: str = "fashion_mnist"
    model: tuple[int, ...] = (64,)
    target: float = TARGET
    buffer: int = BUFFER


SMOKE, PAPER = Size(), Size(nodes=500, rounds=24)


@claim(
    "fedbuff",
    paper="Nguyen et al., 'Federated learning with buffered asynchronous aggregation' (AISTATS 2022); Bonawitz et al., 'Towards "
    "federated learning at scale: system design' (MLSys 2019)",
    where="abstract: FedBuff against synchronous learning; over-selection: section 2.2 of Bonawitz et al.",
    statement="With stragglers, FedBuff reaches an accuracy in less time than FedAvg with as many nodes at work; "
    "over-selection, too, gains time, by leaving slow nodes out.",
)
def fedbuff(profile: Profile) -> Iterator[Row]:
    """Virtual time until a target accuracy, a fifth of the nodes at work; medians over the seeds."""
    if profile == "smoke":
        yield from stragglers_rows(SMOKE, range(1, 3), WAYS[:3])
    else:
        yield from stragglers_rows(PAPER, range(1, 8), WAYS)


def slow_nodes(nodes: int) -> list[int]:
    """Those behind slow links.

    Example:
        >>> slow_nodes(20)
        [0, 1]
    """
    return list(range(int(SLOW_SHARE * nodes)))


def scenario(seed: int, way: str = "FedAvg", size: Size = SMOKE) -> Scenario:
    """Uneven data, devices and links; ``way`` is one of :data:`WAYS`.

    Args:
        seed: of everything.
        way: how the server goes about it.
        size: of the experiment.

    Example:
        >>> scenario(1, "FedBuff").protocol.rounds
        32
    """
    from decai_sim.scenario import Scenario

    replies = size.rounds * size.nodes // 5
    server: dict[str, Any] = {
        "FedAvg": {"kind": "federated", "rounds": size.rounds},
        "FedAvg, over-selection": {"kind": "federated", "rounds": size.rounds, "over_select": OVER},
        "FedBuff": {"kind": "fedbuff", "rounds": replies // size.buffer, "buffer": size.buffer},
        "FedAsync": {"kind": "fedasync", "rounds": replies, "evaluate_every": size.buffer},
    }[way]
    return Scenario.model_validate(
        {
            "nodes": size.nodes,
            "seed": seed,
            "network": "internet",
            "devices": {"kind": "mix", "raspberry_pi": 0.1, "phone": 0.4, "laptop": 0.4, "gpu": 0.1},
            "faults": [{"kind": "slow_links", "nodes": slow_nodes(size.nodes), "factor": FACTOR}],
            "task": {
                "kind": size.task,
                "partition": {"kind": "dirichlet", "alpha": 0.3, "min_samples": 0},
                "model": {"kind": "mlp", "hidden": size.model},
            },
            "protocol": {**server, "fraction": 0.2, "local_epochs": 1, "batch_size": 20, "lr": 0.05},
        }
    )


def share_from(run: Run, nodes: list[int]) -> float:
    """Share of the replies that went into models which came from ``nodes``.

    Under a synchronous protocol a reply that comes when its round is over is not read.

    Args:
        run: under ``federated``, ``fedbuff`` or ``fedasync``, of nodes that stay and links that lose nothing.
        nodes: of interest.

    Returns:
        0…1; not a number if there was no reply.
    """
    import numpy as np

    replies = answered(run)
    if run.scenario.protocol.kind == "federated":
        ends_s = run.rounds["t_s"].to_numpy()
        of_round = np.searchsorted(ends_s, replies["t_asked_s"], side="right")
        replies = replies[np.searchsorted(ends_s, replies["t_delivered_s"]) == of_round]
    return float(replies["src"].isin(nodes).mean())


def answered(run: Run) -> pd.DataFrame:
    """Replies that arrived, as rows of ``run.messages``, with ``t_asked_s``: when the server sent what they answer.

    A node does one job after the other, so its first reply is to its first instruction, and so on: as long as it stays and
    nothing is lost.

    Args:
        run: under a protocol with a server.
    """
    there = run.messages[run.messages["outcome"] == "delivered"]
    asked = there[there["kind"] == "train"].sort_values("t_delivered_s", kind="stable")
    asked = asked.assign(src=asked["dst"], t_asked_s=asked["t_sent_s"], which=asked.groupby("dst").cumcount())
    replies = there[there["kind"] == "train_reply"].sort_values("t_sent_s", kind="stable")
    replies = replies.assign(which=replies.groupby("src").cumcount())
    return replies.merge(asked[["src", "which", "t_asked_s"]], on=["src", "which"]).drop(columns="which")


def stragglers_rows(size: Size, seeds: range, ways: tuple[str, ...]) -> Iterator[Row]:
    """The figures of the claim, for an experiment of any size."""
    from decai_sim.runs import run

    slow = slow_nodes(size.nodes)
    took: dict[str, list[dict[str, float]]] = {}
    shares: dict[str, list[float]] = {}
    for way in ways:
        runs = [run(scenario(seed, way, size), progress=False) for seed in seeds]
        took[way] = [reaching(one.rounds, size.target) for one in runs]
        shares[way] = [share_from(one, slow) for one in runs]
        times = [one["t_s"] for one in took[way]]
        yield Row(f"{way}: time to {size.target:.0%}", median_interval(times)[0], "s")
        yield from interval_rows(f"{way}: time to {size.target:.0%}", times, "s")
        yield Row(f"{way}: replies by then", median_interval([one["replies"] for one in took[way]])[0])
        yield Row(f"{way}: share of replies from the slow tenth", median_interval(shares[way])[0])

    def ratio(way: str, other: str) -> float:
        return median_interval([a["t_s"] / b["t_s"] for a, b in zip(took[way], took[other], strict=True)])[0]

    sync, over, buffered = WAYS[:3]
    faster = ratio(sync, buffered)
    yield Row(f"time to {size.target:.0%}: FedAvg over FedBuff", faster, "", "> 1", faster > 1, _NGUYEN)
    quicker = ratio(sync, over)
    yield Row(f"time to {size.target:.0%}: FedAvg over FedAvg with over-selection", quicker, "", "> 1", quicker > 1, _BONAWITZ)
    yield Row(f"time to {size.target:.0%}: FedAvg with over-selection over FedBuff", ratio(over, buffered))
    left = {way: median_interval(shares[way])[0] for way in (sync, over, buffered)}
    for other in (sync, buffered):
        less = left[over] - left[other]
        yield Row(f"share from the slow tenth: over-selection less {other}", less, "", "< 0", less < 0, _FIRST)
    if "FedAsync" in ways:
        yield Row(f"time to {size.target:.0%}: FedAsync over FedBuff", ratio("FedAsync", buffered))
