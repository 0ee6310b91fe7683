"""What protocols without a server have in common: nodes that react to what they hear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from decai_sim.attacks.base import PeerAttack, UpdateAttack
from decai_sim.attacks.lie_count import LieCount
from decai_sim.attacks.lying_weights import LyingWeights
from decai_sim.errors import ScenarioError
from decai_sim.protocols.base import Lab
from decai_sim.protocols.local_training import LocalTraining

if TYPE_CHECKING:
    from decai_sim.attacks import Attack
    from decai_sim.defenses import Rule
    from decai_sim.learning.jobs import Job
    from decai_sim.protocols.peers import Peers


class PeerToPeer(LocalTraining, abstract=True):
    """Base of protocols whose nodes learn from each other, without a server.

    A protocol says what a node does when it begins, has trained, hears from another, wakes, comes or goes. It works with handles:
    what they stand for is computed when somebody looks.

    Attributes:
        rounds: how many rounds; of protocols that know none, a round is over when the nodes have trained once more on average.
        evaluate_every: after how many rounds models are looked at; the rounds between have no accuracy.
        node_tests: on how many samples of the central test set each node's own model is tried; 0: none.
    """

    relays: ClassVar[bool] = False
    agrees: ClassVar[bool] = True
    """Whether nodes that all reach each other hold the same model after :meth:`rounds_to_agree`, if nothing is lost: the mean."""
    keeps_mean: ClassVar[bool] = True
    """Whether the mean of all models changes by training alone, if nothing is lost and links lead both ways."""

    open_to_lies: ClassVar[bool] = False
    """Whether attackers may send something else than their models, and nodes combine what they hear by a rule."""

    rounds: int = Field(default=10, ge=1)
    evaluate_every: int = Field(default=1, ge=1)
    node_tests: int = Field(default=100, ge=0)

    @property
    def tells_degrees(self) -> bool:
        """Whether nodes weigh others by how many neighbours these say they have."""
        return False

    @property
    def kinds(self) -> frozenset[str]:
        """Models."""
        return frozenset({"model"})

    @property
    def total_rounds(self) -> int:
        """The number of rounds."""
        return self.rounds

    def check(self, nodes: int, attack: Attack | None, defense: Rule | None) -> None:
        """Refuse what the protocol does not do: rules, and attacks on what is sent, unless it is open to them."""
        if not self.open_to_lies and defense is not None:
            raise ScenarioError(
                f"defense: {defense.to_config()} is not allowed: protocol {self.kind!r} averages, it takes no rule"
            )
        if defense is not None and ("server" in defense.needs or ("loss" in defense.needs and not defense.peer)):
            raise ScenarioError(
                f"defense: {defense.to_config()} is not allowed: under protocol {self.kind!r} there is no server whose samples "
                "it could use"
            )
        if not self.open_to_lies and isinstance(attack, UpdateAttack | PeerAttack):
            raise ScenarioError(
                f"attack.kind: {attack.kind!r} is not allowed: under protocol {self.kind!r} only attacks on data are carried out"
            )
        if isinstance(attack, UpdateAttack):
            self._refuse_lies(attack)
        if isinstance(attack, LyingWeights) and not self.tells_degrees:
            raise ScenarioError(
                f"attack.kind: {attack.kind!r} is not allowed: under this {self.kind!r} nobody weighs by degrees; choose "
                "protocol 'dpsgd' with metropolis weights"
            )

    def _refuse_lies(self, attack: UpdateAttack) -> None:
        """Refuse what nobody would notice: it would look as if it were withstood."""
        if attack.timing != "honest":
            raise ScenarioError(
                f"attack.timing: {attack.timing!r} is not allowed: under protocol {self.kind!r} nodes wait for each other"
            )
        if attack.omniscient:
            raise ScenarioError(
                f"attack.omniscient: true is not allowed: under protocol {self.kind!r} attackers know what has been sent by the "
                "time they send; choose false"
            )
        if isinstance(attack, LieCount):
            raise ScenarioError(
                f"attack.kind: {attack.kind!r} is not allowed: under protocol {self.kind!r} nobody tells how many samples there "
                "are; choose a protocol with a server"
            )

    def run(self, lab: Lab) -> None:
        """Run the rounds; ``rounds.accuracy`` is that of the mean of all nodes' models."""
        from decai_sim.learning import paths
        from decai_sim.learning.training import work_flops
        from decai_sim.protocols.peers import Peers, checkpoint

        if lab.trainer is not None:
            with lab.trainer(lambda: checkpoint(lab)) as trainer:
                Peers(lab, self, trainer).run()
            return
        problem, plan = lab.problem, self.plan()
        each = sum(work_flops(problem, node, plan) for node in range(problem.n)) / problem.n
        path = lab.execution.path or paths.chosen(problem, plan, self.rounds * problem.n * each)
        with replace(lab.execution, path=path).trainer(problem, lambda: checkpoint(lab)) as trainer:
            Peers(lab, self, trainer).run()

    def counted(self, at: Peers, node: int, number: int, others: list[int]) -> dict[int, float]:
        """How much ``node`` would count each of ``others`` in round ``number`` if it heard all of them; what is left is its own.

        All alike, if a protocol does not say otherwise.
        """
        return dict.fromkeys(others, 1 / (1 + len(others)))

    def rounds_to_agree(self, nodes: int) -> int:
        """After how many rounds without training nodes that all reach each other hold the same model."""
        return 1

    # -- what nodes do ----------------------------------------------------------------------------------------------------------

    def begin(self, at: Peers) -> None:
        """The run begins."""
        raise NotImplementedError

    def trained(self, at: Peers, node: int, job: Job) -> None:
        """``node`` has finished training."""

    def received(self, at: Peers, node: int, src: int, payload: Any) -> None:
        """``node`` has got what ``src`` sent."""

    def woke(self, at: Peers, node: int, number: int) -> None:
        """The time has come that :meth:`Peers.wake` was told of."""

    def came(self, at: Peers, node: int) -> None:
        """``node`` is there again, or for the first time."""

    def left(self, at: Peers, node: int) -> None:
        """``node`` has gone; what it was training is lost."""
