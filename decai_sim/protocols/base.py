"""The protocol family: how nodes cooperate."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from decai_sim.attacks.base import Attack
from decai_sim.component import Component
from decai_sim.learning.execution import Execution
from decai_sim.world.world import SERVER

if TYPE_CHECKING:
    import networkx as nx
    import numpy as np
    import scipy.sparse as sp
    import torch

    from decai_sim.defenses.base import Aggregation, Rule
    from decai_sim.flower.engine_model import EngineModel
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.tasks import Task
    from decai_sim.learning.trainer import Trainer
    from decai_sim.seeding import Streams
    from decai_sim.world.topologies import Topology
    from decai_sim.world.world import World


@dataclass
class Lab:
    """One run under way: what a protocol works with, and where it leaves its results.

    Attributes:
        world: the simulated internet.
        task: what is learned.
        streams: the run's streams.
        topology: who is wired to whom.
        attack: what Byzantine nodes do; None: there are none.
        byzantine: who they are.
        defense: how rows become one; None: the protocol's own way.
        device: where tensors live.
        execution: how training is carried out; without a path, on the fastest, where that has been measured.
        stop: ends the run when set.
        trainer: who trains the nodes of a protocol without a server, if it is not our own ``ClientApp``.
        engine: what Flower's own engine adds to the apps' work, where the protocol runs apps; None: nothing.
        on_round: called with each finished round's record.
        rounds: records of finished rounds: ``round, t_s, accuracy, loss, n_selected, n_replied, replied, bytes_up, bytes_down``,
            bytes being all that nodes have sent and received so far.
        models: how the nodes' own models did in each of them, where there is no server: columns of ``Run.models``.
        hops: how well they know what is held elsewhere: columns of ``Run.hops``.
        model: ``(d,)`` the model at the end of the last round; None before, or if there is no single one.
        verdicts: what rules have made of updates: columns of ``Run.verdicts``.
        passed_over: of each round, how many times a rule had too few rows.
        own_accuracy: ``(n,)`` how well nodes that keep parameters of their own did in the end on their own test samples.
    """

    world: World
    task: Task
    streams: Streams
    topology: Topology
    attack: Attack | None
    byzantine: frozenset[int]
    defense: Rule | None
    device: str = "cpu"
    execution: Execution = field(default_factory=Execution)
    stop: threading.Event | None = None
    trainer: Callable[[Callable[[], object]], AbstractContextManager[Trainer]] | None = None
    engine: EngineModel | None = None
    on_round: Callable[[dict[str, Any]], object] = lambda record: None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    hops: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    passed_over: Counter[int] = field(default_factory=Counter)
    model: torch.Tensor | None = None
    own_accuracy: np.ndarray | None = None
    _goal: tuple[tuple[torch.Tensor, torch.Tensor] | None] | None = field(default=None, init=False, repr=False)  # once known
    _seen: tuple[sp.csr_array, nx.Graph] | None = field(default=None, init=False, repr=False)

    @cached_property
    def clean(self) -> Problem:
        """The task laid out for the run's nodes, before any attack on its data."""
        from decai_sim.learning.problem import Problem

        return Problem(self.task, self.world.n, self.streams, self.device)

    @cached_property
    def problem(self) -> Problem:
        """The same with the samples that data attacks have changed."""
        on_data = None if self.attack is None else self.attack.on_data
        if on_data is None:
            return self.clean
        return self.clean.poisoned(on_data, sorted(self.byzantine), self.streams)

    @property
    def assumed_byzantine(self) -> float:
        """The share of attackers that rules are told of: what there are."""
        return assumed_share(self.attack, self.world.n)

    @property
    def goal(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Test inputs that attackers want to be taken for something else, and for what; None: they want nothing particular."""
        if self._goal is None:
            on_data = None if self.attack is None else self.attack.on_data
            self._goal = (None if on_data is None else self.clean.goal(on_data),)
        return self._goal[0]

    def attack_success(self, model: torch.Tensor) -> float:
        """The share of the test samples that attackers want to be taken for something else that ``model (d,)`` takes for it.

        NaN if they want nothing particular.
        """
        goal = self.goal
        return float("nan") if goal is None else self.clean.success(model.to(self.clean.device), goal)

    def pass_over(self, number: int) -> None:
        """Note that a rule had too few rows in a round, so that nothing came of them."""
        self.passed_over[number] += 1

    def attacks(self, node: int, number: int) -> bool:
        """Whether a node attacks in a round, and is not honest for now."""
        return node in self.byzantine and self.attack is not None and self.attack.active(number)

    def judge(
        self,
        number: int,
        observer: int,
        nodes: Sequence[int],
        result: Aggregation,
        t_s: float | None = None,
        begun: Sequence[int] | None = None,
    ) -> None:
        """Note what a rule has made of updates: whom it kept, and how suspicious it found them.

        Args:
            number: of the round.
            observer: who aggregated; −1: the server.
            nodes: ``(n,)`` whose updates they were.
            result: what came of it.
            t_s: when, virtual seconds; None: now.
            begun: ``(n,)`` the rounds that their senders were in, by which attackers attack or do not; None: all in this one.
        """
        of = [number] * len(nodes) if begun is None else begun
        now = self.world.clock.now if t_s is None else t_s
        kept = result.kept.tolist()
        if observer == SERVER:
            for node, used in sorted(zip(nodes, kept, strict=True)):
                if not used:
                    self.world.trace.decision(now, node, "rejected", f"round {number}")
        of_each = {"weight": result.weights, "score": result.scores}
        self.verdicts.append(
            {
                "round": number,
                "t_s": now,
                "observer": observer,
                "node": list(nodes),
                "byzantine": [node in self.byzantine for node in nodes],
                "attacks": [self.attacks(node, its) for node, its in zip(nodes, of, strict=True)],
                "kept": kept,
                **{name: math.nan if values is None else values.double().tolist() for name, values in of_each.items()},
            }
        )

    @property
    def graph(self) -> nx.Graph:
        """The topology's graph as it is now, with what adversaries have rewired; asking for it begins to use its links.

        It is the same object until links change, which only those of a time-varying topology do.
        """
        self.world.use_links()
        if not (self.world.rewired or self.topology.time_varying):
            return self._built
        links = self.world.graph
        if self._seen is None or self._seen[0] is not links:
            from decai_sim.world.topologies import wiring

            self._seen = links, wiring.as_graph(links)
        return self._seen[1]

    @cached_property
    def _built(self) -> nx.Graph:
        return self.topology.build(self.world.n, self.streams.integer("topology") % 2**32)


def assumed_share(attack: Attack | None, nodes: int) -> float:
    """The share of attackers that rules are told of."""
    if attack is None:
        return 0.0
    return attack.fraction if attack.nodes is None else len(set(attack.nodes)) / nodes


class Protocol(Component, family="protocols"):
    """Base of protocols."""

    needs_connected: ClassVar[bool] = False
    """Whether the topology must be connected for the protocol to make sense."""
    uses_topology: ClassVar[bool] = True
    """Whether nodes talk along the topology's links."""
    example_topology: ClassVar[str] = "ring"
    """A kind of topology that it works on."""
    learns: ClassVar[bool] = True
    """Whether a model is trained."""
    relays: ClassVar[bool] = True
    """Whether nodes may pass on for others what is not their own."""

    @property
    def kinds(self) -> frozenset[str] | None:
        """All kinds of messages that may be sent, as the trace calls them; None: not known."""
        return None

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Find out before a run whether the protocol suits the rest of a scenario.

        Raises:
            ScenarioError: it does not.
        """

    def run(self, lab: Lab) -> None:
        """Run to the end, leaving rounds and model in ``lab``.

        Raises:
            StalledError: somebody waits for what cannot come; what ``lab`` holds by then is kept.
            RunStoppedError: ``lab.stop`` was set.
        """
        raise NotImplementedError

    @property
    def total_rounds(self) -> int | None:
        """How many rounds there will be, for progress bars; None: not known."""
        return None
