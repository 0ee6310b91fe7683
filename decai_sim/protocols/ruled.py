"""Rules where there is no server: what a node makes of its neighbours' models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from decai_sim.component import whole_share
from decai_sim.defenses.base import Context, Rule, TooFewRowsError
from decai_sim.learning.values import Made, Value

if TYPE_CHECKING:
    import torch

    from decai_sim.protocols.peers import Peers


class Ruled:
    """Lets every node combine what it has heard by a rule.

    A rule that is for nodes (``peer``) is given the neighbours' models and the node's own beside them; any other the differences
    of all of them, the node's own included, from the node's own: rules that do not care where the origin lies do the same as they
    would with models. Where the rule does not say itself, ``f`` is the attackers' share of the rows, rounded down.

    Args:
        at: the nodes.
        rule: how models become one.
    """

    def __init__(self, at: Peers, rule: Rule) -> None:
        self._at, self._rule, self._memory = at, rule, dict[int, dict[str, Any]]()

    def combined(self, node: int, number: int, own: Value, heard: dict[int, Value], weights: list[float]) -> Value:
        """What ``node`` makes of it in round ``number``; the rule's work delays its next training.

        Args:
            node: who.
            number: its round.
            own: its model.
            heard: the models of others.
            weights: how much each of these would count in the protocol's own average.
        """
        at, rule, lab, who, now = self._at, self._rule, self._at.lab, list(heard), self._at.now
        memory = self._memory.setdefault(node, {})
        rows = len(who) + (not rule.peer)
        f = whole_share(lab.assumed_byzantine, rows)
        loss_flops = float(lab.problem.forward_flops) * len(lab.problem.samples[node])
        at.owes(node, rule.flops(rows, lab.problem.layout.d, f) + rule.tests(rows, f) * loss_flops)

        def make(models: torch.Tensor) -> torch.Tensor:
            import torch

            mine = models[0]
            context = Context(
                f=f,
                own=mine,
                who=torch.tensor(who if rule.peer else [node, *who]),
                weights=models.new_tensor(weights if rule.peer else [max(0.0, 1 - sum(weights)), *weights]),
                loss=lambda moved: self._losses(node, moved),
                round=number,
                rounds=at.protocol.total_rounds,
                memory=memory,
                generator=lab.streams.torch("defense", node, number),
            )
            try:
                result = rule.explain(models[1:] if rule.peer else models - mine, context)
            except TooFewRowsError:
                lab.pass_over(number)
                return mine.clone()
            lab.judge(number, node, who if rule.peer else [node, *who], result, now)
            return result.value if rule.peer else mine + result.value

        return Made([own, *heard.values()], make)

    @property
    def can_be_tried(self) -> bool:
        """Whether others can find out what the rule would make of updates: it needs no samples and no memory of a node."""
        return self._rule.needs <= {"own", "round"}

    def tried(self, updates: torch.Tensor, start: torch.Tensor, number: int) -> torch.Tensor:
        """``(d,)`` what the rule makes of ``updates (n, d)`` in round ``number`` at a node whose own is the first of them.

        Args:
            updates: differences of models from ``start``.
            start: ``(d,)``.
            number: the round.
        """
        rule, rows = self._rule, len(updates) - self._rule.peer
        context = Context(
            f=whole_share(self._at.lab.assumed_byzantine, rows),
            own=start + updates[0],
            round=number,
            rounds=self._at.protocol.total_rounds,
        )
        try:
            if rule.peer:
                return rule(start + updates[1:], context) - start
            return rule(updates, replace(context, own=None))
        except TooFewRowsError:
            return updates.new_zeros(updates.shape[1])  # the node stays as it is

    def _losses(self, node: int, models: torch.Tensor) -> torch.Tensor:
        import torch

        from decai_sim.learning import evaluation

        problem = self._at.lab.problem
        _, loss = evaluation.each_its_own(problem, models.to(problem.device), [problem.samples[node]] * len(models))
        return torch.as_tensor(loss, dtype=models.dtype, device=models.device)
