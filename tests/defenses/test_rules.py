"""Rules one by one: values by hand or of the reference, what they break at, and what only they promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decai_sim.component import kinds
from decai_sim.defenses import (
    ARC,
    MDA,
    NNM,
    SMEA,
    Bucketing,
    Buffers,
    Bulyan,
    CenteredClipping,
    Chain,
    ClippedClustering,
    Context,
    DnC,
    DPClipping,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    Krum,
    Meamed,
    Mean,
    Median,
    MultiKrum,
    NormClipping,
    Rule,
    SignGuard,
    TrimmedMean,
    Zeno,
)
from decai_sim.defenses.base import TooFewRowsError
from decai_sim.testing import _told
from tests.defenses.test_defenses import X4, X7, X, close, ids, normal

# ---- values of the reference


def test_reference_three_rows() -> None:
    found = GeometricMedian(nu=0.1, iterations=3, start="origin")(X)
    assert close(found, [3.78788764, 4.78788764, 5.78788764])
    assert MultiKrum(f=1)(X).tolist() == [2.5, 3.5, 4.5]
    assert close(ARC(f=1)(X)[2], [4.41004009, 5.04004582, 5.67005155])
    assert torch.equal(ARC(f=1)(X)[:2], X[:2])


def test_reference_four_rows() -> None:
    assert close(ClippedClustering()(X4), [1.9596, 1.6532, 2.9596], 1e-4)


def test_reference_seven_rows() -> None:
    chosen = MultiKrum(f=2).explain(X7)
    assert close(chosen.value, [-0.08, 0.18, -0.08])
    assert chosen.kept.tolist() == [True] * 5 + [False] * 2
    assert close(GeometricMedian()(X7), [-0.104996, 0.301887, 0.008894], 1e-5)


def test_multi_krum_of_three_numbers() -> None:
    assert MultiKrum(f=1, m=2)(torch.tensor([[0.2], [0.5], [1.0]])).item() == pytest.approx(0.35)
    assert torch.equal(MultiKrum(f=2, m=1)(X7), Krum(f=2)(X7))


# ---- by hand


def test_meamed_by_hand() -> None:
    # Median 2.5; nearest three of 1, 2, 3, 9 are 2 and 3, then 1.
    assert Meamed(f=1)(torch.tensor([[9.0], [2.0], [1.0], [3.0]])).tolist() == [2.0]
    # Median 5; 4 and 6, then 3 and 7 are as near: the lower is taken.
    assert close(Meamed(f=1)(torch.tensor([[3.0], [4.0], [6.0], [7.0]])), [13 / 3])


@given(seed=st.integers(0, 10**6), n=st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_meamed_is_the_mean_of_those_nearest_the_median(seed: int, n: int) -> None:
    x = normal(n, 4, seed, torch.float64).numpy()
    f = seed % ((n + 1) // 2)
    near = np.argsort(np.abs(x - np.median(x, axis=0)), axis=0, kind="stable")[: n - f]
    np.testing.assert_allclose(Meamed(f=f)(torch.from_numpy(x)).numpy(), np.take_along_axis(x, near, 0).mean(axis=0), atol=1e-12)


def bulyan(x: np.ndarray, f: int) -> np.ndarray:
    """Word for word, one pick after the other."""
    left, chosen = list(range(len(x))), []
    for _ in range(len(x) - 2 * f):

        def score(i: int) -> tuple[float, float]:
            away = sorted(((x[i] - x[j]) ** 2).sum() for j in left if j != i)
            return sum(away[: max(1, len(left) - f - 2)]), sum(away)

        best = min(left, key=score)
        left.remove(best)
        chosen.append(best)
    picked = x[sorted(chosen)]
    near = np.argsort(np.abs(picked - np.median(picked, axis=0)), axis=0, kind="stable")[: len(picked) - 2 * f]
    return np.take_along_axis(picked, near, 0).mean(axis=0)


@pytest.mark.parametrize(("n", "f"), [(7, 1), (12, 2), (19, 4), (5, 0)])
@pytest.mark.parametrize("seed", range(5))
def test_bulyan_word_for_word(n: int, f: int, seed: int) -> None:
    x = normal(n, 6, seed, torch.float64)
    np.testing.assert_allclose(Bulyan(f=f)(x).numpy(), bulyan(x.numpy(), f), atol=1e-12)


def test_bulyan_asks_for_rows() -> None:
    with pytest.raises(ValueError, match=r"bulyan\.f: 2 is not allowed with 10 rows: choose at most 1, so that 4f \+ 3 <= n"):
        Bulyan(f=2)(normal(10))


def test_subsets_by_hand() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    assert MDA(f=1).explain(x).kept.tolist() == [True, True, True, False]
    assert MDA(f=1)(x[:3]).tolist() == [0.0, 0.5]
    # 0, 2 and 4 spread along one line; so do 0, 1 and 2, half as far.
    line = torch.tensor([[0.0], [4.0], [2.0], [1.0]])
    assert SMEA(f=1).explain(line).kept.tolist() == [True, False, True, True]


@pytest.mark.parametrize("rule", [MDA(f=10), SMEA(f=10)], ids=ids)
def test_too_many_subsets(rule: Rule) -> None:
    with pytest.raises(ValueError, match=rf"{rule.kind}\.f: 10 is not allowed with 30 rows: it would try 30,045,015 subsets"):
        rule(normal(30))


def test_centered_clipping_goes_on_from_the_last_aggregate() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 100.0]])
    first = CenteredClipping(tau=1).explain(x)
    assert close(first.value, [1 / 3, 0.5])
    again = CenteredClipping(tau=1).explain(x, Context(previous=first.value))
    moved = x - first.value
    by_hand = first.value + (moved * (1 / moved.norm(dim=1)).clamp(max=1)[:, None]).mean(dim=0)
    assert close(again.value, by_hand)
    assert torch.allclose(CenteredClipping(tau=1, iterations=2)(x), by_hand)


def test_any_number_of_attackers_moves_centered_clipping_by_tau_at_most() -> None:
    x = normal(9)
    x[1:] = 1e8
    assert float(CenteredClipping(tau=0.5)(x).norm()) <= 0.5 + 1e-6


def test_norm_clipping_by_hand() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 2.0]])
    assert close(NormClipping(tau=2.5)(x), [0.5, 5 / 3])
    assert close(NormClipping()(x), [1.2 / 3, 4.6 / 3])  # the median norm is 2
    assert close(NormClipping()(x[:2]), [1.8 / 2, 3.4 / 2])  # and here 3


def test_noise_is_as_large_as_it_says_and_drawn_from_the_context() -> None:
    x = torch.zeros(4, 20_000)
    x[:, 0] = 1
    for rule, sigma in ((NormClipping(tau=1, sigma=0.3), 0.3), (DPClipping(clip=2, noise_multiplier=0.6), 0.3)):
        drawn = [rule(x, Context(generator=torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])
        assert float(drawn[0][1:].std()) == pytest.approx(sigma, rel=0.03)
        assert rule.explain(x).weights is None


def test_dnc_leaves_out_who_pulls_all_one_way() -> None:
    x = normal(20, 50)
    x[3:7] += 5
    found = DnC(f=4).explain(x)
    assert found.kept.tolist() == [not 3 <= i < 7 for i in range(20)]
    assert found.scores is not None
    centred = (x - x.mean(dim=0)).double()
    top = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    assert close(found.scores, (centred @ top).square(), 1e-6)
    some = DnC(f=4, iterations=4, coordinates=20).explain(x)
    assert not some.kept[3:7].any()
    assert int(some.kept.sum()) <= 16


def test_sign_guard_takes_the_usual_ones() -> None:
    x = 0.3 * normal(20, 400) + torch.linspace(-1, 1, 400)
    x[:3] = -x[:3] * 0 - 1  # all negative
    x[3] *= 10
    x[4] *= 0.01
    found = SignGuard(share=1).explain(x)
    assert found.kept.tolist() == [i >= 5 for i in range(20)]
    assert float(found.value.norm()) <= float(x.norm(dim=1).median()) + 1e-5


def test_clipped_clustering_remembers_norms() -> None:
    memory: dict[str, Any] = {}
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1]])
    ClippedClustering()(x, Context(memory=memory))
    later = ClippedClustering()(10 * x, Context(memory=memory))
    # The median of 1, 1, 1, 10, 10, 10 or so, where alone it would be 10.
    assert float(later.norm()) < 0.6 * float(ClippedClustering()(10 * x).norm())


def test_clipped_clustering_splits_by_direction() -> None:
    x = normal(9, 30)
    x[:6] += 3
    x[6:] = -2 * x[:3]
    assert ClippedClustering().explain(x).kept.tolist() == [True] * 6 + [False] * 3


def test_fools_gold_silences_sybils_and_needs_time() -> None:
    honest, aim = 2 * normal(5, 40), normal(1, 40, 9)
    who, memory = torch.arange(8), {}
    for number in range(4):
        x = torch.cat([honest + normal(5, 40, 10 + number), aim.expand(3, -1) + 0.05 * normal(3, 40, number)])
        found = FoolsGold().explain(x, Context(who=who, memory=memory))
    assert found.weights is not None
    assert found.weights[5:].max() < 0.01 * found.weights[:5].max()
    assert found.weights[:5].min() > 0
    # The sums are kept by name.
    order = torch.tensor([7, 0, 3])
    again = FoolsGold().explain(x[order], Context(who=order, memory=memory))
    assert memory["fools_gold"].keys() == set(range(8))
    assert again.value.isfinite().all()


def test_fools_gold_does_not_take_a_senders_two_rows_for_two_senders() -> None:
    x, memory = 2 * normal(5, 40), dict[str, Any]()
    who = torch.tensor([0, 1, 2, 3, 0])
    found = FoolsGold().explain(x, Context(who=who, memory=memory))
    alone = FoolsGold().explain(torch.cat([(x[:1] + x[4:]), x[1:4]]), Context(who=torch.arange(4), memory={}))
    assert found.weights is not None
    assert alone.weights is not None
    assert found.kept.all()
    # A sender's weight is spread over its rows.
    assert torch.allclose(found.weights[[0, 4]], alone.weights[0].expand(2) / 2)
    assert torch.allclose(found.weights[1:4], alone.weights[1:])


def test_fools_gold_of_equal_rows_and_of_one() -> None:
    about = Context(who=torch.arange(2), memory={})
    assert FoolsGold()(torch.ones(2, 3), about).tolist() == [0, 0, 0]
    assert FoolsGold()(torch.ones(1, 3), Context(who=torch.arange(1), memory={})).tolist() == [1, 1, 1]


def test_fltrust_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [3.0, 4.0], [-5.0, 0.0], [0.0, 7.0]])
    # Cosines with (2, 0): 1, .6, -1, 0. Rows of length 2: (2, 0) and (1.2, 1.6).
    found = FLTrust().explain(x, Context(server=torch.tensor([2.0, 0.0])))
    assert close(found.value, [(2 + 0.6 * 1.2) / 1.6, 0.6 * 1.6 / 1.6])
    assert found.kept.tolist() == [True, True, False, False]
    nobody = FLTrust().explain(x[2:], Context(server=torch.tensor([2.0, 0.0])))
    assert nobody.value.tolist() == [0, 0]
    assert not nobody.kept.any()


def test_zeno_by_hand() -> None:
    def loss(rows: torch.Tensor) -> torch.Tensor:
        return (rows[:, 0] - 1).square()

    x = torch.tensor([[1.0], [2.5], [-1.0], [0.5]])
    found = Zeno(f=2, rho=0).explain(x, Context(loss=loss))
    assert found.kept.tolist() == [True, False, False, True]
    assert found.scores is not None
    assert close(found.scores, [-1, 1.25, 3, -0.75])
    # At ρ = 1, half a step is worth more than a whole one.
    assert Zeno(f=3, rho=1).explain(x, Context(loss=loss)).kept.tolist() == [False, False, False, True]


def test_a_loss_that_is_not_a_number_is_the_worst() -> None:
    found = Zeno(f=1).explain(torch.tensor([[1.0], [2.0]]), Context(loss=lambda rows: rows[:, 0].where(rows[:, 0] < 2, math.nan)))
    assert found.kept.tolist() == [True, False]


# ---- the geometric median


@given(seed=st.integers(0, 10**6), n=st.integers(3, 20), d=st.integers(2, 30))
@settings(max_examples=50, deadline=None)
def test_the_pulls_on_the_geometric_median_cancel(seed: int, n: int, d: int) -> None:
    """First-order condition: unit vectors to the rows sum to nothing, or to no more than 1 where it is a row itself."""
    x = normal(n, d, seed, torch.float64)
    x[: seed % ((n + 1) // 2)] *= 1e3
    value = GeometricMedian()(x)
    away = x - value
    lengths = away.norm(dim=1)
    on = lengths < 1e-3
    pull = (away[~on] / lengths[~on, None]).sum(dim=0).norm()
    assert float(pull) <= (int(on.sum()) + 1e-3 if on.any() else 1e-4)


def test_the_geometric_median_moves_and_grows_with_the_rows() -> None:
    x = normal(11, 6, dtype=torch.float64)
    value = GeometricMedian()(x)
    turn = torch.linalg.qr(normal(6, 6, 5, torch.float64)).Q
    assert close(GeometricMedian()(x + 100), value + 100, 1e-7)
    assert close(GeometricMedian()(7 * x), 7 * value, 1e-7)
    assert close(GeometricMedian()(x @ turn), value @ turn, 1e-7)
    assert close(GeometricMedian()(x.flip(0)), value, 1e-9)


@pytest.mark.parametrize("huge", [1e8, 1e30, 3e38])
def test_the_geometric_median_beside_huge_rows(huge: float) -> None:
    x = normal(11, 6)
    x[:5] = huge
    honest = x[5:]
    assert (GeometricMedian()(x) - honest.mean(dim=0)).norm() < 6 * (honest - honest.mean(dim=0)).norm(dim=1).max()


# ---- how many it takes to break them

BY_HALF: list[Rule] = [
    Median(),
    GeometricMedian(),
    TrimmedMean(f=4),
    Meamed(f=4),
    NNM(f=4) >> TrimmedMean(f=4),
    MDA(f=4),
    SMEA(f=4),
    NormClipping(),
    SignGuard(share=1),
    ClippedClustering(),
    DnC(f=4),
]
BY_QUARTER: list[Rule] = [Krum(f=3), MultiKrum(f=3), Bulyan(f=1)]


@pytest.mark.parametrize("rule", BY_HALF + BY_QUARTER, ids=ids)
@pytest.mark.parametrize("far", [1e3, 1e6, 1e12])
def test_breakdown_point(rule: Rule, far: float) -> None:
    """With as many attackers as it bears it stays near, however far they are; with more than half, nothing holds it."""
    x = 1 + 0.1 * normal(9, 6, dtype=torch.float64)
    bears = rule.f if isinstance(rule, Krum | MultiKrum | Bulyan) and rule.f is not None else 4
    attacked = x.clone()
    attacked[:bears] = -far
    assert float((rule(attacked) - 1).norm()) < 10
    attacked[:6] = -far
    assert float((rule(attacked) - 1).norm()) > 0.1 * far


@pytest.mark.parametrize("rule", [Mean(), CenteredClipping(tau=1e9)], ids=ids)
def test_one_suffices_for_these(rule: Rule) -> None:
    x = normal(9)
    x[0] = 1e8
    assert float(rule(x).norm()) > 1e6


@pytest.mark.parametrize("scale", [0.01, 100.0])
@pytest.mark.parametrize("rule", [NormClipping(), SignGuard(share=1), ClippedClustering(), DnC(f=2)], ids=ids)
def test_these_grow_with_the_rows(rule: Rule, scale: float) -> None:
    x = 1 + normal(9, 6, dtype=torch.float64)
    assert torch.allclose(rule(scale * x), scale * rule(x), rtol=1e-9, atol=1e-12)


def test_float64_rows_too_large_to_square_are_dropped() -> None:
    x = normal(7, 4, dtype=torch.float64)
    x[2] = 1e200
    for rule in (Krum(f=2), GeometricMedian(), MultiKrum(f=2), NNM(f=2) >> Mean(), NormClipping()):
        found = rule.explain(x)
        assert found.value.norm() < 100
        assert not found.kept[2]


# ---- how many rows they need


SERVERS = [kind for kind, one in kinds("defenses").items() if not getattr(one, "peer", False) and "steps" not in one.model_fields]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_rule_says_with_how_few_rows_it_works(kind: str) -> None:
    for f in range(4):
        rule: Any = kinds("defenses")[kind](f=f)  # type: ignore[call-arg]
        for n in range(1, 18):
            rows = normal(n, 3)
            try:
                rule(rows, _told(rows)())
            except TooFewRowsError:
                assert n < rule.least_rows(f), n
            else:
                assert n >= rule.least_rows(f), n


def test_a_chain_falls_short_where_a_step_does() -> None:
    chains: list[tuple[Rule, int, int]] = [
        (Bucketing(s=2) >> Krum(), 3, 13),
        (Bucketing(s=3) >> (NNM() >> Bulyan()), 1, 19),
        (NNM(f=5) >> Median(), 0, 6),
        (Chain(steps=(NNM(), TrimmedMean()), f=4), 0, 9),
        (Bucketing(s=2) >> Chain(steps=(NNM(), TrimmedMean()), f=2), 0, 9),
    ]
    for chain, f, least in chains:
        for n in range(1, 30):
            rows, short = normal(n), chain.falls_short(n, f)
            assert (short is None) == (n >= least), (chain, n)
            if short is None:
                chain(rows, Context(f=f))
            else:
                assert short.rows < short.least
                with pytest.raises(TooFewRowsError):
                    chain(rows, Context(f=f))
    twice = NNM(f=1) >> Bucketing(s=2)
    assert twice.falls_short(1, 0) is not None
    assert twice.falls_short(2, 0) is None
    found = (Buffers(buffers=3) >> Krum()).falls_short(50, 2)
    assert found is not None
    assert (found.step.kind, found.rows, found.least) == ("krum", 3, 5)


# ---- where they break down, as their cards say


@pytest.mark.parametrize(
    ("rule", "too_many"),
    [
        (Mean(), 1),
        (Median(), 6),
        (GeometricMedian(), 6),
        (TrimmedMean(f=2), 3),
        (Meamed(f=2), 3),
        (MDA(f=2), 3),
        (SMEA(f=2), 3),
        (DnC(f=2), 3),
        (MultiKrum(f=2), 3),
        (Krum(f=2), 6),
        (NormClipping(), 6),
        (ClippedClustering(), 6),
        (ARC(f=2) >> Mean(), 4),
        (NNM(f=2) >> Median(), 3),
        (Zeno(f=2), 3),
    ],
    ids=ids,
)
def test_where_rules_break_down(rule: Rule, too_many: int) -> None:
    honest = 1 + 0.1 * normal(11, 4)

    def carried(attackers: int) -> float:
        x = honest.clone()
        x[:attackers] = -1e6
        about = Context(loss=lambda rows: (rows - 1).square().sum(dim=1))
        return float((rule(x, about) - 1).norm())

    assert carried(too_many) > 1e4
    assert carried(too_many - 1) < 10
