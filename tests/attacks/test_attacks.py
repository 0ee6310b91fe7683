"""Attacks: the papers' numbers, byzfl's results, and what every attack must keep."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from decai_sim.attacks import ALIE, Attack, LabelFlip, SignFlip, View
from decai_sim.component import kinds
from decai_sim.testing import check_attack


def rows(n: int, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


G = torch.Generator()


EXAMPLES = [
    (kind, example)
    for kind, found in kinds("attacks").items()
    if found.__module__.startswith("decai_sim")
    for example in found.examples
]


@pytest.mark.parametrize(("kind", "example"), EXAMPLES)
def test_conformance(kind: str, example: dict[str, Any]) -> None:
    attack = kinds("attacks")[kind](**example)
    assert isinstance(attack, Attack)
    check_attack(attack)


def test_conformance_notices_a_bad_attack() -> None:
    class Careless(SignFlip, abstract=True):
        """Idea.

        Source: none. Assumes: nothing. Deviations: none. Example: >>> 1
        """

        def __call__(self, honest: torch.Tensor, n_byzantine: int, generator: Any, view: View | None = None) -> torch.Tensor:
            return torch.randn(n_byzantine, honest.shape[1], dtype=honest.dtype)

    Careless.kind = "sign_flip"
    with pytest.raises(AssertionError):
        check_attack(Careless())


# ---- ALIE


def test_alie_z_of_the_reference() -> None:
    assert ALIE().deviations(25, 5) == pytest.approx(0.2533, abs=5e-5)


@given(m=st.integers(1, 40), h=st.integers(1, 80))
def test_alie_z_is_the_papers_formula_where_it_is_defined(m: int, h: int) -> None:
    n = m + h
    s = int(np.floor(n / 2 + 1)) - m
    ratio = (n - m - s) / (n - m)
    z = ALIE().deviations(n, m)
    if 0 < ratio < 1:
        assert z == pytest.approx(scipy.stats.norm.ppf(ratio), abs=1e-9)
    else:
        assert np.isfinite(z)


def test_alie_z_where_the_formula_has_no_value() -> None:
    assert ALIE().deviations(2, 1) == 0  # ratio 0
    assert ALIE().deviations(3, 3) == 0  # nobody honest
    assert ALIE().deviations(10, 6) == pytest.approx(statistics.NormalDist().inv_cdf(3 / 4))  # majority: one supporter
    assert ALIE(z=2.5).deviations(3, 3) == 2.5


@pytest.mark.parametrize("z", [-1.0, 0.3, 1.5])
def test_alie_against_byzfl(byzfl: Any, z: float) -> None:
    x = rows(20)
    expected = byzfl.ALittleIsEnough(tau=-z)(x)
    sent = ALIE(z=z)(x, 3, G)
    assert torch.allclose(sent, expected.expand(3, -1), atol=1e-6)


def test_alie_uses_n_and_m_of_the_call() -> None:
    x = rows(20)
    expected = x.mean(0) - 0.2533471 * x.std(0)
    assert torch.allclose(ALIE()(x, 5, G)[2], expected, atol=1e-6)
    some = x[:8]
    expected = some.mean(0) - 0.2533471 * some.std(0)
    assert torch.allclose(ALIE()(some, 5, G, View(n=25))[0], expected, atol=1e-6)


@pytest.mark.parametrize("seen", [0, 1])
def test_alie_falls_back_to_its_own_updates(seen: int) -> None:
    own = rows(5, seed=3)
    sent = ALIE()(rows(seen), 5, G, View(own=own, n=25))
    assert torch.allclose(sent[0], own.mean(0) - 0.2533471 * own.std(0), atol=1e-6)
    assert torch.allclose(ALIE()(rows(seen), 5, G, View(own=own))[0], own.mean(0), atol=1e-6)


def test_alie_of_a_single_row_sends_it() -> None:
    x = rows(1)
    assert torch.equal(ALIE(z=3)(x, 2, G), x.repeat(2, 1))
    with pytest.raises(ValueError, match="neither honest rows"):
        ALIE()(rows(0), 2, G)


# ---- SignFlip


def test_sign_flip_against_byzfl(byzfl: Any) -> None:
    x = rows(9)
    assert torch.allclose(SignFlip()(x, 2, G), byzfl.SignFlipping()(x).expand(2, -1), atol=1e-7)
    assert torch.allclose(SignFlip(scale=4)(x, 2, G), 4 * byzfl.SignFlipping()(x).expand(2, -1), atol=1e-6)


def test_sign_flip_turns_each_attackers_own_update() -> None:
    own = rows(3, seed=2)
    assert torch.equal(SignFlip(scale=2)(rows(9), 3, G, View(own=own)), -2 * own)
    with pytest.raises(ValueError, match=r"view\.own: 3 rows"):
        SignFlip()(rows(9), 2, G, View(own=own))
    with pytest.raises(ValueError, match="nothing to flip"):
        SignFlip()(rows(0), 2, G)


# ---- LabelFlip


@given(classes=st.integers(2, 30), data=st.data())
def test_label_flip_is_its_own_inverse(classes: int, data: st.DataObject) -> None:
    y = torch.tensor(data.draw(st.lists(st.integers(0, classes - 1), max_size=20)), dtype=torch.long)
    x = torch.zeros(len(y), 2)
    attack = LabelFlip(classes=classes)
    x_new, flipped = attack.poison(x, y, G)
    assert x_new is x
    assert torch.equal(flipped, classes - 1 - y)
    assert torch.equal(attack.poison(x, flipped, G)[1], y)


def test_label_flip_refuses_labels_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"label_flip\.classes: 5 is not allowed with label 7: say at least 8"):
        LabelFlip(classes=5).poison(torch.zeros(1), torch.tensor([7]), G)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sign_flip", {"scale": 0}),
        ("sign_flip", {"scale": float("inf")}),
        ("sign_flip", {"fraction": 1}),
        ("alie", {"z": float("nan")}),
        ("label_flip", {"classes": 1}),
    ],
)
def test_fields_out_of_range_are_refused(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kinds("attacks")[kind](**fields)
