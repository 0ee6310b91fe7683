"""Local training of one node, as any Flower client would do it: the reference that cohorts must equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from decai_sim.learning.optimisers import SGD, Optimiser

if TYPE_CHECKING:
    from decai_sim.learning.problem import Problem

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Plan:
    """How a node trains.

    A step follows the gradient of the batch's mean loss + ``prox_mu`` / 2 · ‖w − w₀‖², clipped, plus the control variates'
    difference where there are any; weight decay is the optimiser's.

    Attributes:
        epochs: passes over its own samples.
        batch_size: samples a step; the last batch of an epoch may be smaller.
        lr: learning rate.
        steps: as many steps instead of whole epochs; None: epochs.
        optimiser: what takes the steps.
        prox_mu: how strongly the model is held to the one it starts from (FedProx; Li et al., MLSys 2020, eq. 2).
        clip_norm: the longest gradient; longer ones are shortened to it. None: any.
        scaffold: whether control variates correct the steps (SCAFFOLD; Karimireddy et al., ICML 2020, Algorithm 1, option II).
        keep: whether the optimiser goes on where it stopped in the node's training before, instead of from nothing.
        personal: beginnings of names of parameters that stay at the node: it starts from its own, whatever the server says.
        precision: of products; ``bfloat16`` saves time where the device has it. Parameters are float32 in any case.
    """

    epochs: int = 1
    batch_size: int = 10
    lr: float = 0.1
    steps: int | None = None
    optimiser: Optimiser = field(default_factory=SGD)
    prox_mu: float = 0.0
    clip_norm: float | None = None
    scaffold: bool = False
    keep: bool = False
    personal: tuple[str, ...] = ()
    precision: Precision = "float32"

    @property
    def plain(self) -> bool:
        """Whether a step is −lr times the gradient of the batch's mean loss and nothing else."""
        sgd = isinstance(self.optimiser, SGD) and self.optimiser.plain
        return sgd and not self.prox_mu and self.clip_norm is None and not self.scaffold and self.precision == "float32"

    @property
    def remembers(self) -> bool:
        """Whether a node's training depends on its training before."""
        return self.scaffold or bool(self.personal) or (self.keep and bool(self.optimiser.slots))


@dataclass
class Memory:
    """What a node keeps from one training to the next; None: nothing yet.

    Attributes:
        optimiser: ``(slots · d + 1,)`` the optimiser's slots, one after the other, and how many steps it has taken.
        control: ``(d,)`` the node's control variate.
        personal: ``(d,)`` its last model, of which the personal parameters count.
    """

    optimiser: torch.Tensor | None = None
    control: torch.Tensor | None = None
    personal: torch.Tensor | None = None


@dataclass
class Trained:
    """What comes of a node's training.

    Attributes:
        row: ``(d,)`` the model.
        loss: mean loss over the samples as they were trained on; 0 without samples.
        memory: what the node keeps.
    """

    row: torch.Tensor
    loss: float
    memory: Memory


def batches(problem: Problem, node: int, server_round: int, plan: Plan) -> list[np.ndarray]:
    """The sample indices of every step, in order; the same wherever and whenever the node trains this round."""
    steps: list[np.ndarray] = []
    for order in passes(problem, node, server_round, plan):
        steps += [order[at : at + plan.batch_size] for at in range(0, len(order), plan.batch_size)]
    return steps[: plan.steps]


def passes(problem: Problem, node: int, server_round: int, plan: Plan) -> Iterator[np.ndarray]:
    """A node's sample indices in a new order for each pass over them, as many passes as its steps take."""
    own = problem.samples_of(node, server_round)
    rng = problem.streams.of("batches", node, server_round)
    for _ in range(-(-steps_of(len(own), plan) // a_pass(len(own), plan)) if len(own) else 0):
        yield own[rng.permutation(len(own))]


def a_pass(n_samples: Any, plan: Plan) -> Any:
    """How many steps it takes to see so many samples once; for a number, or for many at once."""
    return -(-n_samples // plan.batch_size)


def steps_of(n_samples: Any, plan: Plan) -> Any:
    """How many steps a node with so many samples takes; for a number, or for many at once."""
    return (n_samples > 0) * (plan.epochs * a_pass(n_samples, plan) if plan.steps is None else plan.steps)


def work_flops(problem: Problem, node: int, plan: Plan) -> float:
    """FLOPs of one local training: three forward passes' worth a sample (backward costs two)."""
    own = float(problem.n_samples[node])
    samples = own * plan.epochs
    if plan.steps is not None and own:
        whole, rest = divmod(plan.steps, a_pass(len(problem.samples[node]), plan))
        samples = own * whole + min(own, rest * plan.batch_size)
    return 3.0 * problem.forward_flops * samples


def train_alone(
    problem: Problem,
    row: torch.Tensor,
    node: int,
    server_round: int,
    plan: Plan,
    memory: Memory | None = None,
    control: torch.Tensor | None = None,
) -> Trained:
    """Train one node with an ordinary PyTorch loop.

    Args:
        problem: what is learned.
        row: ``(d,)`` the model to start from; left untouched.
        node: who trains.
        server_round: which round it is; decides the order of the samples.
        plan: how to train.
        memory: what the node kept of its training before; left untouched.
        control: ``(d,)`` the server's control variate, for SCAFFOLD; None: zero.
    """
    memory = memory or Memory()
    row = with_personal(problem, row, memory.personal, plan)
    start = problem.layout.views(row)
    params = {name: p.clone().requires_grad_() for name, p in start.items()}
    values = list(params.values())
    optimiser = plan.optimiser.torch(values, plan.lr)
    kept = memory.optimiser if plan.keep else None
    if kept is not None and plan.optimiser.slots:
        _remind(optimiser, problem, plan, kept, values)
    mine = memory.control if memory.control is not None else torch.zeros_like(row)
    theirs = control if control is not None else torch.zeros_like(row)
    shift = problem.layout.views(theirs - mine) if plan.scaffold else {}
    total, seen = 0.0, 0
    steps = batches(problem, node, server_round, plan)
    for step in steps:
        index = torch.as_tensor(step, device=problem.device)
        with torch.autocast(torch.device(problem.device).type, torch.bfloat16, enabled=plan.precision == "bfloat16"):
            logits = torch.func.functional_call(problem.module, params, (problem.inputs(index),))
        loss = F.cross_entropy(logits.float(), problem.labels(index))
        held = sum(((p - start[name]) ** 2).sum() for name, p in params.items()) if plan.prox_mu else 0.0
        optimiser.zero_grad()
        (loss + plan.prox_mu / 2 * held).backward()  # type: ignore[no-untyped-call]
        if plan.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(values, plan.clip_norm)
        for name, difference in shift.items():
            gradient = params[name].grad
            assert gradient is not None
            gradient += difference
        optimiser.step()
        total, seen = total + float(loss.detach()) * len(step), seen + len(step)
    trained = problem.layout.flat({name: p.detach() for name, p in params.items()})
    if plan.scaffold and steps:
        mine = mine - theirs + (row - trained) / (len(steps) * plan.lr)
    keeps = plan.keep and plan.optimiser.slots
    return Trained(
        trained,
        total / max(1, seen),
        Memory(
            optimiser=_recall(optimiser, problem, plan, kept, values, len(steps)) if keeps else None,
            control=mine if plan.scaffold else None,
            personal=trained if plan.personal else None,
        ),
    )


def with_personal(problem: Problem, rows: torch.Tensor, own: torch.Tensor | None, plan: Plan) -> torch.Tensor:
    """``rows (..., d)`` with the personal parameters of ``own``, alike."""
    if own is None or not plan.personal:
        return rows
    return torch.where(problem.layout.named(plan.personal).to(rows.device), own, rows)


def _remind(
    optimiser: torch.optim.Optimizer, problem: Problem, plan: Plan, kept: torch.Tensor, values: list[torch.Tensor]
) -> None:
    d = problem.layout.d
    for number, slot in enumerate(plan.optimiser.slots):
        for p, value in zip(values, problem.layout.views(kept[number * d : (number + 1) * d]).values(), strict=True):
            optimiser.state[p][slot] = value.clone()
            optimiser.state[p]["step"] = kept[-1].cpu().clone()


def _recall(
    optimiser: torch.optim.Optimizer,
    problem: Problem,
    plan: Plan,
    kept: torch.Tensor | None,
    values: list[torch.Tensor],
    steps: int,
) -> torch.Tensor:
    before = kept if kept is not None else values[0].new_zeros(len(plan.optimiser.slots) * problem.layout.d + 1)
    if not steps:
        return before.detach().clone()
    slots = [optimiser.state[p][slot].reshape(-1) for slot in plan.optimiser.slots for p in values]
    return torch.cat([*slots, before[-1:] + steps]).detach()
