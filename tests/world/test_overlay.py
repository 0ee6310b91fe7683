"""Cyclon: views stay valid, even and connected, and the dead are forgotten; colluders take them over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decai_sim.errors import ScenarioError
from decai_sim.world import graphs
from decai_sim.world.overlay import Cyclon
from decai_sim.world.topologies import wiring


def valid(overlay: Cyclon) -> None:
    """Nobody knows himself, or another twice."""
    for node, view in enumerate(overlay.views.tolist()):
        known = [other for other in view if other >= 0]
        assert node not in known
        assert len(known) == len(set(known))
        assert all(other < overlay.n for other in known)


@given(n=st.integers(1, 30), view=st.integers(1, 8), seed=st.integers(0, 99), data=st.data())
def test_views_stay_valid_whatever_happens(n: int, view: int, seed: int, data: st.DataObject) -> None:
    overlay = Cyclon(n, view=view, shuffle=data.draw(st.integers(1, view)), seed=seed)
    for _ in range(6):
        online = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
        before = overlay.views.copy()
        overlay.step(online)
        valid(overlay)
        assert (overlay.views[~online] == before[~online]).all()  # who is away learns nothing
        assert (overlay.ages >= 0).all()


def test_full_views_stay_full_and_in_degrees_narrow() -> None:
    overlay = Cyclon(2000, view=20, shuffle=8)
    spread = []
    for _ in range(31):
        matrix = overlay.csr()
        assert (np.diff(matrix.indptr) == 20).all()
        spread.append(matrix.sum(axis=0).std())
        overlay.step()
    # Random views: binomial, standard deviation √20 = 4.5. Cyclon's are narrower, the more so the less is exchanged at a time.
    assert spread[0] == pytest.approx(np.sqrt(20), rel=0.1)
    assert max(spread[15:]) < 0.75 * np.sqrt(20)
    few = Cyclon(2000, view=20, shuffle=3)
    for _ in range(40):
        few.step()
    assert few.csr().sum(axis=0).std() < 0.55 * np.sqrt(20)


def test_views_are_like_random_graphs_even_from_a_bad_start() -> None:
    n = 500
    overlay = Cyclon(n, view=10, shuffle=5)
    overlay.views = (np.arange(n)[:, None] + np.arange(1, 11)) % n  # everybody knows the next ten
    near = graphs.clustering(wiring.union(overlay.csr()))
    for _ in range(60):
        overlay.step()
    mixed = wiring.union(overlay.csr())
    assert near > 0.6
    assert graphs.clustering(mixed) < 0.08  # random graph: 20/500 = 0.04
    assert graphs.diameter(mixed) <= 4  # was 25


def test_half_may_go_without_parting_the_rest() -> None:
    n = 2000
    overlay = Cyclon(n, view=20, shuffle=8)
    for _ in range(20):
        overlay.step()
    alive = np.random.default_rng(1).random(n) < 0.5
    assert graphs.components(wiring.union(overlay.csr()), alive).tolist() == [alive.sum()]


def test_the_dead_are_forgotten_and_views_fill_again() -> None:
    n = 1000
    overlay = Cyclon(n, view=20, shuffle=8)
    for _ in range(15):
        overlay.step()
    alive = np.random.default_rng(1).random(n) < 0.5
    dead_links = []
    for _ in range(45):
        known = overlay.views[alive]
        dead_links.append(int((~alive[known[known >= 0]]).sum()))
        overlay.step(alive)
    assert dead_links[0] == pytest.approx(alive.sum() * 10, rel=0.1)
    assert (np.diff(dead_links) <= 0).all()  # the dead are asked, never recommended to more than have forgotten them
    assert dead_links[35] < 0.02 * dead_links[0]  # one is asked a cycle, and each is copied on meanwhile
    assert dead_links[-1] == 0
    assert graphs.components(wiring.union(overlay.csr()), alive)[0] == alive.sum()
    assert (overlay.views[alive] >= 0).all()  # what was forgotten has been replaced


def test_who_comes_back_is_known_again() -> None:
    n = 300
    overlay = Cyclon(n, view=10, shuffle=5)
    away = np.arange(n) >= 30
    for _ in range(40):
        overlay.step(away)
    assert not np.isin(overlay.views[30:], np.arange(30)).any()
    for _ in range(15):
        overlay.step()
    known = np.bincount(overlay.views[overlay.views >= 0], minlength=n)
    assert (known[:30] > 0).all()


def test_who_knows_nobody_any_more_is_given_contacts() -> None:
    overlay = Cyclon(20, view=3, shuffle=2)
    overlay.views[4] = -1
    overlay.step()
    assert (overlay.views[4] >= 0).any()
    valid(overlay)


def test_the_same_seed_gives_the_same_overlay() -> None:
    one, same, other = (Cyclon(100, view=6, shuffle=3, seed=seed) for seed in (1, 1, 2))
    for overlay in (one, same, other):
        for _ in range(5):
            overlay.step()
    assert (one.views == same.views).all()
    assert (one.views != other.views).any()


@pytest.mark.parametrize(("view", "shuffle", "message"), [(0, 1, "view: 0 is not allowed"), (4, 5, "shuffle: 5 is not allowed")])
def test_views_and_shuffles_that_cannot_be(view: int, shuffle: int, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Cyclon(10, view=view, shuffle=shuffle)


# -- colluders --------------------------------------------------------------------------------------------------------------


def infested(share: float, cycles: int, n: int = 1000, seed: int = 1) -> tuple[Cyclon, list[float]]:
    """An overlay with that share of colluders, and their share of honest views before each cycle."""
    colluding = np.random.default_rng(seed).permutation(n) < share * n
    overlay, captured = Cyclon(n, view=20, shuffle=8, seed=seed, colluding=colluding), []
    for _ in range(cycles):
        captured.append(overlay.captured())
        overlay.step()
    return overlay, captured


def test_colluders_fill_the_views_of_others() -> None:
    _, captured = infested(0.1, 60)
    assert captured[0] == pytest.approx(0.1, abs=0.01)
    # In a cycle an honest node asks one other and is asked by about one, a colluder one time in ten; of its 20 contacts it then
    # exchanges 8, nine tenths of them honest ones, for colluders.
    assert captured[1] == pytest.approx(0.1 + 2 * 0.1 * 8 / 20 * 0.9, abs=0.02)
    assert captured[20] > 0.8
    assert captured[-1] > 0.999
    assert (np.diff(captured) > -0.01).all()


def test_the_more_collude_the_sooner() -> None:
    few, some, many = (np.array(infested(share, 40)[1]) for share in (0.02, 0.1, 0.3))
    assert (few[1:] < some[1:]).all()
    assert (some[1:35] < many[1:35]).all()


def test_views_stay_valid_among_colluders() -> None:
    for share in (0.005, 0.3, 1.0):  # fewer of them than are sent, many, and nobody else
        overlay, captured = infested(share, 12, n=200)
        valid(overlay)
        assert (overlay.views >= 0).all()
        assert np.isnan(captured[0]) == (share == 1.0)


def test_nothing_is_drawn_for_colluders_where_there_are_none() -> None:
    plain, empty = Cyclon(200, seed=3), Cyclon(200, seed=3, colluding=np.zeros(200, bool))
    for _ in range(10):
        plain.step()
        empty.step()
    assert (plain.views == empty.views).all()
    assert plain.captured() == 0.0


def test_colluders_that_cannot_be() -> None:
    with pytest.raises(ScenarioError, match=r"^colluding: shape \(3,\) is not allowed: must be \(4,\)$"):
        Cyclon(4, view=2, shuffle=1, colluding=np.zeros(3, bool))
