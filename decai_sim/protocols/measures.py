"""How well models without a server do: the mean of all, each, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from decai_sim.learning import evaluation

if TYPE_CHECKING:
    from decai_sim.learning.trainer import Trainer
    from decai_sim.learning.values import Value
    from decai_sim.protocols.base import Lab
    from decai_sim.protocols.peer_to_peer import PeerToPeer
    from decai_sim.protocols.peers import Peers

_ROWS = 64


class Measures:
    """Looks at the models of all nodes.

    Args:
        lab: where results are left.
        trainer: knows the models.
        protocol: says on how many samples of the central test set each node's model is tried.
    """

    def __init__(self, lab: Lab, trainer: Trainer, protocol: PeerToPeer) -> None:
        self._lab, self._trainer, self._linked = lab, trainer, protocol.uses_topology
        tests, of_all = protocol.node_tests, lab.problem.n_tests
        drawn = lab.streams.of("node_tests").permutation(of_all)[: min(tests, of_all)]
        self._tests = np.sort(drawn)
        self._hops: np.ndarray | None = None

    def take(self, number: int, t_s: float, models: Sequence[Value], peers: Peers) -> tuple[float, float]:
        """Note how each node's model does after a round; returns accuracy and loss of the mean of all models.

        Args:
            number: of the round.
            t_s: when it ended, virtual seconds.
            models: of all nodes.
            peers: the nodes.
        """
        lab, store = self._lab, self._trainer.store
        import torch

        self._trainer.complete(list({id(model): model for model in models}.values()))
        rows = [model.result for model in models if model.result is not None]
        assert len(rows) == len(models)
        here = np.array(peers.online[: peers.n], dtype=bool)
        counted = [row for row, there in zip(rows, here, strict=True) if there] or rows
        lab.model = store.weighted_sum(counted, torch.full((len(counted),), 1 / len(counted)))
        frame: dict[str, Any] = {
            "round": number,
            "t_s": t_s,
            "node": np.arange(len(rows)),
            "online": here,
            "accuracy": np.nan,
            "attack_success": np.nan,
            "distance": np.empty(len(rows)),
            "updates": np.array(peers.updates),
            "waited_s": peers.waited_s.copy(),
        }
        right = np.zeros((len(rows), len(self._tests)), dtype=bool)
        goal = lab.goal
        if goal is not None and len(self._tests):
            goal = goal[0][: len(self._tests)], goal[1][: len(self._tests)]
            frame["attack_success"] = np.empty(len(rows))
        for at in range(0, len(rows), _ROWS):
            some = store.gather(rows[at : at + _ROWS])
            frame["distance"][at : at + _ROWS] = torch.linalg.vector_norm(some - lab.model, dim=1).cpu().numpy()
            if len(self._tests):
                right[at : at + _ROWS] = evaluation.on_tests(lab.problem, some, self._tests)
                if goal is not None:
                    frame["attack_success"][at : at + _ROWS] = evaluation.taken_for(lab.clean, some, *goal).mean(axis=1)
        if len(self._tests):
            frame["accuracy"] = right.mean(axis=1)
            if self._trainer.knows_data and not (self._linked and lab.topology.time_varying):
                lab.hops.append({"round": number, "t_s": t_s, **self._by_hop(right)})
        lab.models.append(frame)
        return lab.problem.evaluate(lab.model)

    def _by_hop(self, right: np.ndarray) -> dict[str, np.ndarray]:
        """How often the nodes are right about what is held so many links away."""
        if self._hops is None:
            self._hops = _hops(self._lab, self._linked)
        _, labels = self._lab.problem.tests(self._tests)
        hops = self._hops[:, labels.cpu().numpy()]  # (nodes, samples)
        known = hops >= 0
        tried = np.bincount(hops[known])
        hits = np.bincount(hops[known], weights=right[known])
        there = np.flatnonzero(tried)
        return {"hop": there, "accuracy": hits[there] / tried[there], "tried": tried[there]}


def _hops(lab: Lab, uses_topology: bool) -> np.ndarray:
    """``(n, classes)`` int64: links from the nearest node that holds samples of a class to each; −1: none leads there."""
    from scipy.sparse.csgraph import dijkstra

    holds = lab.problem.class_counts() > 0
    hops = np.where(holds, 0, np.where(holds.any(axis=0), 1, -1))
    if not uses_topology:
        return hops
    links = lab.world.contacts_in(0)
    for label in np.flatnonzero(holds.any(axis=0)):
        away = dijkstra(links, unweighted=True, indices=np.flatnonzero(holds[:, label]), min_only=True)
        hops[:, label] = np.where(np.isfinite(away), away, -1)
    return hops
