"""Attacks on updates: by hand, against byzfl, and what each promises to hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from decai_sim.attacks import (
    ALIE,
    IPM,
    Adaptive,
    BadNets,
    Fang,
    FreeRide,
    Garbage,
    Gaussian,
    LieCount,
    Mimic,
    MinMax,
    MinSum,
    Mistime,
    ModelReplacement,
    Neurotoxin,
    OptimisedALIE,
    OptimisedIPM,
    Replay,
    SameValue,
    Scaling,
    UpdateAttack,
    View,
)
from decai_sim.attacks.harm import harm_to, line_search
from decai_sim.component import kinds
from decai_sim.defenses import NNM, Krum, Mean, Median, Rule, TrimmedMean

G = torch.Generator()


def rows(n: int, d: int = 6, seed: int = 0, around: float = 0.0) -> torch.Tensor:
    return around + torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


NEED_SOMETHING = [ALIE, IPM, Adaptive, Fang, Mimic, MinMax, MinSum, OptimisedALIE, OptimisedIPM]
RULES: dict[str, Rule] = {
    "mean": Mean(),
    "median": Median(),
    "trimmed mean": TrimmedMean(f=5),
    "krum": Krum(f=5),
    "nnm": NNM(f=5) >> TrimmedMean(f=5),
}


# -- by hand --------------------------------------------------------------------------------------------------------------------


def test_simple_ones_by_hand() -> None:
    seen, own = torch.tensor([[1.0, 2], [3, 6]]), torch.tensor([[1.0, -1]])
    view = View(own=own)
    assert IPM(epsilon=0.5)(seen, 3, G).tolist() == [[-1, -2]] * 3
    assert IPM(epsilon=2)(seen[:0], 1, G, view).tolist() == [[-2, 2]]
    assert Scaling(factor=3)(seen, 1, G, view).tolist() == [[3, -3]]
    assert Scaling(factor=3)(seen, 2, G).tolist() == [[6, 12]] * 2
    assert SameValue(value=-7)(seen, 2, G).tolist() == [[-7, -7]] * 2
    assert Garbage()(seen, 2, G).isnan().all()
    assert Garbage(value="-inf")(seen, 1, G).tolist() == [[-torch.inf, -torch.inf]]
    assert Mistime()(seen, 1, G, view).tolist() == own.tolist()


def test_gaussian_rows_are_drawn_each_by_itself() -> None:
    sent = Gaussian(mean=2, std=5)(rows(3, 4000), 2, generator())
    assert sent.mean(1).tolist() == pytest.approx([2, 2], abs=0.3)
    assert sent.std(1).tolist() == pytest.approx([5, 5], abs=0.3)
    assert not torch.equal(sent[0], sent[1])


def test_min_max_and_min_sum_by_hand() -> None:
    # Mean 2; distances between honest rows are at most 2, so that 3 is 2 away from 1: no farther back than 1.
    x = torch.tensor([[1.0], [2], [3]])
    assert MinMax(perturbation="unit")(x, 2, G).tolist() == [[1], [1]]
    # -σ = -1: the same place. Along the sign, too.
    assert MinMax(perturbation="std")(x, 1, G).tolist() == MinMax(perturbation="sign")(x, 1, G).tolist() == [[1]]
    # Sums of squares to the others: 5, 2, 5; from 1 they are 0 + 1 + 4.
    assert MinSum(perturbation="unit")(x, 1, G).tolist() == [[1]]
    # (0, 0) and (0, 2), mean (0, 1): across them, where both are √(1 + γ²) ≤ 2 away, γ = √3; sums 2 + 2γ² ≤ 4, γ = 1.
    y = torch.tensor([[3.0, -1], [3, 1]])
    assert MinMax(perturbation="unit")(y, 1, G)[0].tolist() == pytest.approx([3 - 3**0.5, 0], abs=1e-6)
    assert MinSum(perturbation="unit")(y, 1, G)[0].tolist() == pytest.approx([2, 0], abs=1e-6)


def test_fang_by_hand() -> None:
    # Grows: 0.5 to 1 (low / 2 to low). Shrinks: -2 to -1 (top to top / 2). Grows, lowest below 0: -2 to -1 (2·low to low).
    # Shrinks, highest above 0: 2 to 4 (top to 2·top).
    seen = torch.tensor([[1.0, -4, 5, -9], [2, -2, -1, 2]])
    sent = Fang(target="trimmed_mean")(seen, 400, generator())
    assert sent.amin(0).tolist() == pytest.approx([0.5, -2, -2, 2], abs=0.05)
    assert sent.amax(0).tolist() == pytest.approx([1, -1, -1, 4], abs=0.05)
    assert torch.equal(sent, Fang(target="median")(seen, 400, generator()))
    # Of its own, means 1 and -1, deviations √2: three to four of them against the mean's sign.
    own = torch.tensor([[0.0, -2], [2, 0]])
    sent = Fang(knowledge="partial")(seen[:, :2], 2, generator(), View(own=own))
    beyond = (sent - own.mean(0)).abs() / 2**0.5
    assert ((beyond >= 3) & (beyond <= 4)).all()
    assert (sent[:, 0] < 0).all()
    assert (sent[:, 1] > 0).all()


def test_model_replacement_by_hand() -> None:
    own = torch.tensor([[3.0, 4.0], [0, 1]])
    view = View(own=own, n=10, f=2)
    assert ModelReplacement()(rows(3, 2), 2, G, view).tolist() == [[15, 20], [0, 5]]
    assert ModelReplacement(server_lr=0.5)(rows(3, 2), 2, G, view).tolist() == [[30, 40], [0, 10]]
    torch.testing.assert_close(ModelReplacement(norm=10)(rows(3, 2), 2, G, view), torch.tensor([[6.0, 8], [0, 5]]))
    honest = rows(8, 2)
    # Where nobody else moves, the mean becomes exactly the attackers' (mean) update.
    everybody = torch.cat([torch.zeros_like(honest), ModelReplacement()(honest, 2, G, View(own=own))])
    assert everybody.mean(0).tolist() == own.mean(0).tolist()


def test_model_replacement_and_neurotoxin_bring_a_backdoor() -> None:
    for attack in (ModelReplacement(), Neurotoxin()):
        assert attack.data == BadNets()
        assert attack.on_data is not None


def test_free_riders_by_hand() -> None:
    seen, moved = rows(3, 4), torch.tensor([1.0, -1, 1, -1])
    view = View(previous=moved)
    assert FreeRide(disguise=1)(seen, 2, G).tolist() == [[0] * 4] * 2
    assert FreeRide()(seen, 2, G, view).tolist() == [[0] * 4] * 2
    assert FreeRide(sends="previous")(seen, 2, G, view).tolist() == [moved.tolist()] * 2
    large = torch.tensor([2.0, -2]).repeat(5000)  # of deviation 2
    sent = FreeRide(sends="previous", disguise=0.5)(rows(1, 10_000), 2, generator(), View(previous=large))
    assert (sent - large).std(1).tolist() == pytest.approx([1, 1], abs=0.05)
    assert not torch.equal(sent[0], sent[1])


def test_replay_sends_what_was_sent_first() -> None:
    own, past = rows(2, seed=1), rows(2, seed=2)
    assert torch.equal(Replay()(rows(4), 2, G, View(own=own, past=past)), past)
    assert torch.equal(Replay()(rows(4), 2, G, View(own=own)), own)
    with pytest.raises(ValueError, match=r"view\.past: 2 rows are not allowed for 3 attackers"):
        Replay()(rows(4), 3, G, View(past=past))


def test_claims() -> None:
    assert LieCount(factor=2.5).claims(10) == 25
    assert LieCount(factor=0.001).claims(10) == 1
    assert IPM().claims(10) == 10
    own = rows(2)
    assert torch.equal(LieCount()(rows(4), 2, G, View(own=own)), own)


@pytest.mark.parametrize("attack", NEED_SOMETHING, ids=lambda cls: cls.kind)
def test_nothing_to_go_by(attack: type[UpdateAttack]) -> None:
    with pytest.raises(ValueError, match=f"^{attack.kind}: neither honest rows nor view.own") as caught:
        attack()(rows(0), 2, G)
    assert "\n" not in str(caught.value)
    own = rows(3, seed=4)
    alone = attack()(rows(0), 3, generator(), View(own=own, n=8, f=3))
    assert torch.equal(alone, attack()(own, 3, generator(), View(own=own, n=8, f=3)))


# -- Mimic ----------------------------------------------------------------------------------------------------------------------


def test_mimic_copies_the_one_farthest_along_the_widest_direction() -> None:
    x = rows(9) * 0.1
    x[:, 2] += torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, 30])
    x[3, 4] += 5  # a narrower direction
    assert torch.equal(Mimic()(x, 2, G), x[8].repeat(2, 1))
    centred = (x - x.mean(0)).double()
    along = centred @ torch.linalg.svd(centred).Vh[0]
    assert int(along.abs().argmax()) == 8


def test_mimic_of_a_given_row(byzfl: Any) -> None:
    x = rows(5)
    for victim in range(5):
        assert torch.equal(Mimic(victim=victim)(x, 1, G)[0], byzfl.Mimic(victim)(x))
    assert torch.equal(Mimic(victim=9)(x, 1, G)[0], x[4])


# -- Neurotoxin -----------------------------------------------------------------------------------------------------------------


@given(top=st.floats(0, 0.99), d=st.integers(1, 60), seed=st.integers(0, 99))
def test_neurotoxin_leaves_what_moved_most_alone(top: float, d: int, seed: int) -> None:
    own, moved = rows(2, d, seed), rows(1, d, seed + 1)[0]
    sent = Neurotoxin(top=top)(rows(3, d), 2, G, View(own=own, previous=moved))
    masked = sent[0] == 0
    assert int(masked.sum()) == int(top * d + 1e-9)
    assert torch.equal(sent[:, ~masked], own[:, ~masked])
    assert (sent[:, masked] == 0).all()
    if masked.any() and not masked.all():
        assert moved[masked].abs().min() >= moved[~masked].abs().max()


# -- MinMax and MinSum ----------------------------------------------------------------------------------------------------------

perturbations = st.sampled_from(["unit", "std", "sign"])


@given(
    perturbation=perturbations, h=st.integers(2, 20), d=st.integers(1, 30), seed=st.integers(0, 99), far=st.sampled_from([0, 3])
)
def test_min_max_is_no_farther_than_the_honest_are_and_could_not_go_on(
    perturbation: Any, h: int, d: int, seed: int, far: float
) -> None:
    x = rows(h, d, seed, far).double()
    sent, mean = MinMax(perturbation=perturbation)(x, 1, G)[0], x.mean(0)
    widest = torch.cdist(x, x).max()
    assert (x - sent).norm(dim=1).max() <= widest * (1 + 1e-9)
    further = mean + 1.001 * (sent - mean)
    assert (x - further).norm(dim=1).max() > widest


@given(
    perturbation=perturbations, h=st.integers(2, 20), d=st.integers(1, 30), seed=st.integers(0, 99), far=st.sampled_from([0, 3])
)
def test_min_sum_is_no_farther_than_the_honest_are_and_could_not_go_on(
    perturbation: Any, h: int, d: int, seed: int, far: float
) -> None:
    x = rows(h, d, seed, far).double()
    sent, mean = MinSum(perturbation=perturbation)(x, 1, G)[0], x.mean(0)
    widest = torch.cdist(x, x).square().sum(1).max()
    assert (x - sent).square().sum() <= widest * (1 + 1e-9)
    assert (x - (mean + 1.001 * (sent - mean))).square().sum() > widest


@pytest.mark.parametrize("attack", [MinMax(), MinSum()], ids=lambda attack: attack.kind)
def test_small_differences_far_from_zero_are_not_lost(attack: UpdateAttack) -> None:
    small, far = rows(20, 50).double(), 1000.0
    expected = attack(small + far, 1, G)[0] - far
    found = attack((small + far).float(), 1, G)[0].double() - far
    assert (found - expected).norm() < 0.02 * (expected - small.mean(0)).norm()


@pytest.mark.parametrize("attack", [MinMax, MinSum, Adaptive])
def test_one_row_or_equal_rows_are_sent_as_they_are(attack: Any) -> None:
    x = rows(1)
    same = x.repeat(4, 1)
    for perturbation in ("unit", "std", "sign"):
        for seen in (x, same):
            sent = attack(perturbation=perturbation)(seen, 2, G)
            if attack is Adaptive and perturbation != "std":
                assert sent.isfinite().all()  # knows a rule to try, and where back is
            else:
                torch.testing.assert_close(sent, x.repeat(2, 1))
        assert attack(perturbation=perturbation)(torch.zeros(3, 4), 2, G).tolist() == [[0] * 4] * 2


# -- attacks that search --------------------------------------------------------------------------------------------------------


def test_line_search_finds_the_top() -> None:
    for top in (0.3, 4.0, 37.0):
        found = line_search(lambda z, top=top: -abs(z - top), step=1, evaluations=40, at_most=100)
        assert found == pytest.approx(top, rel=0.02)
    looked: list[float] = []

    def grows(z: float) -> float:
        looked.append(z)
        return z

    assert line_search(grows, step=10, evaluations=20, at_most=50) == 50
    assert set(looked[:4]) == {0, 10, 30, 50}
    assert line_search(lambda z: 0.0, step=10, evaluations=20, at_most=50) == 0


def test_harm_by_hand() -> None:
    x = torch.tensor([[0.0], [2], [4]])
    far = torch.tensor([8.0])
    assert harm_to(x, 1, None)(far) == pytest.approx(harm_to(x, 1, Mean())(far)) == pytest.approx(1.5)  # 14/4 - 2
    assert harm_to(x, 2, lambda both: both.median(dim=0).values)(far) == 2  # of 0 2 4 8 8

    def refuses(both: torch.Tensor) -> torch.Tensor:
        raise ValueError("too few")

    assert harm_to(x, 1, refuses)(far) == 0
    assert harm_to(x, 1, lambda both: both[0] / 0)(far) == 0


@settings(max_examples=25)
@given(name=st.sampled_from(sorted(RULES)), seed=st.integers(0, 99), far=st.sampled_from([0.0, 0.5, 3.0]))
def test_optimised_attacks_are_no_weaker_than_fixed_ones(name: str, seed: int, far: float) -> None:
    x, b = rows(15, 12, seed, far), 5
    view = View(rule=RULES[name], n=20, f=5)
    harm = harm_to(x, b, RULES[name])
    worst = {attack: harm(attack(x, b, G, view)[0]) for attack in (OptimisedALIE(), OptimisedIPM(), ALIE(), IPM(), Adaptive())}
    assert worst[OptimisedALIE()] >= worst[ALIE()]
    assert worst[OptimisedIPM()] >= worst[IPM()]
    assert worst[Adaptive()] >= harm(x.mean(0))
    for fixed in (MinMax(), MinSum(), MinMax(perturbation="unit"), MinSum(perturbation="sign")):
        assert worst[Adaptive()] >= 0.7 * harm(fixed(x, b, G)[0])  # along the same lines, as far as few looks tell


@pytest.mark.parametrize("name", sorted(RULES))
def test_adaptive_takes_the_worst_perturbation(name: str) -> None:
    x, view = rows(15, 12, 3, 0.5), View(rule=RULES[name])
    harm = harm_to(x, 5, RULES[name])
    each = [harm(Adaptive(perturbation=p)(x, 5, G, view)[0]) for p in ("unit", "std", "sign")]
    assert harm(Adaptive()(x, 5, G, view)[0]) == max(each)


def test_attackers_who_see_part_of_a_round_reckon_with_its_share_of_attackers() -> None:
    asked: list[int] = []

    def counts(both: torch.Tensor) -> torch.Tensor:
        asked.append(len(both))
        return both.mean(0)

    for attack in (OptimisedALIE(), OptimisedIPM(), Adaptive()):
        attack(rows(8), 10, G, View(n=50, f=10, rule=counts))  # 8 of 40 honest: 2 attackers
        assert set(asked) == {10}
        asked.clear()
        attack(rows(8), 3, G, View(rule=counts))
        assert set(asked) == {11}
        asked.clear()


@pytest.mark.parametrize(
    "pairs", [(OptimisedALIE, "Optimal_ALittleIsEnough"), (OptimisedIPM, "Optimal_InnerProductManipulation")]
)
@pytest.mark.parametrize("rule", ["TrMean", "Median", "Krum"])
def test_optimised_attacks_against_byzfl(byzfl: Any, pairs: tuple[Any, str], rule: str) -> None:
    ours, theirs = pairs
    for seed in range(4):
        x, f = rows(12, 8, seed, 0.4), 4
        aggregate = byzfl.Median() if rule == "Median" else getattr(byzfl, rule)(f=f)
        found = getattr(byzfl, theirs)(agg=aggregate, pre_agg_list=[], f=f)
        # Theirs adds deviations where ours takes them away: of turned rows, it is the same.
        sign = -1 if ours is OptimisedALIE else 1
        expected = sign * found(sign * x)
        sent = ours(at_most=1e9)(x, f, G, View(rule=lambda both, a=aggregate: a(both)))[0]
        harm = harm_to(x, f, aggregate)
        assert harm(sent) >= 0.97 * harm(expected)  # both look 20 times, ours to both sides


def test_fixed_attacks_against_byzfl(byzfl: Any) -> None:
    x = rows(9)
    torch.testing.assert_close(IPM(epsilon=2)(x, 1, G)[0], byzfl.InnerProductManipulation(2.0)(x))
    assert torch.equal(Garbage(value="inf")(x.double(), 1, G)[0], byzfl.Inf()(x.double()).double())


# -- Fang against the rules it is made for --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("f", [3, 5])
def test_krum_takes_fangs_row(seed: int, f: int) -> None:
    honest = rows(20 - f, 200, seed, 0.3)
    sent = Fang(target="krum")(honest, f, G, View(n=20, f=f))
    assert torch.equal(sent[0], sent[-1])
    chosen = Krum(f=f)(torch.cat([honest, sent]))
    assert torch.equal(chosen, sent[0])
    assert float(chosen @ honest.mean(0)) < 0  # the model goes where the honest do not want to
    # Twice as loud, Krum would not have taken it.
    assert not torch.equal(Krum(f=f)(torch.cat([honest, 2 * sent])), 2 * sent[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("target", "rule"), [("trimmed_mean", TrimmedMean(f=4)), ("median", Median())])
@pytest.mark.parametrize("knowledge", ["full", "partial"])
def test_fang_moves_the_rule_it_is_made_for_more_than_noise_does(seed: int, target: Any, rule: Rule, knowledge: Any) -> None:
    honest, own = rows(16, 300, seed, 0.7), rows(4, 300, seed + 50, 0.7)
    mean = honest.mean(0)

    def moved(sent: torch.Tensor) -> float:
        """By how much the rule's result goes back along the mean's signs."""
        return float((mean.sign() * (rule(torch.cat([honest, own])) - rule(torch.cat([honest, sent])))).mean())

    fang = Fang(target=target, knowledge=knowledge)(honest, 4, generator(), View(own=own, n=20, f=4))
    noise = Gaussian(std=200)(honest, 4, generator())
    assert moved(fang) > 0.1
    assert moved(fang) > 3 * abs(moved(noise))


def test_fang_with_partial_knowledge_uses_its_own_rows_only() -> None:
    own = rows(4, seed=9)
    for target in ("krum", "trimmed_mean", "median"):
        attack = Fang(target=target, knowledge="partial")
        first, second = (attack(rows(9, seed=seed), 4, generator(), View(own=own)) for seed in (1, 2))
        assert torch.equal(first, second)


# -- everything -----------------------------------------------------------------------------------------------------------------


def test_what_happens_to_data_has_the_times_of_the_attack_it_belongs_to() -> None:
    attack = ModelReplacement(from_round=4, until_round=9, every=5, nodes=(1, 2), data={"kind": "dba", "from_round": 2})
    data = attack.on_data
    assert data is not None
    assert data.kind == "dba"
    assert [data.active(number) for number in (2, 4, 5, 9, 14)] == [False, True, False, True, False]
    assert data.nodes == (1, 2)
    assert IPM().on_data is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("scaling", {"factor": 0}),
        ("gaussian", {"std": -1}),
        ("garbage", {"value": "none"}),
        ("ipm", {"epsilon": -1}),
        ("min_max", {"perturbation": "any"}),
        ("fang", {"target": "bulyan"}),
        ("mimic", {"victim": -1}),
        ("neurotoxin", {"top": 1}),
        ("free_ride", {"disguise": -1}),
        ("optimised_alie", {"evaluations": 1}),
        ("lie_count", {"factor": 0}),
        ("mistime", {"timing": "late"}),
        ("ipm", {"hold_s": -1}),
        ("ipm", {"data": "ipm"}),
    ],
)
def test_fields_out_of_range_are_refused(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kinds("attacks")[kind](**fields)
