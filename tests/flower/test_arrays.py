"""Flower's arrays, read and averaged as Flower does it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from decai_sim.flower import compat
from decai_sim.flower.strategies import CappedFedAvg


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
