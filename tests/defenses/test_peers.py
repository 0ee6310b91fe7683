"""Rules for nodes among others, and filters of updates one at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from decai_sim.component import kinds
from decai_sim.defenses import (
    BALANCE,
    BRIDGE,
    NNM,
    UBAR,
    Bulyan,
    Chain,
    Context,
    Filter,
    Kardam,
    Krum,
    LocalReputation,
    Median,
    PeerRule,
    Rule,
    SelfCenteredClipping,
    Zeno,
    ZenoPlusPlus,
)
from tests.defenses.test_defenses import close, normal

OWN = torch.tensor([1.0, 1.0])


def about(n: int, **more: Any) -> Context:
    known: dict[str, Any] = {"own": OWN, "who": torch.arange(n), "memory": {}, "round": 1, "rounds": 100}
    known |= {"loss": lambda rows: (rows - 1).square().sum(dim=1)}
    return Context(**(known | more))


PEERS: list[PeerRule] = [
    SelfCenteredClipping(tau=0.5),
    SelfCenteredClipping(f=2),
    UBAR(f=2),
    BRIDGE(f=2),
    BRIDGE(f=2, variant="M"),
    BRIDGE(f=2, variant="K"),
    BRIDGE(f=2, variant="B"),
    BALANCE(),
    LocalReputation(),
]


@pytest.mark.parametrize("rule", PEERS, ids=str)
@pytest.mark.parametrize("far", [1e4, 1e12])
def test_two_of_ten_neighbours_do_not_carry_it_off(rule: PeerRule, far: float) -> None:
    x = 1 + 0.05 * normal(10, 2)
    x[3] = far
    x[7] = -far
    for order in (torch.arange(10), torch.arange(10).flip(0)):
        value = rule(x[order], about(10))
        assert float((value - OWN).norm()) < 0.5


@pytest.mark.parametrize("rule", PEERS, ids=str)
def test_they_are_marked_and_want_the_own_row(rule: PeerRule) -> None:
    assert rule.peer
    assert "own" in rule.needs
    with pytest.raises(ValueError, match=rf"context\.\w+: None is not allowed with {rule.kind}: give "):
        rule(normal(10, 2))


def test_who_agrees_already_stays() -> None:
    for rule in PEERS:
        assert close(rule(OWN.expand(10, 2).clone(), about(10)), OWN)


def test_nobody_else_is_marked() -> None:
    marked = {kind for kind, cls in kinds("defenses").items() if issubclass(cls, Rule) and cls.peer is True}
    assert marked == {"balance", "bridge", "local_reputation", "self_centered_clipping", "ubar"}


# ---- ClippedGossip


def test_self_centered_clipping_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0], [1.0, 101.0], [4.0, 5.0]])
    found = SelfCenteredClipping(tau=2.5).explain(x, about(3, weights=torch.tensor([0.1, 0.2, 0.3])))
    assert close(found.value, [1 + 0.3 * 1.5, 1 + 0.1 + 0.2 * 2.5 + 0.3 * 2])
    assert found.weights is not None
    assert close(found.weights, [0.1, 0.2 * 0.025, 0.15])
    assert found.scores is not None
    assert close(found.scores, [1, 100, 5])


def test_the_radius_of_the_paper() -> None:
    x = torch.tensor([[1.0, 2.0], [1.0, 101.0], [4.0, 5.0]])
    weights = torch.tensor([0.25, 0.25, 0.25])
    # The furthest has weight .25 ≤ δ and is left out: τ² = (.25·1 + .25·25)/.25 = 26.
    tau = math.sqrt(26)
    expected = SelfCenteredClipping(tau=tau)(x, about(3, weights=weights))
    assert close(SelfCenteredClipping(delta=0.25)(x, about(3, weights=weights)), expected)
    assert close(SelfCenteredClipping(f=1)(x, about(3, weights=weights)), expected)
    plain = 0.25 * (OWN + x.sum(dim=0))
    assert close(SelfCenteredClipping(f=0)(x, about(3, weights=weights)), plain)
    assert close(SelfCenteredClipping(f=0)(x, about(3)), plain)  # 1/(n + 1) each


def test_a_dropped_neighbours_weight_is_the_own_ones() -> None:
    x = torch.tensor([[3.0, 3.0], [math.nan, 0.0]])
    assert close(SelfCenteredClipping(tau=100)(x, about(2, weights=torch.tensor([0.5, 0.25]))), [2.0, 2.0])


# ---- UBAR, BRIDGE, BALANCE


def test_ubar_by_hand() -> None:
    x = torch.tensor([[1.0, 1.2], [0.0, 0.0], [9.0, 9.0]])
    own = torch.tensor([2.0, 1.0])  # loss 1; theirs .04, 2, 128
    found = UBAR(f=1, alpha=0.5).explain(x, about(3, own=own))
    assert close(found.value, [1.5, 1.1])
    assert found.kept.tolist() == [True, False, False]
    assert found.scores is not None
    assert close(found.scores[:2], [-0.96, 1])
    assert found.scores[2].isinf()
    # None as good as the own model: the best alone.
    assert close(UBAR(f=1, alpha=0)(x, about(3)), [1.0, 1.2])


def test_bridge_by_hand() -> None:
    x = torch.tensor([[0.0, 5.0], [3.0, 2.0], [2.0, 90.0], [50.0, 3.0]])
    assert close(BRIDGE(f=1)(x, about(4)), [(2 + 3 + 1) / 3, (3 + 5 + 1) / 3])
    assert close(BRIDGE(f=2)(x, about(4)), OWN)
    assert close(BRIDGE(variant="M")(x, about(4)), [2, 3])
    with pytest.raises(ValueError, match=r"bridge\.f: 3 is not allowed with 4 rows: choose at most 2"):
        BRIDGE(f=3)(x, about(4))


@pytest.mark.parametrize("seed", range(5))
def test_bridge_is_a_rule_on_all(seed: int) -> None:
    x = normal(12, 2, seed)
    everybody = torch.cat([x, OWN[None]])
    for variant, rule in (("M", Median()), ("K", Krum(f=2)), ("B", Bulyan(f=2))):
        assert close(BRIDGE(f=2, variant=variant)(x, about(12)), rule(everybody))  # type: ignore[arg-type]


def test_bridge_k_may_keep_the_own_model() -> None:
    x = OWN + torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    found = BRIDGE(f=1, variant="K").explain(x, about(4))
    assert torch.equal(found.value, OWN)
    assert not found.kept.any()
    assert found.weights is not None
    assert not found.weights.any()


def test_balance_by_hand_and_ever_nearer() -> None:
    x = torch.tensor([[1.0, 1.4], [1.0, 1.2], [8.0, 8.0]])
    rule = BALANCE(gamma=0.3, kappa=1, alpha=0.5, rounds=10)
    # .3·|own| is .424; times e^-.1 it is .384, and at the end .156.
    assert rule.explain(x, about(3, round=1)).kept.tolist() == [False, True, False]
    assert close(rule(x, about(3, round=1)), [1.0, 1.1])
    assert BALANCE(gamma=0.3, kappa=0).explain(x, about(3)).kept.tolist() == [True, True, False]
    assert torch.equal(rule(x, about(3, round=10)), OWN)
    assert torch.equal(rule(x, about(3, round=99)), OWN)


def test_balance_takes_the_protocols_number_of_rounds() -> None:
    x = torch.tensor([[1.0, 1.4], [1.0, 1.2], [8.0, 8.0]])
    said, told = BALANCE(rounds=10), BALANCE()
    for number in (1, 5, 10):
        assert torch.equal(said(x, about(3, round=number)), told(x, about(3, round=number, rounds=10)))
    assert torch.equal(said(x, about(3, round=5, rounds=500)), said(x, about(3, round=5)))
    with pytest.raises(ValueError, match=r"balance\.rounds: None is not allowed where nobody knows"):
        told(x, about(3, rounds=None))


def test_losses_are_counted() -> None:
    losses: list[int] = []

    def loss(rows: torch.Tensor) -> torch.Tensor:
        losses.append(len(rows))
        return rows.square().sum(dim=1)

    for rule in (UBAR(f=2), UBAR(f=0), Zeno(f=2), Chain(steps=("bucketing", Zeno()), f=1), NNM(f=1) >> UBAR(f=2), Median()):
        losses.clear()
        rule(normal(10, 2), about(10, loss=loss))
        assert sum(losses) == rule.tests(10), rule
    assert UBAR().tests(10, 3) == 8


def test_local_reputation_remembers() -> None:
    rule, memory = LocalReputation(forget=1.0), dict[str, Any]()
    good, bad = OWN + 0.1 * normal(5, 2), OWN + 0.1 * normal(5, 2)
    bad[0] += 50
    for _ in range(3):
        assert not rule.explain(bad, about(5, memory=memory)).kept[0]
    # One good time after three bad ones: (1 + 1)/(4 + 2).
    later = rule.explain(good, about(5, memory=memory))
    assert later.scores is not None
    assert later.scores[0] == pytest.approx(1 - 2 / 6)
    assert later.kept.tolist() == [False, True, True, True, True]
    for _ in range(2):
        later = rule.explain(good, about(5, memory=memory))
    assert later.kept.all()


# ---- filters


def test_filters_are_rules_too() -> None:
    x = torch.tensor([[3.0, 4.0], [-3.0, 4.0], [0.0, 10.0]])
    server = torch.tensor([3.0, 0.0])
    rule = ZenoPlusPlus(rho=0)
    weights = [rule.accept(row, Context(server=server)) for row in x]
    assert weights == pytest.approx([0.6, 0, 0.3])
    found = rule.explain(x, Context(server=server))
    assert close(found.value, [0.6 * 1.5, 0.6 * 2 + 1.5])
    assert found.kept.tolist() == [True, False, True]


def test_zeno_plus_plus_by_hand() -> None:
    server = torch.tensor([2.0, 0.0])
    slanted = torch.tensor([3.0, 4.0])  # cosine .6
    assert ZenoPlusPlus(rho=0.5).accept(slanted, Context(server=server)) == pytest.approx(0.4)
    assert ZenoPlusPlus(rho=0.7).accept(slanted, Context(server=server)) == 0
    assert ZenoPlusPlus(rho=0.7, epsilon=0.2).accept(slanted, Context(server=server)) == pytest.approx(0.4)
    assert ZenoPlusPlus().accept(torch.tensor([math.nan, 0.0]), Context(server=server)) == 0
    with pytest.raises(ValueError, match=r"context\.server: None is not allowed with zeno_plus_plus"):
        ZenoPlusPlus().accept(slanted)


def send(rule: Kardam, memory: dict[str, Any], name: int, value: float, **more: Any) -> float:
    known: dict[str, Any] = {"moved": 1.0, "who": torch.tensor([name]), "memory": memory}
    return rule.accept(torch.tensor([value]), Context(**(known | more)))


def test_kardam_refuses_wild_changes() -> None:
    rule, memory = Kardam(f=1, alpha=0), dict[str, Any]()
    for name in range(5):
        assert send(rule, memory, name, 1.0) == 1
    assert send(rule, memory, 0, 1.1) == 1  # the first to have a K
    assert [send(rule, memory, name, 1.1) for name in (1, 2, 3)] == [1, 1, 1]
    assert send(rule, memory, 4, 50.0) == 0
    # Its K is the largest of five, beyond the 4/5 quantile; others go on.
    assert [send(rule, memory, name, 1.05) for name in (0, 1, 2)] == [1, 1, 1]


def test_kardam_lets_nobody_speak_too_often() -> None:
    rule, memory = Kardam(f=1, alpha=0), dict[str, Any]()
    assert [send(rule, memory, name, 1.0) for name in (0, 1, 0, 2, 0)] == [1, 1, 0, 1, 1]
    assert send(Kardam(f=0, alpha=0), memory, 0, 1.0) == 1
    two, before = Kardam(f=2, alpha=0), dict[str, Any]()  # of any five in a row no two are of the same, of the first few too
    assert [send(two, before, name, 1.0, senders=9) for name in (1, 2, 3, 1, 2, 3, 4, 1, 5, 1)] == [1, 1, 1, 0, 0, 0, 1, 0, 1, 1]


def test_kardam_dampens_what_is_old() -> None:
    assert send(Kardam(f=0, alpha=0.5), {}, 0, 1.0, staleness=torch.tensor([3])) == pytest.approx(math.exp(-1.5))


def test_the_f_of_kardam_is_of_all_senders_not_of_the_rows() -> None:
    memory: dict[str, Any] = {}
    about = {"f": 0, "senders": 5, "senders_f": 1}
    for value in (1.0, 1.1):
        assert [send(Kardam(alpha=0), memory, name, value, **about) for name in range(4)] == [1, 1, 1, 1]
    assert [send(Kardam(alpha=0), memory, name, value, **about) for name, value in ((4, 1.0), (4, 50.0))] == [1, 0]
    # Too soon: with f of the rows, which is 0 of a single one, nobody would be told so.
    assert [send(Kardam(alpha=0), memory, name, 1.1, **about) for name in (0, 0)] == [1, 0]
    chain = Chain(steps=("clipping", "kardam"), f=2)
    assert chain.dampens
    assert Kardam().assumed_f(Context(f=1, senders_f=3, dropped=1)) == 3
    assert Kardam(f=2).assumed_f(Context(f=1, senders_f=3, dropped=1)) == 2
    assert Kardam().assumed_f(Context(f=3, dropped=1)) == 2


def test_a_filter_of_ones_own() -> None:
    class Positive(Filter, abstract=True):
        def weigh(self, update: torch.Tensor, context: Context) -> float:
            return float(update.sum() > 0)

    Positive.kind = "positive"
    found = Positive().explain(torch.tensor([[1.0], [-5.0], [3.0]]))
    assert (found.value.tolist(), found.kept.tolist()) == ([2.0], [True, False, True])
