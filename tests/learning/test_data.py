"""Data sets, who holds what, and how a model is tested."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from decai_sim.errors import ScenarioError
from decai_sim.learning import IID, Digits, Dirichlet, FashionMNIST, Partition, data
from decai_sim.learning.problem import Problem
from decai_sim.seeding import Streams


@cache
def clothes() -> data.Dataset:
    return FashionMNIST.load()


def check_whole(parts: list[np.ndarray], n_samples: int) -> None:
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n_samples))


def test_fashion_mnist_is_whole() -> None:
    d = clothes()
    assert d.x_train.shape == (60_000, 28, 28)
    assert d.x_test.shape == (10_000, 28, 28)
    assert d.x_train.dtype == np.uint8
    assert np.bincount(d.y_train).tolist() == [6000] * 10
    assert np.bincount(d.y_test).tolist() == [1000] * 10
    assert d.y_train[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]  # the published file's first labels


def test_digits_are_whole_and_split_once() -> None:
    d = Digits.load()
    assert d.x_train.shape == (1437, 8, 8)
    assert d.x_test.shape == (360, 8, 8)
    assert sorted(set(d.y_train.tolist())) == sorted(set(d.y_test.tolist())) == list(range(10))
    train = {image.tobytes() for image in d.x_train}
    assert not any(image.tobytes() in train for image in d.x_test)


@pytest.mark.parametrize("task", [FashionMNIST(), Digits()], ids=["fashion_mnist", "digits"])
def test_inputs_are_standardised(task: FashionMNIST | Digits) -> None:
    problem = Problem(task, 10, Streams(0))
    x = problem.inputs(torch.arange(0, len(problem._y), 5))
    assert float(x.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(x.std()) == pytest.approx(1.0, abs=0.02)


def test_files_that_are_no_data_are_refused(tmp_path: object) -> None:
    import gzip
    from pathlib import Path

    path = Path(str(tmp_path)) / "x.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x0d\x01" + b"\x00" * 8))
    with pytest.raises(data.DecaiError, match="is not an IDX file of unsigned bytes"):
        data._idx(path)


partitions = st.one_of(st.just(IID()), st.builds(Dirichlet, alpha=st.sampled_from([0.05, 0.3, 1, 100]), min_samples=st.just(0)))


@settings(max_examples=15)
@given(partition=partitions, n=st.integers(1, 60), seed=st.integers(0, 99))
def test_every_sample_belongs_to_exactly_one_node(partition: Partition, n: int, seed: int) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 300)
    parts = partition.split(labels, n, Streams(seed))
    assert len(parts) == n
    check_whole(parts, 300)


def test_iid_shares_are_equal_and_mixed() -> None:
    labels = np.sort(np.random.default_rng(0).integers(0, 10, 1003))  # stored in order, as some data sets are
    parts = IID().split(labels, 10, Streams(1))
    check_whole(parts, 1003)
    assert sorted({len(part) for part in parts}) == [100, 101]
    assert all(len(set(labels[part].tolist())) >= 9 for part in parts)


def test_a_smaller_alpha_means_fewer_labels_a_node() -> None:
    labels = clothes().y_train[:5000]

    def largest_share(alpha: float) -> float:
        parts = Dirichlet(alpha=alpha).split(labels, 20, Streams(1))
        return float(np.mean([np.bincount(labels[part], minlength=10).max() / len(part) for part in parts]))

    shares = [largest_share(alpha) for alpha in (0.1, 1, 1000)]
    assert shares[0] > 0.5
    assert shares == sorted(shares, reverse=True)
    assert shares[2] < 0.2


def test_sixty_samples_a_node_can_be_split_unless_too_much_is_asked() -> None:
    labels = clothes().y_train
    parts = Dirichlet(alpha=0.3, min_samples=1).split(labels, 1000, Streams(7))
    check_whole(parts, 60_000)
    assert min(map(len, parts)) >= 1
    with pytest.raises(ScenarioError) as caught:
        Dirichlet(alpha=0.3, min_samples=10).split(labels, 1000, Streams(7))
    message = str(caught.value)
    assert message.startswith("task.partition: {'kind': 'dirichlet', 'alpha': 0.3, 'min_samples': 10} is not allowed: ")
    assert "60000 samples over 1000 nodes" in message
    assert "lower min_samples" in message
    assert "\n" not in message


def test_more_nodes_than_samples_are_refused() -> None:
    with pytest.raises(ScenarioError, match="nodes: 400 is not allowed: the data set has 300 samples to split"):
        IID().split(np.zeros(300, np.int64), 400, Streams(0))


def test_splits_depend_on_the_seed_alone() -> None:
    labels = clothes().y_train[:2000]
    for partition in (IID(), Dirichlet()):
        state = np.random.get_state()[1].copy()  # type: ignore[index]
        a, b, c = (partition.split(labels, 10, Streams(seed)) for seed in (1, 1, 2))
        assert (state == np.random.get_state()[1]).all()  # type: ignore[index]
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


def test_labels_of_other_integer_types_split_alike() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 300)
    a, b = (Dirichlet().split(labels.astype(kind), 7, Streams(1)) for kind in (np.int64, np.int32))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_evaluation_agrees_with_scikit_learn() -> None:
    problem = Problem(Digits(), 5, Streams(1))
    d = Digits.load()

    def flat(x: np.ndarray) -> np.ndarray:
        standard: np.ndarray = ((x / 16 - 0.305) / 0.376).reshape(len(x), -1)
        return standard

    fitted = LogisticRegression(max_iter=200, tol=1e-2).fit(flat(d.x_train), d.y_train)
    row = problem.layout.flat(
        {
            "1.weight": torch.tensor(fitted.coef_, dtype=torch.float32),
            "1.bias": torch.tensor(fitted.intercept_, dtype=torch.float32),
        }
    )
    accuracy_there = accuracy_score(d.y_test, fitted.predict(flat(d.x_test)))
    assert 0.9 < accuracy_there < 1
    for batch in (2000, 7, 360, 359):
        accuracy, loss = problem.evaluate(row, batch)
        assert accuracy == pytest.approx(accuracy_there)
        assert loss == pytest.approx(log_loss(d.y_test, fitted.predict_proba(flat(d.x_test))), rel=1e-4)
