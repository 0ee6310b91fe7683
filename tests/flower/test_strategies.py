"""Every strategy of Flower's runs on stored models, and leaves them as they are."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp import Grid, ServerApp, strategy
from flwr.supercore.inflatable.inflatable_object import InflatableObject

import decai_sim as ds
from decai_sim.flower import arrays, compat
from decai_sim.flower.arrays import StoreArray
from decai_sim.flower.executors import CohortExecutor
from decai_sim.learning.store import Layout, Row, Store

N, SEED = 8, 5
SCENARIO = ds.Scenario(nodes=N, seed=SEED, task={"kind": "digits", "partition": {"kind": "iid"}})
ALL: dict[str, Any] = {"fraction_evaluate": 0.0, "min_available_nodes": N}

STRATEGIES: dict[str, Callable[[], Any]] = {
    "FedAvg": lambda: strategy.FedAvg(**ALL),
    "FedAvg with evaluation": lambda: strategy.FedAvg(min_available_nodes=N),
    "FedProx": lambda: strategy.FedProx(proximal_mu=0.1, **ALL),
    "FedAvgM": lambda: strategy.FedAvgM(server_learning_rate=1.0, server_momentum=0.9, **ALL),
    "FedAdam": lambda: strategy.FedAdam(**ALL),
    "FedYogi": lambda: strategy.FedYogi(**ALL),
    "FedAdagrad": lambda: strategy.FedAdagrad(**ALL),
    "FedMedian": lambda: strategy.FedMedian(**ALL),
    "FedTrimmedAvg": lambda: strategy.FedTrimmedAvg(beta=0.2, **ALL),
    "Krum": lambda: strategy.Krum(num_malicious_nodes=1, **ALL),
    "MultiKrum": lambda: strategy.MultiKrum(num_malicious_nodes=1, num_nodes_to_select=3, **ALL),
    "Bulyan": lambda: strategy.Bulyan(num_malicious_nodes=1, **ALL),
    "QFedAvg": lambda: strategy.QFedAvg(client_learning_rate=0.1, q=0.1, train_loss_key="train-loss", **ALL),
    "DP, fixed clipping": lambda: strategy.DifferentialPrivacyServerSideFixedClipping(
        strategy.FedAvg(**ALL), noise_multiplier=0.01, clipping_norm=0.5, num_sampled_clients=N
    ),
    "DP, adaptive clipping": lambda: strategy.DifferentialPrivacyServerSideAdaptiveClipping(
        strategy.FedAvg(**ALL), noise_multiplier=0.01, num_sampled_clients=N
    ),
    "our rules": lambda: ds.flower.RuleStrategy(ds.defenses.Krum(f=1), 0.0, N),
}


def rows_of(replies: Iterable[Message]) -> list[Row]:
    records = [m.content["arrays"] for m in replies if m.has_content() and "arrays" in m.content]
    return [row for row in map(arrays.stored_row, records) if row is not None]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_learns_and_leaves_the_store_untouched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = STRATEGIES[name]()
    held: list[tuple[Row, torch.Tensor]] = []
    aggregate, complete = plan.aggregate_train, CohortExecutor.complete

    def watched(server_round: int, replies: Iterable[Message]) -> Any:
        replies = list(replies)
        rows = rows_of(replies)
        assert len(rows) == N
        held.extend((row, row.tensor()) for row in rows)
        return aggregate(server_round, replies)

    def started(self: CohortExecutor, exchanges: Any) -> None:
        begun = {id(e.work.start): e.work.start for e in exchanges if hasattr(e.work, "start")}
        held.extend((row, row.tensor()) for row in begun.values())  # the model everybody starts from
        complete(self, exchanges)

    monkeypatch.setattr(plan, "aggregate_train", watched)
    monkeypatch.setattr(CohortExecutor, "complete", started)
    server_app, results = ServerApp(), []
    initial = ds.flower.initial_model(SCENARIO.task, SEED, N)

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        config = ConfigRecord({"lr": 0.1, "batch-size": 20, "local-epochs": 1})
        results.append(plan.start(grid, initial, num_rounds=2, train_config=config))

    run = ds.flower.run(server_app, ds.flower.TaskClientApp(SCENARIO.task, SEED), SCENARIO)
    assert run.rounds.n_replied.tolist() == [N, N]
    assert len(held) == 2 * (N + 1)
    assert all(torch.equal(row.tensor(), before) for row, before in held)
    for key, array in results[0].arrays.items():
        assert np.isfinite(array.numpy()).all()
        assert not np.allclose(array.numpy(), initial[key].numpy())


def test_the_watch_over_the_store_notices_a_write() -> None:
    store = Store(2)
    (row,) = store.put(torch.ones(1, 2))
    before = row.tensor()
    store._blocks[0][row.slot] += 1
    assert not torch.equal(row.tensor(), before)


def test_client_side_privacy_runs_with_its_mod() -> None:
    ours = ds.flower.TaskClientApp(SCENARIO.task, SEED)
    client_app, server_app, results = ClientApp(mods=[fixedclipping_mod]), ServerApp(), []

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        return ours(message, context)

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        plan = strategy.DifferentialPrivacyClientSideFixedClipping(
            strategy.FedAvg(**ALL), noise_multiplier=0.01, clipping_norm=0.5, num_sampled_clients=N
        )
        results.append(plan.start(grid, ds.flower.initial_model(SCENARIO.task, SEED, N), num_rounds=2))

    run = ds.flower.run(server_app, client_app, SCENARIO)
    assert run.rounds.n_replied.tolist() == [N, N]
    assert all(np.isfinite(array.numpy()).all() for array in results[0].arrays.values())


def test_a_round_in_which_nobody_has_samples_is_passed_over() -> None:
    plan = ds.flower.CappedFedAvg(2)

    def reply(num_examples: int) -> Message:
        metrics = MetricRecord({"num-examples": num_examples})
        return Message(
            RecordDict({"arrays": ArrayRecord({"w": torch.ones(2)}), "metrics": metrics}),
            reply_to=Message(RecordDict(), 2, "train"),
        )

    with compat.substituted(), compat.entered(compat.Session(1, lambda: 0.0)):
        assert plan.aggregate_train(1, [reply(0), reply(0)]) == (None, None)
        assert plan.aggregate_train(1, [reply(0), reply(3)])[0] is not None


# -- stored arrays are Flower's arrays ----------------------------------------------------------------------------------------


@pytest.fixture
def module() -> torch.nn.Module:
    with torch.random.fork_rng():
        return torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Linear(3, 1))


@pytest.fixture
def stored(module: torch.nn.Module) -> ArrayRecord:
    layout = Layout.of(module)
    (row,) = Store(layout.d).put(layout.flat({name: p.detach() for name, p in module.named_parameters()})[None])
    return arrays.to_record(row, layout)


@pytest.fixture
def plain(module: torch.nn.Module) -> ArrayRecord:
    return ArrayRecord(module.state_dict())


def rebuilt(thing: InflatableObject) -> InflatableObject:
    children = {key: rebuilt(child) for key, child in (thing.children or {}).items()}
    return type(thing).inflate(thing.deflate(), children)


def as_values(record: ArrayRecord) -> dict[str, list[Any]]:
    return {name: array.numpy().tolist() for name, array in record.items()}


def test_a_stored_model_is_the_same_on_the_wire_as_a_plain_one(stored: ArrayRecord, plain: ArrayRecord) -> None:
    for name in plain:
        ours, theirs = stored[name], plain[name]
        assert isinstance(ours, StoreArray)
        assert (ours.dtype, ours.shape, ours.stype, ours.data) == (theirs.dtype, theirs.shape, theirs.stype, theirs.data)
        assert ours.deflate() == theirs.deflate()
        assert ours.object_id == theirs.object_id
        assert repr(ours) == repr(theirs)
        assert ours == theirs
    assert stored.deflate() == plain.deflate()
    assert stored.count_bytes() == plain.count_bytes()


def test_a_message_with_a_stored_model_survives_the_wire(stored: ArrayRecord, plain: ArrayRecord) -> None:
    back = rebuilt(RecordDict({"arrays": stored, "metrics": MetricRecord({"a": 1.5}), "config": ConfigRecord({"b": "x"})}))
    assert as_values(back["arrays"]) == as_values(plain)
    assert {type(array) for array in back["arrays"].values()} == {Array}
    assert (back["metrics"]["a"], back["config"]["b"]) == (1.5, "x")


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a)), ArrayRecord.copy])
def test_copies_have_the_same_values(how: Callable[[Any], Any], stored: ArrayRecord, plain: ArrayRecord) -> None:
    assert as_values(how(stored)) == as_values(plain)
    if how is not ArrayRecord.copy:
        copied = how(stored["0.weight"])
        assert copied == stored["0.weight"] == plain["0.weight"]
    if how is copy.deepcopy:
        copied.data = Array(np.zeros((3, 5), np.float32)).data
        assert as_values(stored) == as_values(plain)


def test_equal_values_alone_make_arrays_equal(stored: ArrayRecord) -> None:
    other = Array(stored["0.weight"].numpy() + 1)
    assert stored["0.weight"] != other
    assert stored["0.weight"] != "an array"


def test_what_numpy_and_torch_are_given_are_copies(stored: ArrayRecord, plain: ArrayRecord) -> None:
    stored["0.weight"].numpy()[:] = 0
    stored.to_torch_state_dict()["0.bias"].zero_()
    for values in stored.to_numpy_ndarrays():
        values -= 1
    assert as_values(stored) == as_values(plain)
    row = arrays.stored_row(stored)
    assert row is not None
    row.tensor().zero_()
    arrays.to_vector(stored).zero_()
    arrays.to_matrix([stored, stored]).zero_()
    assert as_values(stored) == as_values(plain)


@pytest.mark.parametrize("field", ["data", "dtype", "shape", "stype"])
def test_a_stored_array_cannot_be_changed(field: str, stored: ArrayRecord) -> None:
    with pytest.raises(AttributeError, match=field):
        setattr(stored["0.weight"], field, getattr(stored["0.weight"], field))


def test_a_record_that_lost_or_replaced_a_parameter_is_no_stored_model_any_more(stored: ArrayRecord) -> None:
    assert arrays.stored_row(stored) is not None
    replaced, popped = stored.copy(), stored.copy()
    replaced["0.bias"] = Array(np.zeros(3, np.float32))
    popped.pop("0.bias")
    assert arrays.stored_row(replaced) is None
    assert arrays.stored_row(popped) is None
    assert arrays.to_vector(replaced)[15:18].tolist() == [0, 0, 0]


def test_bytes_on_the_wire_are_flowers_count_plus_the_envelope(stored: ArrayRecord, plain: ArrayRecord) -> None:
    others = {"metrics": MetricRecord({"a": 1.5, "b": [1, 2, 3]}), "config": ConfigRecord({"name": "x", "flag": True})}
    expected = plain.count_bytes() + sum(record.count_bytes() for record in others.values()) + arrays.ENVELOPE_BYTES
    assert arrays.wire_bytes(RecordDict({"arrays": stored, **others})) == expected
    assert arrays.wire_bytes(RecordDict({"arrays": plain, **others})) == expected
    assert arrays.wire_bytes(None) == arrays.ENVELOPE_BYTES
