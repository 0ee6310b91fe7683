"""Conformance checks for components, ours and yours: call them in a test of your own.

Each raises ``AssertionError`` with one line that says what does not hold.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

if TYPE_CHECKING:
    import torch

    from decai_sim.attacks.base import Attack, DataAttack, UpdateAttack
    from decai_sim.component import Component
    from decai_sim.defenses.base import Context, Mixing, Rule

__all__ = ["check_attack", "check_defense"]

_CARD = ("Source:", "Assumes:", "Deviations:", "Example:")


def _require(holds: Any, component: Component, message: str) -> None:
    if not bool(holds):
        raise AssertionError(f"{component!r}: {message}")


def _check_component(component: Component, restored: Any) -> None:
    """What holds of every component: a card, plain data there and back, and nothing that can be changed."""
    doc = type(component).__doc__ or ""
    missing = [line for line in _CARD if line not in doc]
    _require(not missing, component, f"its docstring lacks {', '.join(missing)}")
    _require(">>>" in doc, component, "its docstring has no runnable example")
    _require(restored == component, component, f"comes back from its config as {restored!r}")
    text = json.dumps(component.to_config(), allow_nan=False)
    _require(json.loads(text) == component.to_config(), component, "its config is not plain JSON data")
    _require(pickle.loads(pickle.dumps(component)) == component, component, "does not survive pickling")
    _require(hash(restored) == hash(component), component, "equal components have different hashes")
    for name in type(component).model_fields:
        try:
            setattr(component, name, getattr(component, name))
        except ValidationError:
            continue
        raise AssertionError(f"{component!r}: field {name} can be set; components are frozen")


class _Untouched:
    """Checks on leaving that tensors, and the global random state, are as they were on entering."""

    def __init__(self, component: Component, tensors: Sequence[torch.Tensor]) -> None:
        self.component, self.tensors = component, tensors

    def __enter__(self) -> None:
        import numpy as np
        import torch

        self.copies = [tensor.clone() for tensor in self.tensors]
        self.state, self.legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]

    def __exit__(self, *error: object) -> None:
        import numpy as np
        import torch

        if error[0] is not None:
            return
        for before, after in zip(self.copies, self.tensors, strict=True):
            _require(torch.equal(before.nan_to_num(7.0), after.nan_to_num(7.0)), self.component, "writes to its arguments")
        same = torch.equal(self.state, torch.get_rng_state()) and (self.legacy == np.random.get_state()[1]).all()  # type: ignore[index]
        _require(same, self.component, "draws from the global random state instead of its generator")


def _normal(*shape: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def check_attack(attack: Attack) -> None:
    """Check that ``attack`` keeps the contract of :mod:`decai_sim.attacks`.

    Example:
        >>> from decai_sim.attacks import SignFlip
        >>> check_attack(SignFlip(scale=4))
    """
    from decai_sim.attacks.base import Attack, DataAttack, UpdateAttack
    from decai_sim.component import parse

    _require(isinstance(attack, Attack), attack, "is no attack")
    _check_component(attack, parse("attacks", attack.to_config()))
    _require(0 <= attack.fraction < 1, attack, "fraction is outside [0, 1)")
    _require(isinstance(attack, UpdateAttack | DataAttack), attack, "is neither an UpdateAttack nor a DataAttack")
    if isinstance(attack, UpdateAttack):
        _check_update_attack(attack)
    if isinstance(attack, DataAttack):
        _check_data_attack(attack)


def _check_update_attack(attack: UpdateAttack) -> None:
    import torch

    from decai_sim.attacks.base import View

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    for dtype in (torch.float32, torch.float64):
        for h, b, d in ((7, 3, 11), (2, 1, 1), (5, 0, 4)):
            honest, own = _normal(h, d, seed=1, dtype=dtype), _normal(b, d, seed=2, dtype=dtype)
            for view in (None, View(own=own), View(own=own, omniscient=True, n=h + b)):
                with _Untouched(attack, (honest, own)):
                    sent = attack(honest, b, generator(), view)
                _require(sent.shape == (b, d), attack, f"returns {tuple(sent.shape)} instead of {(b, d)}")
                _require(sent.dtype == dtype, attack, f"returns {sent.dtype} for {dtype}")
                _require(sent.device == honest.device, attack, "returns rows on another device")
                _require(sent.isfinite().all(), attack, "returns rows that are not finite")
                _require(torch.equal(sent, attack(honest, b, generator(), view)), attack, "differs for the same seed")
        blind, own = honest.new_empty(0, 4), _normal(3, 4, seed=2, dtype=dtype)
        sent = attack(blind, 3, generator(), View(own=own))
        _require(sent.shape == (3, 4) and sent.isfinite().all(), attack, "fails when it sees no honest row but its own")


def _check_data_attack(attack: DataAttack) -> None:
    import torch

    for n in (0, 1, 50):
        x = _normal(n, 3, seed=1, dtype=torch.float32)
        y = torch.arange(n) % 10
        with _Untouched(attack, (x, y)):
            x_new, y_new = attack.poison(x, y, torch.Generator().manual_seed(5))
        again = attack.poison(x, y, torch.Generator().manual_seed(5))
        _require(x_new.shape == x.shape and y_new.shape == y.shape, attack, "changes the number of samples or their shape")
        _require(x_new.dtype == x.dtype and y_new.dtype == y.dtype, attack, "changes a dtype")
        _require(x_new.isfinite().all(), attack, "returns samples that are not finite")
        _require((y_new >= 0).all(), attack, "returns negative labels")
        _require(torch.equal(x_new, again[0]) and torch.equal(y_new, again[1]), attack, "differs for the same seed")


def check_defense(defense: Rule | Mixing) -> None:
    """Check that a rule, mixing step or chain keeps the contract of :mod:`decai_sim.defenses`.

    Where ``defense`` leaves ``f`` open, it is taken to be 1.

    Example:
        >>> from decai_sim.defenses import NNM, Krum
        >>> check_defense(NNM(f=1) >> Krum(f=1))
    """
    import torch

    from decai_sim.component import parse
    from decai_sim.defenses import Chain, Context, Mixing, MixingChain, Rule, parse_defense

    _require(isinstance(defense, Rule | Mixing), defense, "is neither a Rule nor a Mixing")
    config = defense.to_config()
    if isinstance(defense, MixingChain):
        restored: Any = MixingChain.model_validate({"steps": config})
    elif isinstance(defense, Mixing):
        restored = parse("defenses", config)
    elif isinstance(defense, Chain):
        restored = Chain.model_validate({"steps": config}) if isinstance(config, list) else parse_defense(config)
    else:
        restored = parse_defense(config)
    _check_component(defense, restored)

    steps = defense.steps if isinstance(defense, Chain | MixingChain) else (defense,)
    n, d = 4 * max(1, *(step.f or 0 for step in (defense, *steps))) + 7, 13
    for dtype in (torch.float32, torch.float64):
        rows = _normal(n, d, seed=1, dtype=dtype)
        context = Context(f=1, num_examples=torch.arange(1, n + 1))
        if isinstance(defense, Rule):
            _check_rule(defense, rows, context)
        else:
            _check_mixing(defense, rows, context)
    for wrong in (rows[:0], rows[0], rows.long()):
        try:
            defense(wrong, context)
        except ValueError:
            continue
        raise AssertionError(f"{defense!r}: accepts updates of shape {tuple(wrong.shape)} and {wrong.dtype}")


def _permuted(rows: torch.Tensor, context: Context) -> tuple[torch.Tensor, torch.Tensor, Context]:
    from dataclasses import replace

    import torch

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))
    assert context.num_examples is not None
    return order, rows[order], replace(context, num_examples=context.num_examples[order])


def _check_rule(rule: Rule, rows: torch.Tensor, context: Context) -> None:
    import torch

    n, d = rows.shape
    with _Untouched(rule, (rows,)):
        result = rule.explain(rows, context)
    value = result.value
    _require(value.shape == (d,), rule, f"returns {tuple(value.shape)} instead of {(d,)}")
    _require(value.dtype == rows.dtype and value.device == rows.device, rule, "changes dtype or device")
    _require(value.isfinite().all(), rule, "returns a value that is not finite for finite rows")
    _require(torch.equal(value, rule(rows, context)), rule, "call and explain differ, or it is not deterministic")
    _require(value.untyped_storage().data_ptr() != rows.untyped_storage().data_ptr(), rule, "returns a view of its argument")
    _require(result.kept.shape == (n,) and result.kept.dtype == torch.bool, rule, "kept is not (n,) bool")
    _require(result.kept.any(), rule, "keeps no row")
    _require(result.scores is None or result.scores.shape == (n,), rule, "scores are not (n,)")
    if result.weights is not None:
        _require(result.weights.shape == (n,), rule, "weights are not (n,)")
        mean = result.weights.to(rows) @ rows
        _require(torch.allclose(mean, value, rtol=1e-4, atol=1e-5), rule, "its value is not the mean that its weights say")
        _require((result.weights[~result.kept] == 0).all(), rule, "a row that is not kept has weight")

    order, shuffled, shuffled_context = _permuted(rows, context)
    moved = rule.explain(shuffled, shuffled_context)
    _require(torch.allclose(moved.value, value, rtol=1e-4, atol=1e-5), rule, "depends on the order of the rows")
    _require(torch.equal(moved.kept, result.kept[order]), rule, "whom it keeps depends on the order of the rows")

    if not rule.robust:
        return
    for poison in (float("nan"), float("inf"), -float("inf")):
        poisoned = rows.clone()
        poisoned[1, 0] = poison
        with _Untouched(rule, (poisoned,)):
            result = rule.explain(poisoned, context)
        _require(result.value.isfinite().all(), rule, f"is defeated by a row with {poison}")
        _require(not result.kept[1], rule, f"keeps a row with {poison}")
        _require(result.weights is None or result.weights[1] == 0, rule, f"gives weight to a row with {poison}")
        _require(result.scores is None or result.scores[1] == float("inf"), rule, "a dropped row's score is not infinite")
    try:
        rule(torch.full_like(rows, float("nan")), context)
    except ValueError:
        return
    raise AssertionError(f"{rule!r}: accepts rows none of which is finite")


def _check_mixing(mixing: Mixing, rows: torch.Tensor, context: Context) -> None:
    import torch

    n = len(rows)
    with _Untouched(mixing, (rows,)):
        matrix, mixed = mixing.mixing(rows, context), mixing(rows, context)
    _require(matrix.shape == (n, n) and mixed.shape == rows.shape, mixing, "changes the number of rows")
    _require(mixed.dtype == rows.dtype and mixed.device == rows.device, mixing, "changes dtype or device")
    _require(torch.allclose(matrix.sum(dim=1).double(), torch.ones(n).double(), atol=1e-5), mixing, "its rows do not sum to 1")
    _require(torch.allclose(matrix.to(rows) @ rows, mixed, rtol=1e-4, atol=1e-5), mixing, "its rows are not matrix @ updates")
    _require(torch.equal(mixed, mixing(rows, context)), mixing, "is not deterministic")
    order, shuffled, shuffled_context = _permuted(rows, context)
    again = mixing(shuffled, shuffled_context)
    _require(torch.allclose(again, mixed[order], rtol=1e-4, atol=1e-5), mixing, "depends on the order of the rows")
    poisoned = rows.clone()
    poisoned[1] = float("nan")
    mixed = mixing(poisoned, context)
    others = torch.arange(n) != 1
    _require(mixed[others].isfinite().all(), mixing, "lets a row that is not finite reach others")
