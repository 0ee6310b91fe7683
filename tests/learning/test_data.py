"""Data sets, who holds what, and how a model is tested."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from decai_sim.errors import DecaiError
from decai_sim.learning import Adult, Digits, FashionMNIST, data
from decai_sim.learning.problem import Problem
from decai_sim.seeding import Streams


@cache
def clothes() -> data.Dataset:
    return FashionMNIST().load()


def test_fashion_mnist_is_whole() -> None:
    d = clothes()
    assert d.x_train.shape == (60_000, 28, 28)
    assert d.x_test.shape == (10_000, 28, 28)
    assert d.x_train.dtype == np.uint8
    assert np.bincount(d.y_train).tolist() == [6000] * 10
    assert np.bincount(d.y_test).tolist() == [1000] * 10
    assert d.y_train[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]  # the published file's first labels


def test_digits_are_whole_and_split_once() -> None:
    d = Digits().load()
    assert d.x_train.shape == (1437, 8, 8)
    assert d.x_test.shape == (360, 8, 8)
    assert sorted(set(d.y_train.tolist())) == sorted(set(d.y_test.tolist())) == list(range(10))
    train = {image.tobytes() for image in d.x_train}
    assert not any(image.tobytes() in train for image in d.x_test)


@pytest.mark.parametrize("task", [FashionMNIST(), Digits()], ids=["fashion_mnist", "digits"])
def test_inputs_are_standardised(task: FashionMNIST | Digits) -> None:
    problem = Problem(task, 10, Streams(0))
    x = problem.inputs(torch.arange(0, len(task.load().y_train), 5))
    assert float(x.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(x.std()) == pytest.approx(1.0, abs=0.02)


def test_files_that_are_no_data_are_refused(tmp_path: object) -> None:
    import gzip
    from pathlib import Path

    path = Path(str(tmp_path)) / "x.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x0d\x01" + b"\x00" * 8))
    with pytest.raises(DecaiError, match="is not an IDX file of unsigned bytes"):
        data.fashion_mnist.read_idx(path)


def test_evaluation_agrees_with_scikit_learn() -> None:
    problem = Problem(Digits(), 5, Streams(1))
    d = Digits().load()

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


def test_adult_is_as_published() -> None:
    d = Adult().load()
    assert d.x_train.shape == (32_561, 108)
    assert d.x_test.shape == (16_281, 108)
    assert d.x_train.dtype == np.float32
    # adult.names: 24.78 % without unknowns, 24.08 % with; 7,841 of the training and 3,846 of the test people earn more.
    assert int(d.y_train.sum()) == 7841
    assert int(d.y_test.sum()) == 3846
    assert round(100 * float(d.y_train.mean()), 2) == 24.08
    # Every category is one of 102 values: 9 + 16 + 7 + 15 + 6 + 5 + 2 + 42.
    for x in (d.x_train, d.x_test):
        assert set(np.unique(x[:, 6:])) == {0, 1}
        assert (x[:, 6:].sum(1) == 8).all()
    # The file's first line: 39, State-gov, 77516, Bachelors, 13, …, White, Male, 2174, 0, 40, United-States, <=50K
    assert d.x_train[0, :6].tolist() == [39, 77516, 13, 2174, 0, 40]


def test_adult_keeps_sensitive_values_beside() -> None:
    d = Adult().load()
    sex, race, age = (d.groups[name][0] for name in ("sex", "race", "age"))
    assert int((sex == "Female").sum()) == 10_771
    assert sorted(set(race)) == ["Amer-Indian-Eskimo", "Asian-Pac-Islander", "Black", "Other", "White"]
    assert (age.min(), age.max()) == (17, 90)
    assert all(len(test) == 16_281 for _, test in d.groups.values())
    # Of women 10.95 % earn more, of men 30.57 %: the disparity that studies of fairness begin with.
    share = [round(100 * float(d.y_train[sex == who].mean()), 2) for who in ("Female", "Male")]
    assert share == [10.95, 30.57]


def test_only_numbers_of_adult_are_standardised() -> None:
    problem = Problem(Adult(), 10, Streams(0))
    d = Adult().load()
    x = problem.inputs(torch.arange(len(d.y_train)))
    assert x[:, :6].mean(0).abs().max() < 1e-3
    assert (x[:, :6].std(0) - 1).abs().max() < 1e-3
    assert torch.equal(x[:, 6:], torch.as_tensor(d.x_train[:, 6:]))


def test_shakespeare_is_the_folio() -> None:
    spoken = data.shakespeare.speeches()
    assert len({play for play, _ in spoken}) == 35
    hamlet = " ".join(spoken["hamlet", "Ham"])
    assert "To be, or not to be, that is the Question: Whether 'tis Nobler in the minde to suffer" in hamlet
    assert spoken["macbeth", "1"][0] == "When shall we three meet againe? In Thunder, Lightning, or in Raine?"
    longest = max(spoken, key=lambda role: sum(map(len, spoken[role])))
    assert longest == ("hamlet", "Ham")  # the longest part in Shakespeare
    characters = set("".join("".join(parts) for parts in spoken.values()))
    assert characters == set(data.shakespeare.VOCABULARY)
    assert len(data.shakespeare.VOCABULARY) == len(characters) == 72
    assert list(data.shakespeare.VOCABULARY) == sorted(characters)


def text_of(d: data.Dataset, tokens: np.ndarray) -> str:
    return "".join(d.class_names[token] for token in tokens)


def test_shakespeare_predicts_what_its_role_says_next() -> None:
    d = data.shakespeare.load(stride=80, min_chars=200)
    spoken = data.shakespeare.speeches()
    assert d.tokens
    assert d.x_train.dtype == np.uint8
    assert d.owner is not None
    assert d.owner_test is not None
    assert set(d.owner.tolist()) == set(d.owner_test.tolist()) == set(range(992))
    ham = d.owner_names.index("hamlet: Ham")
    text = " ".join(spoken["hamlet", "Ham"])
    cut = int(0.9 * len(text))
    mine, tests = np.flatnonzero(d.owner == ham), np.flatnonzero(d.owner_test == ham)
    assert len(mine) == len(range(80, cut, 80))
    assert len(tests) == len(range(cut, len(text), 80))
    for number, sample in enumerate(mine[:50]):
        at = 80 + 80 * number
        assert text_of(d, d.x_train[sample]) == text[at - 80 : at]
        assert d.class_names[d.y_train[sample]] == text[at]
    for number, sample in enumerate(tests):
        at = cut + 80 * number
        assert text_of(d, d.x_test[sample]) == text[at - 80 : at]
        assert d.class_names[d.y_test[sample]] == text[at]


def test_a_stride_of_one_is_the_whole_corpus() -> None:
    long = [role for role, parts in data.shakespeare.speeches().items() if len(" ".join(parts)) >= 20_000]
    every, few = (data.shakespeare.load(stride=stride, min_chars=20_000) for stride in (1, 80))
    assert len(every.owner_names) == len(long)
    lengths = [len(" ".join(data.shakespeare.speeches()[role])) for role in long]
    assert len(every.y_train) + len(every.y_test) == sum(length - 80 for length in lengths)
    assert len(few.y_train) == sum(len(range(80, int(0.9 * length), 80)) for length in lengths)
