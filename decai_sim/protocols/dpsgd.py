"""Decentralized parallel SGD: learning without a server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from decai_sim.attacks.base import UpdateAttack
from decai_sim.errors import RunStoppedError, ScenarioError, StalledError
from decai_sim.protocols.base import Lab
from decai_sim.protocols.local_training import LocalTraining
from decai_sim.world.sizes import ENVELOPE_BYTES

if TYPE_CHECKING:
    import torch

    from decai_sim.attacks import Attack
    from decai_sim.defenses import Rule
    from decai_sim.learning.trainer import Trainer
    from decai_sim.learning.training import Plan


class DPSGD(LocalTraining, kind="dpsgd"):
    """Each round every node trains on its own data, sends its model to its neighbours and averages what it gets with its own.

    Source: Lian et al., "Can decentralized algorithms outperform centralized algorithms?" (NeurIPS 2017), Algorithm 1; Metropolis
    weights after Xiao, Boyd & Kim, "Distributed average consensus with least-mean-square deviation" (2007), section 2.1.
    Assumes: rounds are in step: a round begins for all at once, when all models sent have arrived or its deadline has passed.
    Deviations: nodes train for whole epochs before they average, and average after training. Only links whose both directions
    arrived in time are used, with weights recomputed for them, so that the average stays unbiased when nodes are away.

    Attributes:
        rounds: rounds of training and averaging.
        deadline_s: longest a round takes, virtual seconds.
        local_epochs: passes over a node's own data; for this and the rest see :class:`LocalTraining`.

    Example:
        >>> DPSGD(rounds=5).needs_connected
        True
    """

    needs_connected: ClassVar[bool] = True
    relays: ClassVar[bool] = False

    rounds: int = Field(default=10, ge=1)
    deadline_s: float = Field(default=600.0, gt=0)

    @property
    def kinds(self) -> frozenset[str]:
        """Models."""
        return frozenset({"model"})

    @property
    def total_rounds(self) -> int:
        """The number of rounds."""
        return self.rounds

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Refuse what the protocol does not do: rules, and attacks on what is sent."""
        if defense is not None:
            raise ScenarioError(f"defense: {defense.to_config()} is not allowed: protocol 'dpsgd' averages, it takes no rule")
        if isinstance(attack, UpdateAttack):
            raise ScenarioError(
                f"attack.kind: {attack.kind!r} is not allowed: under protocol 'dpsgd' only attacks on data are carried out"
            )

    def run(self, lab: Lab) -> None:
        """Run the rounds; ``rounds.accuracy`` is that of the mean of all nodes' models."""
        with lab.execution.trainer(lab.problem, lambda: _checkpoint(lab)) as trainer:
            self._train(lab, trainer)

    def _train(self, lab: Lab, trainer: Trainer) -> None:
        problem, store, n, graph = lab.problem, trainer.store, lab.world.n, None
        plan = self.plan()
        models = store.put(problem.initial().to(problem.device).expand(n, -1))
        nbytes = ENVELOPE_BYTES + 4 * problem.layout.d
        for server_round in range(1, self.rounds + 1):
            while not any(lab.world.nodes.online[:n]):
                _checkpoint(lab)
                if lab.world.nodes.all_departed() or not lab.world.clock.step():
                    raise StalledError(f"dpsgd waits for a node to come online, from virtual time {lab.world.clock.now:.1f} s on")
            if graph is not lab.graph:
                graph = lab.graph
                neighbours = [sorted(graph[node]) for node in range(n)]
            asked = [node for node in range(n) if lab.world.nodes.online[node]]
            trained, arrived = self._round(lab, asked, neighbours, nbytes, plan)
            jobs = [trainer.begin(node, server_round, models[node], plan) for node in trained]
            trainer.complete(jobs)
            for job in jobs:
                assert job.result is not None
                models[job.node] = job.result
            mixed = _metropolis(n, arrived).to(problem.device) @ store.gather(models)
            models = store.put(mixed)
            lab.model = mixed.mean(0)
            accuracy, loss = problem.evaluate(lab.model)
            links = lab.world.links
            record = {
                "round": server_round,
                "t_s": lab.world.clock.now,
                "accuracy": accuracy,
                "loss": loss,
                "n_selected": len(asked),
                "n_replied": len(trained),
                "replied": trained,
                "bytes_up": sum(links.bytes_up[:-1]),
                "bytes_down": sum(links.bytes_down[:-1]),
            }
            lab.rounds.append(record)
            lab.on_round(record)

    def _round(
        self, lab: Lab, asked: list[int], neighbours: list[list[int]], nbytes: int, plan: Plan
    ) -> tuple[list[int], set[tuple[int, int]]]:
        """Virtual time of one round: who finished training, and which models arrived where."""
        from decai_sim.learning.training import work_flops

        world, here = lab.world, set(asked)
        trained: list[int] = []
        arrived: set[tuple[int, int]] = set()
        over = [False]

        def receive(src: int, dst: int) -> None:
            if not over[0]:
                arrived.add((src, dst))

        def done(node: int) -> None:
            if over[0]:
                return
            trained.append(node)
            for other in neighbours[node]:
                if other in here:
                    world.links.send(node, other, nbytes, "model", receive, node, other)

        for node in asked:
            world.compute(node, work_flops(lab.problem, node, plan), "train", partial(done, node))
        expected = sum(other in here for node in asked for other in neighbours[node])
        deadline = world.clock.now + self.deadline_s
        world.clock.at(deadline, lambda: None)  # so that there always is an event to come
        while world.clock.now < deadline and (len(trained) < len(asked) or len(arrived) < expected):
            _checkpoint(lab)
            world.clock.step()
        over[0] = True
        return sorted(trained), arrived


def _checkpoint(lab: Lab) -> None:
    if lab.stop is not None and lab.stop.is_set():
        raise RunStoppedError("the run was stopped")


def _metropolis(n: int, arrived: set[tuple[int, int]]) -> torch.Tensor:
    """Metropolis weights ``(n, n)``, sparse, of the links used in both directions: 1 / (1 + the larger degree)."""
    import numpy as np
    import torch

    pairs = np.array(sorted((a, b) for a, b in arrived if (b, a) in arrived), dtype=np.int64).reshape(-1, 2)
    degree = np.bincount(pairs[:, 0], minlength=n)
    weight = 1.0 / (1 + np.maximum(degree[pairs[:, 0]], degree[pairs[:, 1]]))
    own = 1.0 - np.bincount(pairs[:, 0], weights=weight, minlength=n)
    index = np.concatenate([pairs.T, np.tile(np.arange(n), (2, 1))], axis=1)
    values = torch.as_tensor(np.concatenate([weight, own]), dtype=torch.float32)
    return torch.sparse_coo_tensor(torch.as_tensor(index), values, (n, n), check_invariants=False).coalesce()
