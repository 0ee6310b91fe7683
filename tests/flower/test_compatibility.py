"""What of Flower runs on ``SimGrid`` as it is, found by running it: the table in ``docs/flower_compatibility.md``.

``DECAI_SIM_WRITE=1 pytest tests/flower/test_compatibility.py`` writes the table anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flwr
import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp, mod
from flwr.serverapp import Grid, ServerApp, strategy

import decai_sim as ds
from decai_sim.flower.arrays import StoreArray
from tests.flower.test_strategies import ALL, SCENARIO, SEED, STRATEGIES, N

DOCUMENT = Path(__file__).parents[2] / "docs" / "flower_compatibility.md"
ROUNDS = 2
CLIPPED = {"noise_multiplier": 0.01, "num_sampled_clients": N}
NAMES = {
    "DifferentialPrivacyServerSideFixedClipping": "DP, fixed clipping",
    "DifferentialPrivacyServerSideAdaptiveClipping": "DP, adaptive clipping",
}
WITH_MODS: dict[str, tuple[Callable[[], Any], Any]] = {
    "DifferentialPrivacyClientSideFixedClipping": (
        lambda: strategy.DifferentialPrivacyClientSideFixedClipping(strategy.FedAvg(**ALL), clipping_norm=0.5, **CLIPPED),
        mod.fixedclipping_mod,
    ),
    "DifferentialPrivacyClientSideAdaptiveClipping": (
        lambda: strategy.DifferentialPrivacyClientSideAdaptiveClipping(strategy.FedAvg(**ALL), **CLIPPED),
        mod.adaptiveclipping_mod,
    ),
}
NOT_TRIED = {
    "FedXgbBagging": "trees of XGBoost, not models of PyTorch",
    "FedXgbCyclic": "trees of XGBoost, not models of PyTorch",
}
NO_STRATEGIES = {"Result", "Strategy"}
MODS: dict[str, Any] = {
    "LocalDpMod": mod.LocalDpMod(clipping_norm=1.0, sensitivity=1.0, epsilon=10.0, delta=1e-5),
    "adaptiveclipping_mod": None,  # with the strategy it belongs to
    "arrays_size_mod": mod.arrays_size_mod,
    "fixedclipping_mod": None,
    "message_size_mod": mod.message_size_mod,
}


@dataclass
class Seen:
    """What came of a run: replies of each round, whether the model is a model, and how often a stored one was copied."""

    replied: list[int]
    finite: bool
    moved: bool
    copies: int


def seen(plan: Any, with_mod: Any, monkeypatch: pytest.MonkeyPatch) -> Seen:
    ours, server_app, results, copies = ds.flower.TaskClientApp(SCENARIO.task, SEED), ServerApp(), [], [0]
    client_app: ClientApp = ours
    if with_mod is not None:  # then messages are handed over one by one, as to anybody's app
        client_app = ClientApp(mods=[with_mod])

        @client_app.train()
        def train(message: Message, context: Context) -> Message:
            return ours(message, context)

    initial = ds.flower.initial_model(SCENARIO.task, SEED, N)

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        results.append(plan.start(grid, initial, num_rounds=ROUNDS))

    as_it_was = StoreArray.numpy

    def counted(self: StoreArray) -> Any:
        copies[0] += 1
        return as_it_was(self)

    with monkeypatch.context() as patch:
        patch.setattr(StoreArray, "numpy", counted)
        run = ds.flower.run(server_app, client_app, SCENARIO)
        found = copies[0]
    values = {name: array.numpy() for name, array in results[0].arrays.items()}
    finite = all(np.isfinite(array).all() for array in values.values())
    moved = any(not np.array_equal(array, initial[name].numpy()) for name, array in values.items())
    return Seen(run.rounds["n_replied"].tolist(), finite, moved, found)


def how(one: Seen) -> str:
    """A single model may be copied to be handed out; models of all nodes may not."""
    return "where they are stored" if one.copies < N else "copies of stored models"


def row(name: str, one: Seen, reads: str) -> str:
    assert one.replied == [N] * ROUNDS, name
    assert one.finite, name
    assert one.moved, name
    return f"| `{name}` | yes | {reads} |"


def table(monkeypatch: pytest.MonkeyPatch) -> str:
    lines = []
    for name in sorted(set(strategy.__all__) - NO_STRATEGIES):
        if name in NOT_TRIED:
            lines.append(f"| `{name}` | not tried | {NOT_TRIED[name]} |")
        elif name in WITH_MODS:
            plan, with_mod = WITH_MODS[name]
            lines.append(row(name, seen(plan(), with_mod, monkeypatch), f"message by message, with `{with_mod.__name__}`"))
        else:
            one = seen(STRATEGIES[NAMES.get(name, name)](), None, monkeypatch)
            lines.append(row(name, one, how(one)))
    for name, plan in (
        ("CappedFedAvg", lambda: ds.flower.CappedFedAvg(N)),
        ("RuleStrategy", lambda: ds.flower.RuleStrategy(ds.defenses.Krum(f=1), 0.0, N)),
    ):
        one = seen(plan(), None, monkeypatch)
        lines.append(row(name, one, how(one)))
    mods = []
    for name in sorted(mod.__all__):
        if MODS[name] is not None:
            seen(strategy.FedAvg(**ALL), MODS[name], monkeypatch)
        mods.append(f"| `{name}` | yes |")
    return f"""# What of Flower {".".join(flwr.__version__.split(".")[:2])} runs in virtual time as it is

Found by `tests/flower/test_compatibility.py`, which runs {ROUNDS} rounds with {N} nodes of each and compares this page with
what came of it. All replies arrived, and a model that has moved and is finite came out.

| strategy | runs | how it reads models |
|---|---|---|
{chr(10).join(lines)}

Strategies of Flower read models as NumPy arrays: they get copies of stored ones. Ours, at the end of the table, work on the
rows of the store.

| client mod | runs |
|---|---|
{chr(10).join(mods)}

Apps with mods, and all apps but `TaskClientApp`, are called message by message. Apps of the deprecated `client_fn` and
`server_fn` style are refused with one line that says so.
"""


def test_the_page_says_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = table(monkeypatch)
    if os.environ.get("DECAI_SIM_WRITE"):
        DOCUMENT.write_text(found, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == found
