"""D-PSGD: mixing weights, learning, churn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import decai_sim as ds
from decai_sim.protocols.dpsgd import _metropolis


@given(st.integers(2, 12), st.data())
def test_weights_are_symmetric_and_doubly_stochastic_whatever_arrived(n: int, data: st.DataObject) -> None:
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] != p[1])
    arrived = data.draw(st.sets(pairs))
    w = _metropolis(n, arrived).to_dense().numpy()
    np.testing.assert_allclose(w, w.T)
    np.testing.assert_allclose(w.sum(0), 1, rtol=1e-6)
    assert (w >= -1e-7).all()
    for a in range(n):
        for b in range(n):
            if a != b:
                assert (w[a, b] > 0) == ((a, b) in arrived and (b, a) in arrived)


def test_weights_of_a_path_are_those_computed_by_hand() -> None:
    w = _metropolis(3, {(0, 1), (1, 0), (1, 2), (2, 1)}).to_dense().numpy()
    np.testing.assert_allclose(w, [[2 / 3, 1 / 3, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 3, 2 / 3]], rtol=1e-6)


def scenario(**changes: object) -> ds.Scenario:
    base = ds.Scenario(nodes=16, task="digits", topology="ring", network="internet", protocol={"kind": "dpsgd", "rounds": 6})
    return base.but(**changes)


def test_nodes_learn_together_without_a_server() -> None:
    run = ds.run(scenario(), progress=False)
    assert run.accuracy > 0.7
    assert (run.messages["src"] >= 0).all()
    assert (run.messages["dst"] >= 0).all()
    assert len(run.messages) == 6 * 16 * 2
    assert ds.run(scenario(), progress=False).trace_digest == run.trace_digest


def test_under_churn_rounds_end_at_their_deadline_and_go_on() -> None:
    run = ds.run(
        scenario(churn={"kind": "exponential", "mean_online_s": 2, "mean_offline_s": 1}, protocol__deadline_s=5), progress=False
    )
    assert len(run.rounds) == 6
    assert (run.rounds["t_s"].diff().dropna() <= 5.0 + 1e-9).all()
    assert run.rounds["n_selected"].nunique() > 1


@pytest.mark.parametrize("change", [{"defense": "median"}, {"attack": "sign_flip"}])
def test_what_it_does_not_do_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ds.ScenarioError, match="dpsgd"):
        ds.run(scenario(**change), progress=False)
