"""What of Flower runs on ``SimGrid`` as it is, found by running it: the table in ``docs/flower_compatibility.md``.

``DECAI_SIM_WRITE=1 pytest tests/flower/test_compatibility.py`` writes the table anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flwr
import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp, mod
from flwr.clientapp.mod import comms_mods
from flwr.serverapp import Grid, ServerApp, strategy
from flwr.serverapp.exception import AggregationError

import decai_sim as ds
from decai_sim.flower.arrays import StoreArray
from tests.flower.test_strategies import ALL, SCENARIO, SEED, STRATEGIES, N

DOCUMENT = Path(__file__).parents[2] / "docs" / "flower_compatibility.md"
ROUNDS = 2
CLIP_NORM = 0.5
CLIPPED = {"noise_multiplier": 0.01, "num_sampled_clients": N}
NAMES = {
    "DifferentialPrivacyServerSideFixedClipping": "DP, fixed clipping",
    "DifferentialPrivacyServerSideAdaptiveClipping": "DP, adaptive clipping",
}
WITH_MODS: dict[str, tuple[Callable[[], Any], Any]] = {
    "DifferentialPrivacyClientSideFixedClipping": (
        lambda: strategy.DifferentialPrivacyClientSideFixedClipping(strategy.FedAvg(**ALL), clipping_norm=CLIP_NORM, **CLIPPED),
        mod.fixedclipping_mod,
    ),
    "DifferentialPrivacyClientSideAdaptiveClipping": (
        lambda: strategy.DifferentialPrivacyClientSideAdaptiveClipping(
            strategy.FedAvg(**ALL), initial_clipping_norm=CLIP_NORM, **CLIPPED
        ),
        mod.adaptiveclipping_mod,
    ),
}
NOT_TRIED = {
    "FedXgbBagging": "trees of XGBoost, not models of PyTorch",
    "FedXgbCyclic": "trees of XGBoost, not models of PyTorch",
}
NO_STRATEGIES = {"Result", "Strategy"}
NOISE = 5.0 * np.sqrt(2 * np.log(1.25e5)) / 1000.0
"""The standard deviation that ``LocalDpMod`` is to add with the sensitivity, ε and δ below (its documentation)."""
MODS: dict[str, tuple[Callable[[], Any], Any]] = {
    "LocalDpMod": (
        lambda: strategy.FedAvg(**ALL),
        mod.LocalDpMod(clipping_norm=CLIP_NORM, sensitivity=5.0, epsilon=1000.0, delta=1e-5),
    ),
    "adaptiveclipping_mod": WITH_MODS["DifferentialPrivacyClientSideAdaptiveClipping"],
    "arrays_size_mod": (lambda: strategy.FedAvg(**ALL), mod.arrays_size_mod),
    "fixedclipping_mod": WITH_MODS["DifferentialPrivacyClientSideFixedClipping"],
    "message_size_mod": (lambda: strategy.FedAvg(**ALL), mod.message_size_mod),
}
OURS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "CappedFedAvg": (lambda: ds.flower.CappedFedAvg(N), {"num_rounds": ROUNDS}),
    "FedAsync": (lambda: ds.flower.FedAsync(N), {"num_versions": ROUNDS}),
    "FedBuff": (lambda: ds.flower.FedBuff(N, buffer=4), {"num_versions": ROUNDS}),
    "RuleStrategy": (lambda: ds.flower.RuleStrategy(ds.defenses.Krum(f=1), 0.0, N), {"num_rounds": ROUNDS}),
    "Scaffold": (
        lambda: ds.flower.Scaffold(N, N),
        {"num_rounds": ROUNDS, "train_config": ConfigRecord({"local-epochs": 1, "lr": 0.1, "batch-size": 20})},
    ),
}
"""Our strategies, and how they are started: the asynchronous ones count models, not rounds."""


DOES = {
    "LocalDpMod": "every update is clipped and has noise of the right size in it",
    "adaptiveclipping_mod": "every update is clipped to the norm that the strategy says, and tells whether it had to be",
    "arrays_size_mod": "logs both sizes of every exchange",
    "fixedclipping_mod": "every update is clipped to the norm that the strategy says",
    "message_size_mod": "logs both sizes of every exchange",
}


@dataclass
class Exchange:
    """One reply's update, as a vector: as the app made it, and as it left the mod; and what else the mod did."""

    before: np.ndarray
    after: np.ndarray
    metrics: dict[str, Any]
    clip_norm: float | None


@dataclass
class Seen:
    """What came of a run: replies of each round, which models replies told their loss with, whether the last one is a model, and
    how often a stored one was copied.

    With a mod also what it made of each reply, and what it logged.
    """

    replied: list[int]
    versions: list[int]
    finite: bool
    moved: bool
    copies: int
    exchanges: list[Exchange] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)


def vector(message: Message) -> np.ndarray:
    record = next(iter(message.content.array_records.values()))
    return np.concatenate([array.numpy().ravel() for array in record.values()]).astype(np.float64)


def watched(ours: ClientApp, with_mod: Any, exchanges: list[Exchange]) -> ClientApp:
    """Our app behind a mod, with somebody on either side of it who writes down what passes."""
    inner: list[np.ndarray] = []

    def outside(message: Message, context: Context, call_next: Any) -> Message:
        inner.clear()
        start, config = vector(message), dict(next(iter(message.content.config_records.values())))
        reply = call_next(message, context)
        assert not reply.has_error(), reply.error
        metrics = dict(next(iter(reply.content.metric_records.values())))
        exchanges.append(Exchange(inner[0] - start, vector(reply) - start, metrics, config.get("clipping_norm")))
        return reply

    app = ClientApp(mods=[outside, with_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        reply = ours(message, context)
        inner.append(vector(reply))
        return reply

    return app


def seen(plan: Any, with_mod: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any] | None = None) -> Seen:
    server_app, results, copies, exchanges = ServerApp(), [], [0], []
    client_app: ClientApp = ds.flower.TaskClientApp(SCENARIO.task, SEED)
    if with_mod is not None:  # then messages are handed over one by one, as to anybody's app
        client_app = watched(client_app, with_mod, exchanges)
    logged: list[str] = []

    initial = ds.flower.initial_model(SCENARIO.task, SEED, N)

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        results.append(plan.start(grid, initial, **(options or {"num_rounds": ROUNDS})))

    as_it_was = StoreArray.numpy

    def counted(self: StoreArray) -> Any:
        copies[0] += 1
        return as_it_was(self)

    with monkeypatch.context() as patch:
        patch.setattr(StoreArray, "numpy", counted)
        patch.setattr(comms_mods, "log", lambda level, text, *of: logged.append(str(text) % of if of else str(text)))
        run = ds.flower.run(server_app, client_app, SCENARIO)
        found = copies[0]
    values = {name: array.numpy() for name, array in results[0].arrays.items()}
    finite = all(np.isfinite(array).all() for array in values.values())
    moved = any(not np.array_equal(array, initial[name].numpy()) for name, array in values.items())
    versions = sorted(results[0].train_metrics_clientapp)
    return Seen(run.rounds["n_replied"].tolist(), versions, finite, moved, found, exchanges, logged)


def how(one: Seen) -> str:
    """A single model may be copied to be handed out; models of all nodes may not."""
    return "where they are stored" if one.copies < N else "copies of stored models"


def check(name: str, one: Seen) -> None:
    """What has to have come of any run."""
    if "num_versions" in OURS.get(name, (None, {}))[1]:  # it has no rounds
        assert one.versions == list(range(1, ROUNDS + 1)), name
    else:
        assert one.replied == [N] * ROUNDS, name
    assert one.finite, name
    assert one.moved, name


def row(name: str, one: Seen, reads: str) -> str:
    check(name, one)
    return f"| `{name}` | yes | {reads} |"


def clipped(one: Exchange, norm: float) -> np.ndarray:
    return one.before * min(1.0, norm / float(np.linalg.norm(one.before)))


def acted(name: str, one: Seen) -> None:
    """That the mod did to every reply what it is for."""
    assert len(one.exchanges) == N * ROUNDS, name
    if name.endswith("_size_mod"):
        ways = {"message_size_mod": ("Incoming message", "Outgoing message"), "arrays_size_mod": ("received: ", "sent: ")}[name]
        assert [sum(way in line and " bytes" in line for line in one.logged) for way in ways] == [N * ROUNDS] * 2
        assert all(np.array_equal(exchange.before, exchange.after) for exchange in one.exchanges)
        return
    assert any(np.linalg.norm(exchange.before) > CLIP_NORM for exchange in one.exchanges), "nothing there to clip"
    for exchange in one.exchanges:
        if name == "LocalDpMod":
            noise = exchange.after - clipped(exchange, CLIP_NORM)
            assert noise.std() == pytest.approx(NOISE, rel=0.2)
            continue
        assert exchange.clip_norm is not None
        assert np.linalg.norm(exchange.after) <= exchange.clip_norm * (1 + 1e-3)
        np.testing.assert_allclose(exchange.after, clipped(exchange, exchange.clip_norm), atol=1e-5)
        if name == "adaptiveclipping_mod":
            assert exchange.metrics["norm_bit"] == int(np.linalg.norm(exchange.before) > exchange.clip_norm)


def mod_row(name: str, one: Seen) -> str:
    check(name, one)
    acted(name, one)
    return f"| `{name}` | yes | {DOES[name]} |"


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
    for name, (ours, options) in OURS.items():
        one = seen(ours(), None, monkeypatch, options)
        lines.append(row(name, one, how(one)))
    mods = []
    for name in sorted(mod.__all__):
        plan, with_mod = MODS[name]
        mods.append(mod_row(name, seen(plan(), with_mod, monkeypatch)))
    return f"""# What of Flower {".".join(flwr.__version__.split(".")[:2])} runs in virtual time as it is

Found by `tests/flower/test_compatibility.py`, which runs {ROUNDS} rounds with {N} nodes of each and compares this page with
what came of it. All replies arrived, and a model that has moved and is finite came out. `FedAsync` makes a new model of every
reply, and `FedBuff` here of four.

| strategy | runs | how it reads models |
|---|---|---|
{chr(10).join(lines)}

Strategies of Flower read models as NumPy arrays: they get copies of stored ones. Ours, at the end of the table, work on the
rows of the store.

| client mod | runs | what it was seen to do |
|---|---|---|
{chr(10).join(mods)}

Apps with mods, and all apps but `TaskClientApp`, are called message by message. Apps of the deprecated `client_fn` and
`server_fn` style are refused with one line that says so.
"""


def test_the_page_says_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = table(monkeypatch)
    if os.environ.get("DECAI_SIM_WRITE"):
        DOCUMENT.write_text(found, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == found


def does_nothing(message: Message, context: Context, call_next: Any) -> Message:
    return call_next(message, context)


def raises(message: Message, context: Context, call_next: Any) -> Message:
    raise RuntimeError("a mod that fails")


@pytest.mark.parametrize("name", sorted(MODS))
def test_a_mod_that_does_nothing_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, AggregationError)):  # a strategy may notice first
        mod_row(name, seen(MODS[name][0](), does_nothing, monkeypatch))


def test_a_mod_that_fails_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, ds.DecaiError)):
        mod_row("message_size_mod", seen(strategy.FedAvg(**ALL), raises, monkeypatch))
