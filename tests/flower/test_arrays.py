"""Flower's arrays, read and averaged as Flower does it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from decai_sim.flower import arrays, compat
from decai_sim.flower.strategies import CappedFedAvg
from decai_sim.learning.store import Layout, Store


@pytest.mark.parametrize(
    "values",
    [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.float32)), np.array(3), np.zeros((0, 4))],
    ids=str,
)
def test_values_are_read_without_numpys_reader(values: np.ndarray) -> None:
    array = Array(values)
    mine, its = compat.values_of(array), array.numpy()
    assert (mine.dtype, mine.shape) == (its.dtype, its.shape)
    assert (mine == its).all()


def test_arrays_of_python_objects_are_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects"):
        compat.values_of(Array("object", (1,), "numpy.ndarray", buffer.getvalue()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_somebody_elses_models_are_averaged_as_flower_averages_them(dtype: type) -> None:
    generator = np.random.default_rng(1)

    def reply(samples: int) -> Message:
        shapes = {"weight": (7, 5), "bias": (5,)}
        model = ArrayRecord({name: Array(generator.normal(size=shape).astype(dtype)) for name, shape in shapes.items()})
        metrics = MetricRecord({"num-examples": samples, "loss": float(samples)})
        asked = Message(RecordDict(), dst_node_id=2, message_type="train")
        return Message(RecordDict({"model": model, "metrics": metrics}), reply_to=asked)

    with compat.substituted(), compat.entered(compat.Session(1, lambda: 0.0)):
        replies = [reply(samples) for samples in range(1, 40)]
    (mine, told), (its, said) = (strategy.aggregate_train(1, replies) for strategy in (CappedFedAvg(39), FedAvg()))
    assert mine is not None
    assert its is not None
    assert list(mine) == list(its)
    for name in its:
        np.testing.assert_allclose(mine[name].numpy(), its[name].numpy(), rtol=1e-5, atol=1e-6)
    assert dict(told or {}) == pytest.approx(dict(said or {}))


def test_reading_a_stored_model_array_by_array_copies_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng():
        module = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(20)))
    layout = Layout.of(module)
    store, held = Store(layout.d), {}
    for block in range(3):  # so that the model does not lie in the first of them
        rows = held[block] = store.put(torch.arange(16.0 * layout.d).view(16, -1) + block)
    copied = [0]
    for method in ("part", "gather"):
        as_it_was = getattr(Store, method)

        def counted(self: Store, *at: Any, as_it_was: Any = as_it_was) -> torch.Tensor:
            found: torch.Tensor = as_it_was(self, *at)
            copied[0] += found.nbytes
            return found

        monkeypatch.setattr(Store, method, counted)
    record = arrays.to_record(rows[7], layout)
    values = {name: array.numpy() for name, array in record.items()}
    assert copied[0] == 4 * layout.d
    whole = layout.views(rows[7].tensor())
    assert all(np.array_equal(values[name], whole[name].numpy()) for name in whole)
    values["0.weight"][:] = 0
    assert record["0.weight"].numpy().any()
