"""Conformance checks for components, ours and yours: call them in a test of your own.

Each raises ``AssertionError`` with one line that says what does not hold. :func:`check` finds the one for a component's family.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

if TYPE_CHECKING:
    import torch

    from decai_sim.attacks.base import Attack, DataAttack, PeerAttack, UpdateAttack
    from decai_sim.component import Component
    from decai_sim.defenses.base import Context, Rule, Step
    from decai_sim.learning.models import Model
    from decai_sim.learning.optimisers import Optimiser
    from decai_sim.learning.partitions import Partition
    from decai_sim.learning.tasks import Task
    from decai_sim.protocols.base import Lab, Protocol
    from decai_sim.protocols.peer_to_peer import PeerToPeer
    from decai_sim.scenario import Scenario
    from decai_sim.world.access_rates.base import AccessRates
    from decai_sim.world.adversaries.base import Adversary
    from decai_sim.world.churn.base import Churn
    from decai_sim.world.devices import Devices
    from decai_sim.world.dissemination.base import Dissemination
    from decai_sim.world.faults.base import Fault
    from decai_sim.world.latency.base import Delays, Latency
    from decai_sim.world.link_rates.base import LinkRates
    from decai_sim.world.loss.base import Loss
    from decai_sim.world.membership.base import Membership
    from decai_sim.world.network import Network, Paths, Queueing
    from decai_sim.world.topologies.base import Topology

__all__ = [
    "check",
    "check_access_rates",
    "check_adversary",
    "check_attack",
    "check_churn",
    "check_defense",
    "check_devices",
    "check_dissemination",
    "check_fault",
    "check_latency",
    "check_link_rates",
    "check_loss",
    "check_membership",
    "check_model",
    "check_network",
    "check_optimiser",
    "check_partition",
    "check_protocol",
    "check_task",
    "check_topology",
]

_CARD = ("Source:", "Assumes:", "Deviations:", "Example:")
# What one wants to know of a defense besides: how many attackers are too many, and what it takes.
_CARD_OF = {"defenses": ("Breaks down:", "Costs:")}


def _require(holds: Any, component: Component, message: str) -> None:
    if not bool(holds):
        raise AssertionError(f"{component!r}: {message}")


def _check_component(component: Component, restored: Any) -> None:
    """What holds of every component: a docstring, plain data there and back, and nothing that can be changed.

    Components of this package carry a whole card; those of a notebook need say only what they do.
    """
    doc = type(component).__doc__ or ""
    _require(bool(doc.strip()), component, "it has no docstring")
    if type(component).__module__.startswith("decai_sim."):
        missing = [line for line in (*_CARD, *_CARD_OF.get(component.family, ())) if line not in doc]
        _require(not missing, component, f"its docstring lacks {', '.join(missing)}")
        _require(">>>" in doc, component, "its docstring has no runnable example")
    _require(restored == component, component, f"comes back from its config as {restored!r}")
    text = json.dumps(component.to_config(), allow_nan=False)
    _require(json.loads(text) == component.to_config(), component, "its config is not plain JSON data")
    _require(hash(restored) == hash(component), component, "equal components have different hashes")
    for name in type(component).model_fields:
        try:
            setattr(component, name, getattr(component, name))
        except ValidationError:
            continue
        raise AssertionError(f"{component!r}: field {name} can be set; components are frozen")


def _check_parsed(component: Component, family: str) -> None:
    """:func:`_check_component` of a component that should belong to ``family`` and is found there by its kind."""
    from decai_sim.component import kinds, parse

    _require(isinstance(component, kinds(family).get(component.kind, ())), component, f"is not registered in {family}")
    _check_component(component, parse(family, component.to_config()))


class _Untouched:
    """Checks on leaving that tensors, and the global random state, are as they were on entering."""

    def __init__(self, component: Component, tensors: Sequence[torch.Tensor]) -> None:
        self.component, self.tensors = component, tensors

    def __enter__(self) -> None:
        import numpy as np
        import torch

        self.copies = [tensor.clone() for tensor in self.tensors]
        self.state, self.legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
        self.python = random.getstate()

    def __exit__(self, *error: object) -> None:
        import numpy as np
        import torch

        if error[0] is not None:
            return
        for before, after in zip(self.copies, self.tensors, strict=True):
            _require(torch.equal(before.nan_to_num(7.0), after.nan_to_num(7.0)), self.component, "writes to its arguments")
        same = torch.equal(self.state, torch.get_rng_state()) and (self.legacy == np.random.get_state()[1]).all()  # type: ignore[index]
        _require(
            same and self.python == random.getstate(),
            self.component,
            "draws from the global random state instead of its generator",
        )


def _normal(*shape: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def check_attack(attack: Attack) -> None:
    """Check that ``attack`` keeps the contract of :mod:`decai_sim.attacks`.

    Example:
        >>> from decai_sim.attacks import SignFlip
        >>> check_attack(SignFlip(scale=4))
    """
    from decai_sim.attacks.base import Attack, DataAttack, PeerAttack, UpdateAttack
    from decai_sim.component import parse

    _require(isinstance(attack, Attack), attack, "is no attack")
    _check_component(attack, parse("attacks", attack.to_config()))
    _require(0 <= attack.fraction < 1, attack, "fraction is outside [0, 1)")
    families = UpdateAttack | DataAttack | PeerAttack
    _require(isinstance(attack, families), attack, "is neither an UpdateAttack nor a DataAttack nor a PeerAttack")
    if isinstance(attack, UpdateAttack):
        _check_update_attack(attack)
    if isinstance(attack, DataAttack):
        _check_data_attack(attack)
    if isinstance(attack, PeerAttack):
        _check_peer_attack(attack)
    if attack.on_data is not None:
        same = all(attack.on_data.active(server_round) == attack.active(server_round) for server_round in range(1, 9))
        _require(same, attack, "attacks and poisons in different rounds")


def _check_update_attack(attack: UpdateAttack) -> None:
    import torch

    from decai_sim.attacks.base import View

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    def median(rows: torch.Tensor) -> torch.Tensor:
        return rows.median(dim=0).values

    def fine(sent: torch.Tensor) -> torch.Tensor:
        return sent.isfinite().all() if attack.finite else ~sent.isfinite().all()

    for dtype in (torch.float32, torch.float64):
        for h, b, d in ((7, 3, 11), (2, 1, 1), (5, 0, 4)):
            honest, own = _normal(h, d, seed=1, dtype=dtype), _normal(b, d, seed=2, dtype=dtype)
            past, previous = _normal(b, d, seed=3, dtype=dtype), _normal(d, seed=4, dtype=dtype)
            much = View(own, n=2 * h + b, f=b, past=past, previous=previous, rule=median, round=4)
            for view in (None, View(own=own), View(own=own, omniscient=True, n=h + b), much):
                with _Untouched(attack, (honest, own, past, previous)):
                    sent = attack(honest, b, generator(), view)
                _require(sent.shape == (b, d), attack, f"returns {tuple(sent.shape)} instead of {(b, d)}")
                _require(sent.dtype == dtype, attack, f"returns {sent.dtype} for {dtype}")
                _require(sent.device == honest.device, attack, "returns rows on another device")
                finite = "not finite" if attack.finite else "finite, though it says finite = False"
                _require(b == 0 or fine(sent), attack, f"returns rows that are {finite}")
                again = attack(honest, b, generator(), view)
                _require(torch.equal(sent.nan_to_num(7.0), again.nan_to_num(7.0)), attack, "differs for the same seed")
        blind, own = honest.new_empty(0, 4), _normal(3, 4, seed=2, dtype=dtype)
        sent = attack(blind, 3, generator(), View(own=own))
        _require(sent.shape == (3, 4) and fine(sent), attack, "fails when it sees no honest row but its own")
    for count in (0, 1, 12):
        claimed = attack.claims(count)
        _require(isinstance(claimed, int) and claimed >= 0, attack, f"claims {claimed!r} samples")


def _check_data_attack(attack: DataAttack) -> None:
    import torch

    shapes: list[tuple[tuple[int, ...], torch.dtype]] = [((9, 8), torch.float32), ((12, 10, 3), torch.uint8)]
    if not attack.images:
        shapes.append(((3,), torch.float32))
    for shape, dtype in shapes:
        for n in (0, 1, 50):
            x = _normal(n, *shape, seed=1, dtype=torch.float32)
            x = x if dtype == torch.float32 else (x.abs() * 60).clamp(max=255).to(dtype)
            y = torch.arange(n) % 10
            for mine in (attack, attack.part(1)):
                with _Untouched(attack, (x, y)):
                    x_new, y_new = mine.poison(x, y, torch.Generator().manual_seed(5))
                again = mine.poison(x, y, torch.Generator().manual_seed(5))
                same = x_new.shape == x.shape and y_new.shape == y.shape
                _require(same, attack, "changes the number of samples or their shape")
                _require(x_new.dtype == x.dtype and y_new.dtype == y.dtype, attack, "changes a dtype")
                _require(x_new.isfinite().all(), attack, "returns samples that are not finite")
                _require((y_new >= 0).all(), attack, "returns negative labels")
                equal = torch.equal(x_new, again[0]) and torch.equal(y_new, again[1])
                _require(equal, attack, "differs for the same seed")
            with _Untouched(attack, (x, y)):
                goal = attack.goal(x, y)
            if goal is not None:
                for given, wanted, what in ((x, goal[0], "inputs"), (y, goal[1], "labels"), (y.bool(), goal[2], "samples")):
                    alike = wanted.shape == given.shape and wanted.dtype == given.dtype
                    _require(alike, attack, f"its goal has {what} of another shape or dtype")
                _require((goal[1] != y)[goal[2]].all(), attack, "its goal counts samples that are right as they are")


def _check_peer_attack(attack: PeerAttack) -> None:
    import torch

    for dtype in (torch.float32, torch.float64):
        for h in (0, 1, 4):
            own, models = _normal(5, seed=1, dtype=dtype), _normal(h, 5, seed=2, dtype=dtype)
            weights = torch.full((h,), 0.1, dtype=dtype)
            with _Untouched(attack, (own, models, weights)):
                sent = attack.to_neighbour(own, models, weights, 0.2, torch.Generator().manual_seed(5))
            again = attack.to_neighbour(own, models, weights, 0.2, torch.Generator().manual_seed(5))
            if sent is None or again is None:
                _require(sent is again, attack, "differs for the same seed")
                continue
            _require(sent.shape == own.shape and sent.dtype == dtype, attack, "sends a model of another shape or dtype")
            _require(sent.isfinite().all(), attack, "sends a model that is not finite")
            _require(torch.equal(sent, again), attack, "differs for the same seed")
    for degree in (1, 2, 9):
        claimed = attack.claims_degree(degree)
        _require(isinstance(claimed, int) and claimed >= 1, attack, f"claims {claimed!r} neighbours")
    lied_to = attack.lies_to(10, torch.Generator().manual_seed(5))
    again = attack.lies_to(10, torch.Generator().manual_seed(5))
    _require(lied_to.shape == (10,) and lied_to.dtype == torch.bool, attack, "does not say which of its receivers it lies to")
    _require(torch.equal(lied_to, again), attack, "differs for the same seed")


def check_defense(defense: Rule | Step) -> None:
    """Check that a rule, a step before rules or a chain keeps the contract of :mod:`decai_sim.defenses`.

    Where ``defense`` leaves ``f`` open, it is taken to be 1. What it needs of a context it is given.

    Example:
        >>> from decai_sim.defenses import NNM, Krum
        >>> check_defense(NNM(f=1) >> Krum(f=1))
    """
    import math

    import torch

    from decai_sim.component import parse
    from decai_sim.defenses import Chain, Context, MixingChain, Rule, Step, parse_defense

    _require(isinstance(defense, Rule | Step), defense, "is neither a Rule nor a Step")
    config = defense.to_config()
    if isinstance(defense, MixingChain):
        restored: Any = MixingChain.model_validate({"steps": config})
    elif isinstance(defense, Step):
        restored = parse("defenses", config)
    elif isinstance(defense, Chain):
        restored = Chain.model_validate({"steps": config}) if isinstance(config, list) else parse_defense(config)
    else:
        restored = parse_defense(config)
    _check_component(defense, restored)

    known = {name for name in Context.__dataclass_fields__ if name not in ("dropped", "shared")}
    _require(defense.needs <= known, defense, f"needs {sorted(defense.needs - known)}, which no context has")
    steps = defense.steps if isinstance(defense, Chain | MixingChain) else (defense,)
    n, d = 4 * max(1, *(step.f or 0 for step in (defense, *steps))) + 7, 13
    charged = [defense.flops(n, size, 1) for size in (d, 10 * d)]
    _require(0 < charged[0] <= charged[1] < math.inf, defense, "its flops are not above 0, or fewer for longer rows")
    for dtype in (torch.float32, torch.float64):
        rows = _normal(n, d, seed=1, dtype=dtype)
        context = _told(rows)
        if isinstance(defense, Rule):
            _check_rule(defense, rows, context)
        else:
            _check_step(defense, rows, context)
    for name in sorted(defense.needs):
        message = _refusal(defense, rows, _without(context(), name))
        _require(f"context.{name}" in message and "\n" not in message, defense, f"does not ask for context.{name} in one line")
    for wrong in (rows[:0], rows[0], rows.long()):
        shape = f"{tuple(wrong.shape)} and {wrong.dtype}"
        _require(_refusal(defense, wrong, context()), defense, f"accepts updates of shape {shape}")


def _without(context: Context, name: str) -> Context:
    nothing: dict[str, Any] = {name: None}
    return replace(context, **nothing)


def _refusal(defense: Rule | Step, rows: torch.Tensor, context: Context) -> str:
    """What it says when it refuses; empty if it does not."""
    try:
        defense(rows, context)
    except ValueError as error:
        return str(error)
    return ""


def _told(rows: torch.Tensor) -> Callable[[], Context]:
    """A maker of contexts that know all that a rule may need of these rows, each with draws and a memory of its own."""
    import torch

    from decai_sim.defenses import Context

    n = len(rows)
    middle = rows.mean(dim=0)

    def told() -> Context:
        return Context(
            f=1,
            num_examples=torch.arange(1, n + 1),
            own=middle + 0.1,
            staleness=torch.arange(n) % 3,
            who=torch.arange(n).flip(0) + 10,
            weights=torch.full((n,), 1 / (n + 1)),
            server=middle.clone(),
            loss=lambda moved: (moved - middle.to(moved)).square().mean(dim=1),
            senders=n,
            senders_f=1,
            moved=1.0,
            round=1,
            rounds=10,
            memory={},
            generator=torch.Generator().manual_seed(5),
        )

    return told


def _permuted(rows: torch.Tensor, context: Context) -> tuple[torch.Tensor, torch.Tensor, Context]:
    import torch

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))
    moved: dict[str, Any] = {}
    for name in ("num_examples", "staleness", "who", "weights"):
        values = getattr(context, name)
        moved[name] = None if values is None else values[order]
    return order, rows[order], replace(context, **moved)


def _check_rule(rule: Rule, rows: torch.Tensor, context: Callable[[], Context]) -> None:
    import torch

    n, d = rows.shape
    with _Untouched(rule, (rows,)):
        result = rule.explain(rows, context())
    value = result.value
    _require(value.shape == (d,), rule, f"returns {tuple(value.shape)} instead of {(d,)}")
    _require(value.dtype == rows.dtype and value.device == rows.device, rule, "changes dtype or device")
    _require(value.isfinite().all(), rule, "returns a value that is not finite for finite rows")
    _require(torch.equal(value, rule(rows, context())), rule, "call and explain differ, or it is not deterministic")
    _require(value.untyped_storage().data_ptr() != rows.untyped_storage().data_ptr(), rule, "returns a view of its argument")
    _require(result.kept.shape == (n,) and result.kept.dtype == torch.bool, rule, "kept is not (n,) bool")
    _require(result.kept.any() or rule.peer, rule, "keeps no row")
    _require(result.scores is None or result.scores.shape == (n,), rule, "scores are not (n,)")
    _require(result.scores is None or not result.scores.isnan().any(), rule, "a score is not a number")
    _require(rule.rest is None or hasattr(context(), rule.rest), rule, f"its rest is {rule.rest}, which no context has")
    if result.weights is not None:
        _require(result.weights.shape == (n,), rule, "weights are not (n,)")
        mean = result.weights.to(rows) @ rows
        rest = getattr(context(), rule.rest) if rule.rest is not None else None
        if rest is not None:
            mean += (1 - result.weights.to(rows).sum()) * rest
        _require(torch.allclose(mean, value, rtol=1e-4, atol=1e-5), rule, "its value is not the mean that its weights say")
        _require((result.weights[~result.kept] == 0).all(), rule, "a row that is not kept has weight")

    if rule.symmetric:
        order, shuffled, shuffled_context = _permuted(rows, context())
        moved = rule.explain(shuffled, shuffled_context)
        _require(torch.allclose(moved.value, value, rtol=1e-4, atol=1e-5), rule, "depends on the order of the rows")
        _require(torch.equal(moved.kept, result.kept[order]), rule, "whom it keeps depends on the order of the rows")

    if not rule.robust:
        return
    for poison in (float("nan"), float("inf"), -float("inf")):
        poisoned = rows.clone()
        poisoned[1, 0] = poison
        with _Untouched(rule, (poisoned,)):
            result = rule.explain(poisoned, context())
        _require(result.value.isfinite().all(), rule, f"is defeated by a row with {poison}")
        _require(not result.kept[1], rule, f"keeps a row with {poison}")
        _require(result.weights is None or result.weights[1] == 0, rule, f"gives weight to a row with {poison}")
        _require(result.scores is None or result.scores[1] == float("inf"), rule, "a dropped row's score is not infinite")
    _require(_refusal(rule, torch.full_like(rows, float("nan")), context()), rule, "accepts rows none of which is finite")
    _check_one_by_one(rule, rows, context)


def _check_one_by_one(rule: Rule, rows: torch.Tensor, context: Callable[[], Context]) -> None:
    """What holds of a filter, which takes one update at a time."""
    import math

    from decai_sim.defenses import Filter

    if not isinstance(rule, Filter):
        return
    for number in range(len(rows)):
        weight = rule.accept(rows[number], context().of_row(number))
        _require(isinstance(weight, float) and 0 <= weight < math.inf, rule, f"accepts an update with weight {weight!r}")
    _require(rule.accept(rows[0] * float("nan"), context().of_row(0)) == 0, rule, "accepts an update that is not finite")


def _check_step(step: Step, rows: torch.Tensor, context: Callable[[], Context]) -> None:
    import torch

    n = len(rows)
    with _Untouched(step, (rows,)):
        done, made = step.step(rows, context()), step(rows, context())
    m = len(made)
    _require(1 <= m <= n and made.shape[1:] == rows.shape[1:], step, f"makes rows of shape {tuple(made.shape)}")
    _require(torch.equal(done.rows, made), step, "call and step differ, or it is not deterministic")
    _require(made.dtype == rows.dtype and made.device == rows.device, step, "changes dtype or device")
    _require(made.isfinite().all(), step, "makes rows that are not finite of finite ones")
    matrix = done.matrix
    if matrix is None:
        _require(m == n and not step.averages, step, "changes the number of rows, or averages, without a matrix")
    else:
        _require(matrix.shape == (m, n), step, f"its matrix is {tuple(matrix.shape)} instead of {(m, n)}")
        _require(torch.allclose(matrix.to(rows) @ rows, made, rtol=1e-4, atol=1e-5), step, "its rows are not matrix @ updates")
        sums = matrix.sum(dim=1).double()
        _require(not step.averages or torch.allclose(sums, sums.new_ones(m), atol=1e-5), step, "its rows do not sum to 1")
    if step.symmetric:
        order, shuffled, shuffled_context = _permuted(rows, context())
        again = step(shuffled, shuffled_context)
        # Fewer rows than before come in an order of their own.
        same = (again, made[order]) if m == n else (again[again[:, 0].argsort()], made[made[:, 0].argsort()])
        _require(torch.allclose(*same, rtol=1e-4, atol=1e-5), step, "depends on the order of the rows")
    poisoned = rows.clone()
    poisoned[1] = float("nan")
    made = step(poisoned, context())
    if len(made) == n:
        made = made[torch.arange(n) != 1]
    _require(made.isfinite().all(), step, "lets a row that is not finite reach others")


def check_topology(topology: Topology, nodes: int = 20) -> None:
    """Check that ``topology`` wires simple undirected graphs on 0 … ``nodes`` − 1 (or on 16 nodes), the same for the same seed.

    Example:
        >>> from decai_sim.world import Ring
        >>> check_topology(Ring())
    """
    import networkx as nx

    from decai_sim.errors import ScenarioError

    _check_parsed(topology, "topologies")
    sizes = []
    for n in (1, 2, 16, nodes):
        try:
            with _Untouched(topology, ()):
                graph = topology.build(n, seed=3)
        except ScenarioError:
            continue
        sizes.append(n)
        _require(not graph.is_directed() and not graph.is_multigraph(), topology, "is directed, or has links twice")
        _require(sorted(graph) == list(range(n)), topology, f"its nodes are not 0 … {n - 1}")
        _require(nx.number_of_selfloops(graph) == 0, topology, "links a node to itself")
        again = topology.build(n, seed=3)
        _require(again.adj == graph.adj, topology, "differs for the same seed")
        with _Untouched(topology, ()):
            matrix = topology.csr(n, seed=3)
        _check_adjacency(topology, matrix, n)
        _require(abs(matrix - matrix.T).nnz == 0, topology, "csr is not symmetric")
        ends = {(a, b) for a, b in graph.edges} | {(b, a) for a, b in graph.edges}
        coo = matrix.tocoo()  # type: ignore[no-untyped-call]
        linked = set(zip(coo.row.tolist(), coo.col.tolist(), strict=True))
        _require(linked == ends, topology, "csr and build differ")
        _check_rounds(topology, matrix, n)
        if topology.time_varying:
            _check_in_a_run(topology, n)
    _require(nodes in sizes or 16 in sizes, topology, f"has no graph on {nodes} nodes")


def _check_adjacency(topology: Topology, matrix: Any, n: int) -> None:
    import numpy as np

    _require(matrix.shape == (n, n) and matrix.format == "csr", topology, f"csr is not an ({n}, {n}) CSR matrix")
    _require((matrix.data == 1).all(), topology, "csr holds other numbers than ones")
    _require(matrix.diagonal().sum() == 0, topology, "links a node to itself")
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    ascending = np.diff(rows * np.int64(n) + matrix.indices) > 0
    _require(ascending.all(), topology, "the indices of csr are not sorted, or are there twice")


def _check_rounds(topology: Topology, whole: Any, n: int) -> None:
    """That rounds are the same however they are asked for, and all their links those of the whole graph if they repeat."""
    period = topology.period(n)
    _require(topology.time_varying or period == 1, topology, "is not time-varying, and yet its period is not 1")
    rounds = range(2 if period is None else period)
    with _Untouched(topology, ()):
        made = [topology.at(n, 3, k) for k in rounds]
    for k in reversed(rounds):
        _check_adjacency(topology, made[k], n)
        _require(abs(topology.at(n, 3, k) - made[k]).nnz == 0, topology, f"round {k} differs for the same seed")
    if period is not None:
        _require(abs(topology.at(n, 3, period) - made[0]).nnz == 0, topology, f"does not begin again after {period} rounds")
        ever = sum(one + one.T for one in made)
        _require(((ever != 0) != (whole != 0)).nnz == 0, topology, "csr does not hold the links of all rounds")


def _check_in_a_run(topology: Topology, n: int) -> None:
    """That links which vary from round to round do so in a world, the same for the same seed."""
    from decai_sim.seeding import Streams
    from decai_sim.world import Ideal, Mix, World

    with _Untouched(topology, ()):
        world, again = (World(n, Ideal(), None, Mix(laptop=1), Streams(3), topology) for _ in range(2))
        overlay, first = world.overlay, world.contacts
        if overlay is None:
            raise AssertionError(f"{topology!r}: is time-varying, and has nothing that changes its links in a run")
        for each in (world, again):
            each.use_links()
            each.run(2.5 * overlay.period_s)
    _check_adjacency(topology, world.contacts, n)
    _require(abs(world.contacts - again.contacts).nnz == 0, topology, "differs in a run for the same seed")
    varies = abs(topology.at(n, 3, 2) - topology.at(n, 3, 0)).nnz
    _require(not varies or abs(world.contacts - first).nnz, topology, "stays as it is in a run")


def check_network(network: Network) -> None:
    """Check that ``network`` lays links whose latencies depend on seed and ends alone, one by one and all at once.

    Example:
        >>> from decai_sim.world import Internet
        >>> check_network(Internet(loss=0.1))
    """
    import numpy as np

    from decai_sim.seeding import Streams

    _check_parsed(network, "network")
    for n in (1, 8):
        up, down = np.full(n, 5e6), np.full(n, np.inf)
        with _Untouched(network, ()):
            paths, again = (network.paths(up, down, Streams(3)) for _ in range(2))
        _check_delays(network, paths, again, n)
        _require(paths.jitter >= 0 and paths.retransmit >= 0, network, "has a jitter or a number of retransmissions below 0")
        if paths.loss is not None:
            check_loss(paths.loss)
        _require(paths.regions.shape == (n + 1,), network, f"regions are not ({n + 1},)")
        for rates in (paths.upload_bps, paths.download_bps):
            _require(rates.shape == (n + 1,) and (rates > 0).all(), network, "rates are not (n + 1,) above 0")
        _require((up == 5e6).all() and np.isinf(down).all(), network, "writes to its arguments")


def _check_delays(component: Component, delays: Delays | Paths, again: Delays | Paths, n: int) -> None:
    """Latencies of all links of ``n`` nodes and the server, asked for in two orders, one by one and together."""
    import numpy as np

    asked = [(a, b) for a in range(-1, n) for b in range(-1, n) if a != b]
    with _Untouched(component, ()):
        one_by_one = [delays.base_s(*ends) for ends in asked]
        backwards = [again.base_s(*ends) for ends in reversed(asked)]
        src, dst = np.array(asked).T
        together = delays.bases_s(src, dst)
    _require(one_by_one == backwards[::-1], component, "a link's latency depends on what was asked before")
    _require(all(isinstance(delay, float) for delay in one_by_one), component, "has a latency that is no float")
    _require(all(0 <= delay < float("inf") for delay in one_by_one), component, "has a latency that is negative or not finite")
    _require(together.shape == (len(asked),), component, "bases_s does not return one latency for each link")
    _require(np.allclose(one_by_one, together, rtol=1e-12, atol=0), component, "base_s and bases_s differ")
    by_ends = dict(zip(asked, one_by_one, strict=True))
    _require(all(by_ends[b, a] == by_ends[a, b] for a, b in asked), component, "a link's two directions differ in latency")


def check_latency(latency: Latency) -> None:
    """Check that ``latency`` gives links, of 8 nodes and a server, latencies above 0 that depend on seed and ends alone.

    Nodes live in the regions of the first table, of those in :mod:`decai_sim.world.regions`, that suits it.

    Example:
        >>> from decai_sim.world.latency import Lognormal
        >>> check_latency(Lognormal(sigma=0.8))
    """
    import numpy as np

    from decai_sim.seeding import Streams
    from decai_sim.world.regions import REGIONS

    _check_parsed(latency, "latency")
    suited = [table for table in REGIONS.values() if latency.misfit(table.names) is None]
    _require(suited, latency, "suits the regions of no table")
    table = suited[0]
    regions = np.array([table.names[i % 6] for i in range(9)])
    with _Untouched(latency, ()):
        delays, again = (latency.links(regions, Streams(3)) for _ in range(2))
    _check_delays(latency, delays, again, 8)
    _require((delays.bases_s(np.zeros(7, int), np.arange(1, 8)) > 0).all(), latency, "has a latency that is not above 0")


def check_link_rates(rates: LinkRates) -> None:
    """Check that ``rates`` gives links, of 8 nodes and a server, capacities above 0 that depend on seed and ends alone.

    Example:
        >>> from decai_sim.world.link_rates import Lognormal
        >>> check_link_rates(Lognormal(sigma=0.8))
    """
    import numpy as np

    from decai_sim.seeding import Streams

    _check_parsed(rates, "link_rates")
    src, dst = np.array([(a, b) for a in range(-1, 8) for b in range(-1, 8) if a != b]).T
    with _Untouched(rates, ()):
        rates.check(8)
        links, again = (rates.links(8, Streams(3)) for _ in range(2))
        together = links.bps(src, dst)
        backwards = [float(again.bps(src[i : i + 1], dst[i : i + 1])[0]) for i in reversed(range(len(src)))]
    _require(together.shape == (len(src),), rates, "bps does not return one capacity for each link")
    _require((together > 0).all(), rates, "has a capacity that is not above 0")
    _require(together.tolist() == backwards[::-1], rates, "a link's capacity depends on what was asked before")


def check_access_rates(rates: AccessRates) -> None:
    """Check that ``rates`` gives 8 nodes access rates above 0 that depend on seed, direction and node alone.

    Example:
        >>> from decai_sim.world.access_rates import Lognormal
        >>> check_access_rates(Lognormal(sigma=0.8))
    """
    import numpy as np

    from decai_sim.seeding import Streams

    _check_parsed(rates, "access_rates")
    with _Untouched(rates, ()):
        for direction in ("upload_bps", "download_bps"):
            rates.check(8, direction)
            found, again = (rates.of(8, direction, Streams(3)) for _ in range(2))
            _require(found.shape == (8,), rates, "does not return one rate for each node")
            _require((found > 0).all() and np.isfinite(found).all(), rates, "has a rate that is not above 0, or not finite")
            _require((found == again).all(), rates, "differs for the same seed")


def check_loss(loss: Loss) -> None:
    """Check that ``loss`` writes histories that depend on their generator alone.

    Example:
        >>> from decai_sim.world.loss import Bernoulli
        >>> check_loss(Bernoulli(p=0.1))
    """
    import numpy as np

    _check_parsed(loss, "loss")
    for size in (1, 1000):
        with _Untouched(loss, ()):
            table, again = (loss.table(size, np.random.default_rng(3)) for _ in range(2))
        _require(table.shape == (size,) and table.dtype == bool, loss, "its table is not (size,) bool")
        _require((table == again).all(), loss, "differs for the same generator")


def check_churn(churn: Churn) -> None:
    """Check that ``churn`` gives every node periods that depend on seed, number and node alone.

    Example:
        >>> from decai_sim.world import Exponential
        >>> check_churn(Exponential())
    """
    import numpy as np

    from decai_sim.seeding import Streams

    _check_parsed(churn, "churn")
    with _Untouched(churn, ()):
        start, more = churn.start(9, Streams(3)), churn.start(15, Streams(3))
    _require(start.shape == (9,) and start.dtype == bool, churn, "start is not (n,) bool")
    _require((start == more[:9]).all(), churn, "who is there at first depends on how many nodes there are")
    for k in (0, 1, 4):
        alone = np.arange(9) == 2  # everybody's state but node 2's is turned around
        began = 100.0 * k * np.arange(1.0, 10.0)
        with _Untouched(churn, ()):
            lengths = churn.periods(k, start, began, Streams(3))
            wider = churn.periods(k, more, np.append(began, np.full(6, 70.0)), Streams(3))
            others = churn.periods(k, start ^ ~alone, np.where(alone, began, began + 9.0), Streams(3))
        _require(lengths.shape == (9,), churn, "periods are not (n,)")
        _require((lengths > 0).all(), churn, "has a period that is not above 0: time would stand still")
        _require((lengths == wider[:9]).all(), churn, "a node's periods depend on how many nodes there are")
        _require(lengths[2] == others[2], churn, "a node's periods depend on who else is online")


def check_fault(fault: Fault) -> None:
    """Check that ``fault`` does something, not before its time, the same for the same seed, and takes all of it back if it ends.

    It strikes a ring of 12 nodes, spread over the regions of ``bitcoin-2019``, that send to each other all the time; once where
    messages queue at their senders alone, and once where they do at their receivers too.

    Example:
        >>> from decai_sim.world.faults import Crash
        >>> check_fault(Crash(share=0.5, at_s=10, for_s=5))
    """
    _check_parsed(fault, "faults")
    for queueing in ("uplink", "both"):
        _check_fault_with(fault, queueing)


def _check_fault_with(fault: Fault, queueing: Queueing) -> None:
    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, Ring, World

    lasts_s = getattr(fault, "for_s", None)
    over_s = fault.at_s + (lasts_s or 20.0) + 1

    def history(struck: bool) -> World:
        world = World(12, Internet(queueing=queueing), None, Mix(laptop=1), Streams(3), Ring())
        for second in range(int(over_s) + 20):
            for node in range(-1, 12):
                world.clock.at(float(second), world.links.send, node, (node + 1) % 12, 50_000, "check", int)
        if struck:
            with _Untouched(fault, ()):
                fault.check(world.n)
                fault.install(world)
        world.run(over_s)
        return world

    world, again, calm = history(True), history(True), history(False)
    _require(world.trace.digest() == again.trace.digest(), fault, "differs for the same seed")
    _require(world.trace.digest() != calm.trace.digest(), fault, "changes nothing")
    events, before = world.trace.events(), calm.trace.events()
    noted = events[events["kind"] == "fault"]
    _require(len(noted), fault, "leaves no event of kind fault")
    _require(len(before) == (events["t_s"] < fault.at_s).sum() or fault.at_s == 0, fault, "begins before at_s")
    columns = ["t_sent_s", "t_delivered_s", "src", "dst"]
    mine, theirs = (w.trace.messages()[columns] for w in (world, calm))
    early = (frame[frame["t_delivered_s"] < fault.at_s] for frame in (mine, theirs))
    _require(next(early).equals(next(early)), fault, "changes what happens before at_s")
    if lasts_s is None:
        return
    _require(all(world.nodes.online), fault, "keeps nodes offline after its end")
    world.run(over_s + 19)
    last = world.trace.messages()
    late = last[last["t_sent_s"] > over_s + 10]
    arrived = late["outcome"].isin(["delivered", "expired"]).all() and (late["outcome"] == "delivered").any()
    _require(arrived, fault, "messages are lost after its end")
    _require(len(world.membership.listed()) == 12, fault, "the server does not see all nodes again after its end")


def check_adversary(adversary: Adversary) -> None:
    """Check that ``adversary`` changes what is sent, the same for the same seed, and spares messages between others.

    They are among 12 nodes on a small world, spread over the regions of ``bitcoin-2019``, that send to each other and to the
    server, flood items and relay blocks.

    Example:
        >>> from decai_sim.world.adversaries import Drop
        >>> check_adversary(Drop(share=0.5))
    """
    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, SmallWorld, World
    from decai_sim.world.dissemination import BlockRelay, Flood

    _check_parsed(adversary, "adversaries")

    def history(hostile: bool) -> World:
        world = World(12, Internet(), None, Mix(laptop=1), Streams(3), SmallWorld(degree=4))
        if hostile:
            with _Untouched(adversary, ()):
                adversary.check(world.n)
                adversary.install(world)
            _require(adversary.rewires or not world.rewired, adversary, "changes links, and does not say so: set rewires = True")
        flood, relay = Flood().start(world), BlockRelay(timeout_s=5).start(world)
        for node in range(12):
            world.clock.at(float(node), flood.publish, node, 1000)
            world.clock.at(float(node), relay.publish, node, 1000)
            for other in range(-1, 12):
                if other != node:
                    world.clock.at(float(node), world.links.send, node, other, 1000, "check", int)
        world.run(40)
        return world

    world, again, calm = history(True), history(True), history(False)
    _require(world.trace.digest() == again.trace.digest(), adversary, "differs for the same seed")
    events = world.trace.events()
    noted = events[events["kind"] == "adversary"]
    _require(len(noted), adversary, "leaves no event of kind adversary")
    _require((noted["t_s"] == 0).all() and noted["node"].is_unique, adversary, "its events are not one for each node at time 0")
    mine, theirs = (w.trace.messages().astype({"kind": str, "outcome": str}) for w in (world, calm))
    _require(not mine.equals(theirs), adversary, "changes nothing")
    # When they arrive may differ: their senders' queues hold more or less of what is passed on.
    columns = ["t_sent_s", "src", "dst", "outcome"]
    between = (
        frame.loc[(frame["kind"] == "check") & ~frame[["src", "dst"]].isin([*noted["node"]]).any(axis=1), columns]
        for frame in (mine, theirs)
    )
    first, second = (frame.reset_index(drop=True) for frame in between)
    _require(first.equals(second), adversary, "changes messages between others")


def check_devices(devices: Devices) -> None:
    """Check that ``devices`` gives every node a profile that there is.

    Example:
        >>> from decai_sim.world import Mix
        >>> check_devices(Mix(phone=0.5, laptop=0.5))
    """
    from decai_sim.seeding import Streams
    from decai_sim.world.devices import PROFILES

    _check_parsed(devices, "devices")
    with _Untouched(devices, ()):
        names = devices.assign(50, Streams(3)).tolist()
    _require(len(names) == 50 and set(names) <= set(PROFILES), devices, "names devices that have no profile")
    _require(names == devices.assign(50, Streams(3)).tolist(), devices, "differs for the same seed")
    _require(devices.assign(1, Streams(3)).shape == (1,), devices, "does not return (n,) names")


def check_dissemination(dissemination: Dissemination) -> None:
    """Check that ``dissemination`` brings two items to every node of a small network, by messages, the same for the same seed.

    Example:
        >>> from decai_sim.world.dissemination import Flood
        >>> check_dissemination(Flood())
    """
    import numpy as np

    from decai_sim.seeding import Streams
    from decai_sim.world import Internet, Mix, SmallWorld, World

    _check_parsed(dissemination, "dissemination")

    def history() -> Any:
        world = World(30, Internet(), None, Mix(laptop=1.0), Streams(3), SmallWorld(degree=6))
        spread = dissemination.start(world, 2)
        for t_s, origin in ((10.0, 4), (10.5, 20)):
            world.clock.at(t_s, spread.publish, origin, 1000)
        world.run(200.0)
        return spread

    with _Untouched(dissemination, ()):
        spread, again = history(), history()
    world = spread.world
    _require(world.trace.digest() == again.world.trace.digest(), dissemination, "differs for the same seed")
    for item, (t_s, origin) in enumerate(zip((10.0, 10.5), (4, 20), strict=True)):
        reached, hops = spread.reached_s[item], spread.hops[item]
        _require(np.isfinite(reached).all(), dissemination, "does not reach all nodes of a small world within three minutes")
        _require(reached[origin] == t_s and hops[origin] == 0, dissemination, "an item does not begin with who published it")
        others = np.arange(30) != origin
        _require((reached[others] > t_s).all() and (hops[others] > 0).all(), dissemination, "news arrives before it was sent")
        informed = world.trace.events().query(f"kind == 'informed' and detail == 'item {item}'")
        _require(sorted(informed["node"]) == list(range(30)), dissemination, "its events do not name every node once")
    sent = world.trace.traffic()
    _require((sent["delivered"] * 1000 >= sent["bytes_delivered"]).all(), dissemination, "sends more than one item in a message")
    carried = int(sent.loc[sent["bytes_delivered"] == 1000 * sent["delivered"], "delivered"].sum())
    _require(carried >= 2 * 29, dissemination, "items travel without a message")
    unsaid = set(sent["kind"]) - set(dissemination.kinds or sent["kind"])
    _require(not unsaid, dissemination, f"sends messages of kind {', '.join(sorted(unsaid))}, which its kinds do not name")


def check_membership(membership: Membership) -> None:
    """Check that ``membership`` finds out who is gone, suspects nobody else where nothing is lost, and takes back who returns.

    It watches 12 nodes, spread over the regions of ``bitcoin-2019``, of which two fail, one of them for a time.

    Example:
        >>> from decai_sim.world.membership import Heartbeat
        >>> check_membership(Heartbeat(period_s=10))
    """
    from decai_sim.seeding import Streams
    from decai_sim.world import Crash, Internet, Mix, World

    _check_parsed(membership, "membership")
    gone, away, away_s, end_s = 3, 7, (100.0, 700.0), 1500.0

    def history() -> World:
        world = World(12, Internet(), None, Mix(laptop=1), Streams(3), None, membership)
        Crash(nodes=[gone], at_s=50).install(world)
        Crash(nodes=[away], at_s=away_s[0], for_s=away_s[1] - away_s[0]).install(world)
        world.watch()
        return world

    with _Untouched(membership, ()):
        world, again = history(), history()
        again.run(end_s)
        for t_s in (40.0, 690.0, end_s):
            world.run(t_s)
            absent = [node for node in range(12) if not world.nodes.online[node]]
            for node in range(12):
                believed = world.watch().trust(node)
                if node in absent:
                    _require(believed == 0, membership, f"still trusts a node {t_s:g} s into a run of which it is long gone")
                else:
                    _require(believed == 1, membership, f"does not trust a node that is there, {t_s:g} s into a run")
                _require(world.membership.lists(node) == (node not in absent), membership, "the server's list is wrong for long")
    _require(world.trace.digest() == again.trace.digest(), membership, "differs for the same seed")
    found = world.watch().detections()
    _require(found.equals(again.watch().detections()), membership, "differs for the same seed")
    columns = ["t_s", "observer", "node", "state", "wrong", "delay_s", "first"]
    _require(list(found.columns) == columns, membership, f"its detections have other columns than {', '.join(columns)}")
    _require(not found["wrong"].any(), membership, "suspects a node that is there, although nothing is lost")
    _require({*found["node"]} == {gone, away}, membership, "has not found out by itself about everybody who failed")
    _require((found.loc[found["first"], "delay_s"] >= 0).all(), membership, "finds out before it happens")
    sent = world.trace.messages()
    _require({*sent["kind"].astype(str)} <= {*membership.kinds}, membership, "sends messages of other kinds than it says")
    own = sent.loc[sent["src"] >= 0, "bytes"].sum()
    _require(own == sum(world.links.bytes_up[:-1]), membership, "sends bytes that no message accounts for")


def check_optimiser(optimiser: Optimiser) -> None:
    """Check that steps of ``optimiser`` on many models at once are those of its PyTorch counterpart on each of them.

    Three models of two parameters take five steps; the third model rests in the last two.

    Example:
        >>> from decai_sim.learning.optimisers import SGD
        >>> check_optimiser(SGD(momentum=0.9))
    """
    import torch

    _check_parsed(optimiser, "optimisers")
    generator = torch.Generator().manual_seed(1)
    shapes = {"weight": (3, 4), "bias": (3,)}

    def draw() -> dict[str, torch.Tensor]:
        return {name: torch.randn((3, *shape), generator=generator) for name, shape in shapes.items()}

    params, slopes = draw(), [draw() for _ in range(5)]
    alone = [{name: p[k].clone().requires_grad_() for name, p in params.items()} for k in range(3)]
    theirs = [optimiser.torch(list(own.values()), 0.1) for own in alone]
    kept = {slot: {name: torch.zeros_like(p) for name, p in params.items()} for slot in optimiser.slots}
    steps = torch.zeros(3)
    for number, slope in enumerate(slopes):
        active = 3 if number < 3 else 2
        steps[:active] += 1
        for k in range(active):
            for name, p in alone[k].items():
                p.grad = slope[name][k].clone()
            theirs[k].step()
        own = {name: p[:active] for name, p in params.items()}
        slots = {slot: {name: p[:active] for name, p in values.items()} for slot, values in kept.items()}
        optimiser.step(own, {name: g[:active].clone() for name, g in slope.items()}, slots, steps[:active], 0.1)
        for k in range(3):
            for name, p in alone[k].items():
                same = torch.allclose(params[name][k], p.detach(), rtol=1e-4, atol=1e-5)
                _require(same, optimiser, f"step {number + 1} differs from {type(theirs[k]).__name__} of PyTorch")
                for slot in optimiser.slots if number else ():
                    also = torch.allclose(kept[slot][name][k], theirs[k].state[p][slot], rtol=1e-4, atol=1e-5)
                    _require(also, optimiser, f"keeps another {slot} than PyTorch")


def check_partition(partition: Partition) -> None:
    """Check that ``partition`` gives every sample to exactly one node, or, if it is not ``whole``, to at most one.

    Its samples are of ten classes and seven natural clients.

    Example:
        >>> from decai_sim.learning import IID
        >>> check_partition(IID())
    """
    import numpy as np

    from decai_sim.learning.data import Dataset
    from decai_sim.seeding import Streams

    _check_parsed(partition, "partitions")
    labels, nothing = np.arange(1000) % 10, np.zeros((1000, 1), np.float32)
    data = Dataset("labels", nothing, labels, nothing, labels, tuple("0123456789"), owner=np.arange(1000) % 7)
    for n in (1, 7):
        parts, again = (partition.shares(data, n, Streams(3)) for _ in range(2))
        with _Untouched(partition, ()):  # not the first split: importing a library may draw, which is not the partition's doing
            partition.shares(data, n, Streams(4))
        _require(len(parts) == n, partition, f"makes {len(parts)} parts for {n} nodes")
        _require(all(part.ndim == 1 and part.dtype == np.int64 for part in parts), partition, "parts are not (n,) int64")
        held = np.sort(np.concatenate(parts))
        once = np.array_equal(held, np.arange(1000)) if partition.whole else (np.diff(held) > 0).all() and held.size
        _require(once, partition, "gives samples to nobody or to several nodes")
        _require(all(map(np.array_equal, parts, again)), partition, "differs for the same seed")
        _require((labels == np.arange(1000) % 10).all(), partition, "writes to its arguments")


def check_model(model: Model, shape: tuple[int, ...] | None = None, classes: int = 10) -> None:
    """Check that ``model`` starts from its generator alone, and that many of them at once run and learn as each alone.

    Args:
        model: the model.
        shape: of its inputs; None: 8 x 8 numbers, or 8 tokens if that is what it takes.
        classes: number of its outputs, and of tokens.

    Example:
        >>> from decai_sim.learning import MLP
        >>> check_model(MLP(hidden=(5,)))
    """
    import torch

    from decai_sim.learning.models import Model
    from decai_sim.learning.store import Layout

    _check_parsed(model, "models")
    shape = shape or ((8,) if model.tokens else (8, 8))
    with _Untouched(model, ()):
        modules = [model.module(shape, classes, torch.Generator().manual_seed(seed)) for seed in (1, 2, 1)]
    layout = Layout.of(modules[0])
    rows = [layout.flat({name: p.detach() for name, p in module.named_parameters()}) for module in modules]
    _require(torch.equal(rows[0], rows[2]) and rows[0].isfinite().all(), model, "differs for the same seed, or is not finite")
    _require(not torch.equal(rows[0], rows[1]), model, "is the same for every seed")
    x = _normal(3, 4, *shape, seed=3, dtype=torch.float32)
    if model.tokens:
        x = torch.randint(classes, x.shape, generator=torch.Generator().manual_seed(3))
    params = {name: view.requires_grad_() for name, view in layout.views(torch.stack(rows)).items()}
    logits = model.stacked(modules[0], params, x)
    _require(logits.shape == (3, 4, classes), model, f"stacked returns {tuple(logits.shape)} instead of {(3, 4, classes)}")
    for module, own, inputs in zip(modules, logits, x, strict=True):
        _require(torch.allclose(own, module(inputs), rtol=1e-4, atol=1e-5), model, "stacked differs from each model alone")
    gradients = torch.autograd.grad(logits[0].square().sum(), list(params.values()))
    _require(all((g[1:] == 0).all() for g in gradients), model, "models side by side influence each other")
    _require(any((g[0] != 0).any() for g in gradients), model, "has no gradient")
    y, mask = torch.arange(12).reshape(3, 4) % classes, torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]])
    stepped, expected = ({name: p.detach().clone() for name, p in params.items()} for _ in range(2))
    losses = model.sgd_step(modules[0], stepped, x, y, mask, 0.1)
    plain = Model.sgd_step(model, modules[0], expected, x, y, mask, 0.1)
    _require(
        torch.allclose(losses, plain, rtol=1e-4, atol=1e-5), model, "sgd_step differs in loss from automatic differentiation"
    )
    same = (torch.allclose(stepped[name], p, rtol=1e-4, atol=1e-5) for name, p in expected.items())
    _require(all(same), model, "sgd_step differs from automatic differentiation")


def check_task(task: Task) -> None:
    """Check that ``task`` has consistent data, and a model that can be laid out and evaluated on them.

    Example:
        >>> from decai_sim.learning import Digits
        >>> check_task(Digits())
    """
    import numpy as np
    import torch

    from decai_sim.learning.problem import Problem
    from decai_sim.seeding import Streams

    _check_parsed(task, "tasks")
    data = task.load()
    for x, y, part in ((data.x_train, data.y_train, "training"), (data.x_test, data.y_test, "test")):
        _require(len(x) == len(y) > 0, task, f"has no {part} samples, or not one label each")
        _require(x.shape[1:] == data.x_train.shape[1:], task, "training and test inputs have different shapes")
        _require(
            y.dtype == np.int64 and set(np.unique(y)) <= set(range(data.classes)), task, f"{part} labels are not int64 classes"
        )
    with _Untouched(task, ()):
        problem = Problem(task, 10, Streams(3))
        accuracy, loss = problem.evaluate(problem.initial())
    _require(0 <= accuracy <= 1 and np.isfinite(loss), task, "its first model cannot be evaluated")
    held = len(data.y_train) if task.partition.whole and not task.holdout else None
    _require(held in (None, problem.n_samples.sum()), task, "does not give all training samples to the nodes")
    for train, test, what in ((data.owner, data.owner_test, "owner"), *((*pair, name) for name, pair in data.groups.items())):
        for values, y in ((train, data.y_train), (test, data.y_test)):
            _require(values is None or values.shape == y.shape, task, f"has not one value of {what} for each sample")
    _require(problem.inputs(torch.arange(10)).isfinite().all(), task, "has inputs that are not finite")
    _require(problem.forward_flops > 0, task, "its model costs no work")


def check_protocol(protocol: Protocol) -> None:
    """Check that a small scenario under ``protocol`` runs to its end, the same each time, and accounts for what it does.

    Example:
        >>> from decai_sim.protocols import Federated
        >>> check_protocol(Federated(rounds=2, fraction=0.5))
    """
    from decai_sim.protocols.peer_to_peer import PeerToPeer
    from decai_sim.runs import run
    from decai_sim.scenario import Scenario

    _check_parsed(protocol, "protocols")
    scenario = Scenario(nodes=6, seed=3, topology=protocol.example_topology, network="internet", task="digits", protocol=protocol)
    first, again = (run(scenario, progress=False, device="cpu") for _ in range(2))
    rounds = first.rounds
    _require(first.complete and len(rounds) > 0, protocol, "does not run to its end")
    _require(first.trace_digest == again.trace_digest, protocol, "differs for the same seed")
    _require(
        protocol.total_rounds in (None, len(rounds)), protocol, f"promises {protocol.total_rounds} rounds, makes {len(rounds)}"
    )
    _require(rounds["round"].tolist() == list(range(1, len(rounds) + 1)), protocol, "does not count its rounds 1, 2, …")
    for column in ("t_s", "bytes_up", "bytes_down"):
        _require(rounds[column].is_monotonic_increasing, protocol, f"rounds.{column} goes down")
    known = rounds.accuracy.between(0, 1) if protocol.learns else rounds.accuracy.isna()
    _require(known.all(), protocol, "has an accuracy outside 0…1, or one although nothing is learned")
    _require((rounds.n_replied <= rounds.n_selected).all(), protocol, "has more replies than nodes asked")
    sent = first.messages[first.messages.src >= 0]
    _require(sent["bytes"].sum() == first.nodes.bytes_up.sum(), protocol, "sends bytes that no message accounts for")
    if isinstance(protocol, PeerToPeer):
        _check_peers(protocol)
        _check_departures(protocol, scenario)


_IN_THE_END = 40
"""Rounds after which six nodes that reach each other hold the same model, whomever they hear from: pairs at random halve the
variance in fewer than two."""


def _check_peers(protocol: PeerToPeer, n: int = 6) -> None:
    """What becomes of different models of nodes that all reach each other at once, if training changes nothing: one model.

    Protocols that do not agree after so many rounds do so in the end, on something between the models there were.
    """
    import torch

    from decai_sim.protocols.peers import Peers

    rounds = max(_IN_THE_END, protocol.rounds_to_agree(n))
    # Steps below any number's last bit.
    still = protocol.model_copy(update={"rounds": rounds, "evaluate_every": 1, "node_tests": 0, "lr": 1e-30})
    before = _normal(n, _digits(still, n).problem.layout.d, seed=1, dtype=torch.float32)
    lab = _digits(still, n)
    apart = _spread(before)
    means: list[Any] = []
    lab.on_round = lambda record: means.append(lab.model)
    with lab.execution.trainer(lab.problem, lambda: None) as trainer:
        Peers(lab, still, trainer, before).run()
    mean, last = before.mean(0), lab.models[-1]["distance"].max()
    _require(last < 1e-4 * apart, protocol, f"nodes do not come to agree: {apart:.3g} apart, after {rounds} rounds {last:.3g}")
    between = (means[-1] > before.min(0).values - 1e-5) & (means[-1] < before.max(0).values + 1e-5)
    _require(between.all(), protocol, "nodes agree on what lies beyond all models that there were")
    if protocol.keeps_mean:
        off = max(float((one - mean).abs().max()) for one in means)
        _require(off < 1e-5, protocol, f"does not keep the mean of all models: it moves by {off:.2g}")
    if protocol.agrees:
        left = lab.models[protocol.rounds_to_agree(n) - 1]["distance"].max()
        _require(left < 1e-4 * apart, protocol, f"nodes that all reach each other are {left:.2g} apart, of {apart:.3g}")


def _digits(protocol: PeerToPeer, n: int) -> Lab:
    """A run of ``n`` nodes that all reach each other at once."""
    from decai_sim.component import parse
    from decai_sim.learning import Digits
    from decai_sim.protocols.base import Lab
    from decai_sim.seeding import Streams
    from decai_sim.world import Complete, Ideal, Mix
    from decai_sim.world.world import World

    special = protocol.example_topology == "hierarchical"
    topology = parse("topologies", "hierarchical") if special else Complete()
    streams = Streams(3)
    world = World(n, Ideal(), None, Mix(laptop=1), streams, topology)
    return Lab(world, Digits(), streams, topology, None, frozenset(), None)


def _spread(rows: torch.Tensor) -> float:
    return float((rows - rows.mean(0)).norm(dim=1).max())


def _check_departures(protocol: PeerToPeer, scenario: Scenario) -> None:
    """Half of the nodes leave for good after the first round, whichever; each of the others goes on, and learns."""
    from decai_sim.runs import run
    from decai_sim.world.faults import Crash

    scenario = scenario.but(protocol__rounds=max(4, protocol.rounds), protocol__evaluate_every=1)
    whole = run(scenario, progress=False, device="cpu")
    leave_s = float(whole.rounds["t_s"].iloc[0]) + 1e-4
    n = scenario.nodes
    for half in (range(n // 2), range(n // 2, n), range(0, n, 2), range(1, n, 2)):
        halved = scenario.but(faults=[Crash(nodes=half, at_s=leave_s)])
        first, again = (run(halved, progress=False, device="cpu") for _ in range(2))
        when = f"when nodes {', '.join(map(str, half))} of {n} have left"
        _require(first.complete, protocol, f"does not go on {when}")
        _require(len(first.rounds) == len(whole.rounds), protocol, f"ends early {when}")
        trained = first.models.pivot(index="round", columns="node", values="updates").drop(columns=list(half))
        idle = trained.columns[trained.iloc[-1] <= trained.iloc[0]].tolist()
        _require(not idle, protocol, f"nodes {idle} train no more {when}")
        _require(first.rounds.loss.iloc[-1] < 0.95 * first.rounds.loss.iloc[0], protocol, f"learns nothing more {when}")
        _require(first.trace_digest == again.trace_digest, protocol, f"differs for the same seed {when}")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "adversaries": check_adversary,
    "attacks": check_attack,
    "churn": check_churn,
    "defenses": check_defense,
    "devices": check_devices,
    "dissemination": check_dissemination,
    "faults": check_fault,
    "latency": check_latency,
    "access_rates": check_access_rates,
    "link_rates": check_link_rates,
    "loss": check_loss,
    "membership": check_membership,
    "models": check_model,
    "network": check_network,
    "optimisers": check_optimiser,
    "partitions": check_partition,
    "protocols": check_protocol,
    "tasks": check_task,
    "topologies": check_topology,
}


def check(component: Component) -> None:
    """Check that ``component`` keeps its family's contract; of a family of your own, what holds of every component.

    Example:
        >>> import decai_sim as ds
        >>> check(ds.topologies.Ring())
    """
    _CHECKS.get(component.family, lambda other: _check_parsed(other, other.family))(component)
