"""Who is there when."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from decai_sim.seeding import Streams
from decai_sim.world import Exponential
from decai_sim.world.world import World
from tests.world.worlds import Absences, run_until, world


def sessions(w: World) -> dict[int, list[tuple[float, str]]]:
    found: dict[int, list[tuple[float, str]]] = {node: [] for node in range(w.n)}
    for row in w.trace.events().itertuples():
        found[row.node].append((row.t_s, row.kind))
    return found


def test_periods_happen_as_listed() -> None:
    w = world(3, churn=Absences({0: [2.0, 3.0, 4.0], 1: [0, 5.0]}))
    run_until(w, 100)
    assert sessions(w) == {
        0: [(0.0, "online"), (2.0, "offline"), (5.0, "online"), (9.0, "offline")],
        1: [(5.0, "online")],
        2: [(0.0, "online")],
    }


def test_time_online_is_counted() -> None:
    w = world(3, churn=Absences({0: [2.0, 3.0, 4.0], 1: [0, 5.0]}))
    w.clock.at(20.0, int)
    run_until(w, 20)
    assert w.nodes.online_s() == [6.0, 15.0, 20.0]
    w = world(1, churn=Absences({0: [2.0, 3.0, 4.0]}))
    w.clock.at(6.0, int)
    run_until(w, 6)
    assert w.nodes.online_s() == [3.0]


def test_without_churn_everybody_stays_and_nothing_is_scheduled() -> None:
    w = world(5)
    assert w.clock.idle
    assert w.nodes.online == [True] * 6
    assert w.trace.events().kind.tolist() == ["online"] * 5


def test_the_share_online_is_stationary_from_the_start() -> None:
    n, share = 4000, 7200 / 9000
    w = world(n, churn=Exponential(mean_online_s=7200, mean_offline_s=1800))
    bound = 4 * math.sqrt(share * (1 - share) / n)
    for t in (0.0, 600.0, 3600.0, 20_000.0):
        run_until(w, t)
        assert abs(sum(w.nodes.online[:-1]) / n - share) < bound


def test_lengths_are_exponential_with_the_means_asked_for() -> None:
    n = 2000
    online = np.arange(n) < n // 2
    for k in (0, 1, 5):
        lengths = Exponential(mean_online_s=7200, mean_offline_s=1800).periods(k, online, Streams(3))
        assert stats.kstest(lengths[online], stats.expon(scale=7200).cdf).pvalue > 0.01
        assert stats.kstest(lengths[~online], stats.expon(scale=1800).cdf).pvalue > 0.01


def test_successive_periods_are_independent() -> None:
    online = np.ones(3000, bool)
    first, second = (Exponential().periods(k, online, Streams(3)) for k in (0, 1))
    assert abs(stats.spearmanr(first, second).statistic) < 0.07  # four standard errors


def test_a_nodes_draws_do_not_depend_on_anybody_else() -> None:
    # The same first nodes among 10 and among 50, whose events interleave differently.
    few, many = (world(n, churn=Exponential(mean_online_s=50, mean_offline_s=20), seed=4) for n in (10, 50))
    for w in (few, many):
        run_until(w, 2000)
    a, b = sessions(few), sessions(many)
    assert sum(map(len, a.values())) > 300
    assert all(a[node] == b[node] for node in range(10))


def test_states_alternate() -> None:
    w = world(20, churn=Exponential(mean_online_s=50, mean_offline_s=20), seed=4)
    run_until(w, 1000)
    for events in sessions(w).values():
        kinds = [kind for _, kind in events]
        assert kinds == [("online", "offline")[(i + (kinds[0] == "offline")) % 2] for i in range(len(kinds))]
        assert [t for t, _ in events] == sorted(t for t, _ in events)


def test_seeds_differ() -> None:
    draws = [Exponential().periods(0, np.ones(5, bool), Streams(seed)).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
