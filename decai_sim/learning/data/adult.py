"""Adult census income, from its published files."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from decai_sim.learning.data.base import Dataset, data_dir

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)
NUMBERS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
CATEGORIES = ("workclass", "education", "marital-status", "occupation", "relationship", "race", "sex", "native-country")
GROUPS = ("sex", "race", "age")


@cache
def load() -> Dataset:
    """Adult census income (Becker & Kohavi 1996, UCI; CC BY 4.0): 32,561 + 16,281 people of 1994, income over $50,000 or not.

    Inputs are 108 numbers: six as they are (standardised with the training set's mean and deviation), then eight categories, each
    as one number for every value that training people have, ``?`` (unknown) among them, 1 for the value somebody has and 0 for
    the others. ``sex``, ``race`` and ``age`` are in ``groups`` as well.

    Example:
        >>> load().x_train.shape, load().class_names, sorted(load().groups)
        ((32561, 108), ('<=50K', '>50K'), ['age', 'race', 'sex'])
    """
    import numpy as np

    train, test = _read("adult.data"), _read("adult.test")
    values = {name: sorted(train[name].unique()) for name in CATEGORIES}

    def inputs(people: pd.DataFrame) -> np.ndarray:
        numbers = people[[*NUMBERS]].to_numpy(np.float32)
        one_hot = [people[name].to_numpy()[:, None] == np.array(values[name]) for name in CATEGORIES]
        return np.concatenate([numbers, *one_hot], axis=1, dtype=np.float32)

    def labels(people: pd.DataFrame) -> np.ndarray:
        return people["income"].str.startswith(">50K").to_numpy(np.int64)

    x, x_test = inputs(train), inputs(test)
    mean, std = np.zeros(x.shape[1]), np.ones(x.shape[1])
    count = len(NUMBERS)
    mean[:count], std[:count] = x[:, :count].mean(0, np.float64), x[:, :count].std(0, np.float64)
    groups = {name: (train[name].to_numpy(), test[name].to_numpy()) for name in GROUPS}
    return Dataset(
        "adult", x, labels(train), x_test, labels(test), class_names=("<=50K", ">50K"), mean=mean, std=std, groups=groups
    )


def _read(name: str) -> pd.DataFrame:
    """A published file; the first line of that of the test people is a remark, and their labels end in a full stop."""
    import pandas as pd

    return pd.read_csv(
        data_dir() / "adult" / f"{name}.gz",
        names=[*COLUMNS],
        header=None,
        skipinitialspace=True,
        skiprows=int(name.endswith(".test")),
        keep_default_na=False,
    )
