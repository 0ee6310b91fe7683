"""Loss models, against their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from decai_sim.world.loss import Bernoulli, GilbertElliott

SIZE = 400_000


def runs(lost: np.ndarray, of: bool) -> np.ndarray:
    """Lengths of the uninterrupted stretches of ``of``, without the first and last, which may be cut off."""
    edges = np.flatnonzero(np.diff(lost)) + 1
    stretches = np.split(lost, edges)[1:-1]
    return np.array([len(stretch) for stretch in stretches if stretch[0] == of])


def autocorrelation(lost: np.ndarray, lag: int) -> float:
    return float(np.corrcoef(lost[:-lag], lost[lag:])[0, 1])


def test_bernoulli_losses_are_independent() -> None:
    lost = Bernoulli(p=0.2).table(SIZE, np.random.default_rng(1))
    assert stats.binomtest(int(lost.sum()), SIZE, 0.2).pvalue > 0.01
    bursts = np.bincount(runs(lost, True), minlength=7)[1:7]
    expected = stats.geom.pmf(np.arange(1, 7), 0.8)
    assert stats.chisquare(bursts, expected / expected.sum() * bursts.sum()).pvalue > 0.01
    assert abs(autocorrelation(lost, 1)) < 4 / math.sqrt(SIZE)


def test_nothing_or_almost_everything_may_be_lost() -> None:
    assert not Bernoulli(p=0).table(1000, np.random.default_rng(1)).any()
    assert Bernoulli(p=0.999).table(1000, np.random.default_rng(1)).mean() > 0.98
    assert GilbertElliott(p_enter=1, p_leave=1e-9).table(1000, np.random.default_rng(1)).all()


@pytest.mark.parametrize(
    "model",
    [
        GilbertElliott(),
        GilbertElliott(p_enter=0.02, p_leave=0.5),
        GilbertElliott(p_enter=0.05, p_leave=0.1, loss_bad=0.5),
        GilbertElliott(p_enter=0.1, p_leave=0.3, loss_good=0.05, loss_bad=0.8),
        GilbertElliott(p_enter=1, p_leave=1, loss_bad=0.6),
    ],
)
def test_the_mean_loss_and_its_memory_are_those_of_the_chain(model: GilbertElliott) -> None:
    lost = model.table(SIZE, np.random.default_rng(2))
    bad = model.p_enter / (model.p_enter + model.p_leave)
    rate = (1 - bad) * model.loss_good + bad * model.loss_bad
    assert model.rate == pytest.approx(rate)
    # The state's autocovariance is π(1−π)r^k with r = 1 − p_enter − p_leave; a loss sees it through the difference of the rates.
    r = 1 - model.p_enter - model.p_leave
    seen = bad * (1 - bad) * (model.loss_bad - model.loss_good) ** 2
    error = math.sqrt((rate * (1 - rate) + 2 * seen * r / (1 - r)) / SIZE)
    assert abs(lost.mean() - rate) < 4 * error
    for lag in (1, 3):
        assert autocorrelation(lost, lag) == pytest.approx(seen * r**lag / (rate * (1 - rate)), abs=0.03)


def test_bursts_of_a_gilbert_channel_are_visits_to_the_bad_state() -> None:
    lost = GilbertElliott(p_enter=0.05, p_leave=0.25).table(SIZE, np.random.default_rng(3))
    for state, leave in ((True, 0.25), (False, 0.05)):
        lengths = runs(lost, state)
        assert lengths.mean() == pytest.approx(1 / leave, rel=0.05)
        cut = int(stats.geom.ppf(0.95, leave))
        counts = np.bincount(np.minimum(lengths, cut))[1:]
        expected = stats.geom.pmf(np.arange(1, cut), leave)
        expected = np.append(expected, 1 - expected.sum()) * len(lengths)
        assert stats.chisquare(counts, expected).pvalue > 0.01


def test_a_history_begins_in_the_stationary_state() -> None:
    model = GilbertElliott(p_enter=0.002, p_leave=0.008)
    first = [bool(model.table(1, np.random.default_rng(seed))[0]) for seed in range(2000)]
    assert stats.binomtest(sum(first), 2000, 0.2).pvalue > 0.01


@given(
    p_enter=st.floats(1e-9, 1),
    p_leave=st.floats(1e-9, 1),
    size=st.integers(1, 3000),
    seed=st.integers(0, 100),
)
def test_a_table_has_the_size_asked_for(p_enter: float, p_leave: float, size: int, seed: int) -> None:
    lost = GilbertElliott(p_enter=p_enter, p_leave=p_leave).table(size, np.random.default_rng(seed))
    assert lost.shape == (size,)
    assert lost.dtype == bool
