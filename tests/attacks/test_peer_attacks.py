"""Attacks among peers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.attacks import Dissensus, LyingWeights, PeerAttack

G = torch.Generator()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_dissensus_by_hand() -> None:
    own, models, weights = torch.tensor([1.0, 0]), torch.tensor([[3.0, 0], [1, 8]]), torch.tensor([0.25, 0.5])
    # Honest pull: 0.25·(2, 0) + 0.5·(0, 8) = (0.5, 4); shared by a weight of 0.25: (2, 16).
    assert Dissensus().to_neighbour(own, models, weights, 0.25, G).tolist() == [-1, -16]
    assert Dissensus(epsilon=0.5).to_neighbour(own, models, weights, 0.25, G).tolist() == [0, -8]
    with pytest.raises(ValueError, match=r"^attackers: 0 is not allowed"):
        Dissensus().to_neighbour(own, models, weights, 0, G)


@given(h=st.integers(0, 6), b=st.integers(1, 4), epsilon=st.floats(0.1, 3), seed=st.integers(0, 99))
def test_dissensus_undoes_mixing(h: int, b: int, epsilon: float, seed: int) -> None:
    draw = generator(seed)
    own, models = (torch.randn(n, 5, generator=draw, dtype=torch.float64) for n in (1, h))
    weights, theirs = (torch.rand(n, generator=draw, dtype=torch.float64) / 20 + 0.01 for n in (h, b))
    sent = Dissensus(epsilon=epsilon).to_neighbour(own[0], models, weights, float(theirs.sum()), G)
    assert sent is not None
    honest = weights @ (models - own)
    mixed = own[0] + honest + theirs.sum() * (sent - own[0])
    # What is left of the step towards the honest neighbours: none of it at 1, and away from them above.
    torch.testing.assert_close(mixed - own[0], (1 - epsilon) * honest)


def test_a_chain_of_two_opinions_never_agrees() -> None:
    """Honest nodes at 0, 0, 200, 200, an attacker beside each of the two in the middle; mixing is plain (He et al., figure 3)."""
    a = 1 / 3
    x = torch.tensor([0.0, 0, 200, 200], dtype=torch.float64)
    for epsilon, least, most in ((1.0, 190, 201), (0.05, 0, 1)):
        now = x.clone()
        for _ in range(100):
            attack, new = Dissensus(epsilon=epsilon), now.clone()
            for i in range(4):
                near = [j for j in (i - 1, i + 1) if 0 <= j < 4]
                weight = a if i in (1, 2) else 0.0
                own, models = now[i : i + 1], now[near][:, None]
                new[i] += sum(a * (now[j] - now[i]) for j in near) / (2 if weight else 1)
                if weight:
                    weights = torch.full((2,), a / 2, dtype=torch.float64)
                    sent = attack.to_neighbour(own, models, weights, weight, G)
                    assert sent is not None
                    new[i] += float(weight * (sent - own))
            now = new
        assert least <= float(now.max() - now.min()) <= most


def test_lying_weights() -> None:
    attack = LyingWeights()
    assert [attack.claims_degree(degree) for degree in (1, 5, 50)] == [1, 1, 1]
    assert [LyingWeights(factor=2).claims_degree(degree) for degree in (1, 5)] == [2, 10]
    own = torch.zeros(3)
    assert attack.to_neighbour(own, torch.ones(2, 3), torch.full((2,), 0.2), 0.3, G) is None
    assert Dissensus().claims_degree(7) == 7


@pytest.mark.parametrize("attack", [Dissensus(to=0.3), LyingWeights(to=0.3)], ids=lambda attack: attack.kind)
def test_some_are_told_the_truth(attack: PeerAttack) -> None:
    lied_to = attack.lies_to(10, generator())
    assert int(lied_to.sum()) == 3
    assert torch.equal(lied_to, attack.lies_to(10, generator()))
    assert not torch.equal(lied_to, attack.lies_to(10, generator(1)))
    assert Dissensus().lies_to(10, generator()).all()
    assert not Dissensus(to=0).lies_to(10, generator()).any()
    assert attack.lies_to(0, generator()).tolist() == []


def test_data_of_peers_has_their_times() -> None:
    attack = LyingWeights(data={"kind": "label_flip"}, from_round=3)
    assert attack.on_data is not None
    assert [attack.on_data.active(number) for number in (2, 3)] == [False, True]
