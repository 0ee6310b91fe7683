"""Who is there when."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import integrate, optimize, special, stats

import decai_sim as ds
from decai_sim.errors import ScenarioError
from decai_sim.seeding import Streams
from decai_sim.world import Churn, Diurnal, Exponential, FlashCrowd, Pareto, Permanent, TraceReplay, Weibull
from decai_sim.world.churn.diurnal import _kepler
from decai_sim.world.churn.laws import ParetoLaw, WeibullLaw
from decai_sim.world.clock import Clock
from decai_sim.world.nodes import Nodes
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
        lengths = Exponential(mean_online_s=7200, mean_offline_s=1800).periods(k, online, np.zeros(len(online)), Streams(3))
        assert stats.kstest(lengths[online], stats.expon(scale=7200).cdf).pvalue > 0.01
        assert stats.kstest(lengths[~online], stats.expon(scale=1800).cdf).pvalue > 0.01


def test_successive_periods_are_independent() -> None:
    online = np.ones(3000, bool)
    first, second = (Exponential().periods(k, online, np.zeros(len(online)), Streams(3)) for k in (0, 1))
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
    draws = [Exponential().periods(0, np.ones(5, bool), np.zeros(5), Streams(seed)).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_exponential_draws_have_not_moved() -> None:
    online = np.arange(6) % 2 == 0
    for k in (0, 3):
        wanted = Streams(7).of("churn", "period", k).exponential(size=6) * np.where(online, 7200.0, 1800.0)
        assert Exponential().periods(k, online, np.full(6, 5.0), Streams(7)).tolist() == wanted.tolist()


def alone(n: int, churn: Churn, seed: int = 0) -> tuple[Nodes, Clock]:
    from decai_sim.trace import Trace

    clock = Clock()
    return Nodes(n, churn, clock, Streams(seed), Trace()), clock


def completed(churn: Churn, n: int, until_s: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """All online and all offline periods of ``n`` nodes that *began* in (0, until_s / 2), however long."""
    from decai_sim.trace import Trace

    clock, trace = Clock(), Trace()
    Nodes(n, churn, clock, Streams(seed), trace)
    clock.run(until_s)
    events = trace.events().sort_values(["node", "t_s"], kind="stable")
    events["length"] = events.groupby("node").t_s.shift(-1) - events.t_s
    begun = events[(events.t_s > 0) & (events.t_s < until_s / 2)]
    assert begun.length.notna().mean() > 0.9
    return begun[begun.kind == "online"].length.dropna(), begun[begun.kind == "offline"].length.dropna()


# -- laws -------------------------------------------------------------------------------------------------------------------

LAWS = [WeibullLaw(0.34, 1278.0), WeibullLaw(0.59, 2514.0), WeibullLaw(1.0, 50.0), WeibullLaw(3.0, 10.0)]
LAWS += [ParetoLaw(3.0, 100.0), ParetoLaw(2.2, 5.0)]


def reference(law: Any) -> Any:
    if isinstance(law, WeibullLaw):
        return stats.weibull_min(law.shape, scale=law.scale_s)
    return stats.lomax(law.shape, scale=law.scale_s)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_quantiles_and_means_are_scipys(law: Any) -> None:
    u = np.linspace(0.001, 0.999, 50)
    np.testing.assert_allclose(law.length_s(u), reference(law).ppf(u), rtol=1e-9)
    assert law.mean_s == pytest.approx(reference(law).mean())


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_what_remains_has_the_equilibrium_distribution(law: Any) -> None:
    # Its density is (1 - F(x)) / mean: integrate that up to the quantile and find u again.
    for u in (0.05, 0.4, 0.8, 0.95):
        x = float(law.rest_s(np.array([u]))[0])
        integral = integrate.quad(reference(law).sf, 0, x, limit=200)[0]
        assert integral / law.mean_s == pytest.approx(u, rel=1e-6)


def test_the_inspection_paradox() -> None:
    # What remains of the session under way is E[X^2] / (2 E[X]) on average: longer than a whole one where tails are heavy.
    churn = Weibull(shape=0.7, scale_s=1000.0, mean_offline_s=10.0)
    online = np.ones(40_000, dtype=bool)
    rest = churn.periods(0, online, np.zeros(40_000), Streams(2))
    law = stats.weibull_min(0.7, scale=1000.0)
    wanted = law.moment(2) / (2 * law.mean())
    assert wanted > 1.4 * law.mean()
    assert abs(rest.mean() - wanted) < 4 * rest.std() / math.sqrt(len(rest))


# -- Weibull and Pareto -----------------------------------------------------------------------------------------------------


def test_published_sets() -> None:
    # Stutzbach & Rejaie (2006), scales in minutes; OverSim's KAD in seconds.
    sets = {name: Weibull(measured=name).laws()[0] for name in ("redhat", "debian", "flatout", "kad")}
    assert sets["redhat"] == WeibullLaw(0.34, 21.3 * 60)
    assert sets["debian"] == WeibullLaw(0.38, 42.4 * 60)
    assert sets["flatout"] == WeibullLaw(0.59, 41.9 * 60)
    assert sets["kad"] == WeibullLaw(0.5, 5000.0)
    assert Weibull(measured="debian", shape=0.5).laws()[0] == WeibullLaw(0.5, 42.4 * 60)


def test_the_card_is_right_about_the_shortest_sessions() -> None:
    assert stats.weibull_min(0.34, scale=21.3 * 60).cdf(1.5) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(
    "churn",
    [
        *(Weibull(measured=name) for name in ("redhat", "debian", "flatout", "kad")),
        Weibull(shape=1.5, scale_s=300.0, mean_offline_s=100.0, offline_shape=0.8),
        Pareto(mean_online_s=600, mean_offline_s=300, shape=2.5),
    ],
    ids=repr,
)
def test_lengths_have_their_laws(churn: Any) -> None:
    n = 4000
    online = np.arange(n) % 2 == 0
    for law, mine in zip(churn.laws(), (online, ~online), strict=True):
        for k in (1, 6):
            lengths = churn.periods(k, online, np.zeros(n), Streams(3))[mine]
            assert stats.kstest(lengths, reference(law).cdf).pvalue > 0.005
        rest = churn.periods(0, online, np.zeros(n), Streams(3))[mine]
        if isinstance(law, WeibullLaw):
            held = stats.kstest(rest, lambda x, law=law: special.gammainc(1 / law.shape, (x / law.scale_s) ** law.shape))
        else:
            held = stats.kstest(rest, stats.lomax(law.shape - 1, scale=law.scale_s).cdf)
        assert held.pvalue > 0.005


def test_sessions_of_a_world_are_weibull() -> None:
    # Light enough a tail that next to nothing is cut off by the end.
    churn = Weibull(shape=0.9, scale_s=100.0, mean_offline_s=60.0)
    online, offline = completed(churn, 400, 4000.0)
    assert len(online) > 4000
    assert stats.kstest(online, stats.weibull_min(0.9, scale=100.0).cdf).pvalue > 0.005
    assert stats.kstest(offline, stats.expon(scale=60.0).cdf).pvalue > 0.005


@pytest.mark.parametrize(
    ("churn", "share"),
    [
        (Weibull(measured="redhat"), 0.5),
        (Weibull(measured="kad", mean_offline_s=5000.0), 2 / 3),
        (Pareto(mean_online_s=600, mean_offline_s=200, shape=2.2), 0.75),
        (Weibull(shape=4.0, scale_s=300.0, mean_offline_s=300.0, offline_shape=4.0), None),
    ],
    ids=repr,
)
def test_the_share_online_stays_what_it_is(churn: Any, share: float | None) -> None:
    # Nearly regular periods (shape 4) would swing for long if all had just begun at time 0.
    n = 3000
    on, off = (law.mean_s for law in churn.laws())
    share = on / (on + off) if share is None else share
    assert share == pytest.approx(on / (on + off))
    nodes, clock = alone(n, churn, seed=1)
    for t in (0.0, 60.0, 300.0, 450.0, 600.0, 3600.0, 20_000.0):
        clock.run(t)
        assert abs(sum(nodes.online[:-1]) / n - share) < 4 * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("fields", [{"shape": 0.05}, {"scale_s": 0}, {"mean_offline_s": -1}, {"measured": "napster"}])
def test_weibull_ranges(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Weibull(**fields)


# -- diurnal ----------------------------------------------------------------------------------------------------------------


def test_kepler_against_a_root_finder() -> None:
    mean = np.linspace(-20, 400, 301)
    for e in (0.0, 0.3, 0.95):
        found = _kepler(mean, e)
        wanted = [optimize.brentq(lambda y, m=m, e=e: y - e * math.sin(y) - m, m - 1, m + 1, xtol=1e-14) for m in mean]
        np.testing.assert_allclose(found, wanted, atol=1e-11)


def test_expected_share_by_day_is_the_periodic_solution() -> None:
    churn = Diurnal(mean_online_s=5000, mean_offline_s=9000, amplitude=0.8, peak_h=19, start_h=6)

    def slope(t: float, p: np.ndarray) -> np.ndarray:
        swing = 0.8 * math.cos(2 * math.pi * (t / 3600 + 6 - 19) / 24)
        return (1 + swing) / 9000 * (1 - p) - (1 - swing) / 5000 * p

    times = 5 * 86400 + np.linspace(0, 86400, 9)
    solved = integrate.solve_ivp(slope, (0, 6 * 86400), [0.5], t_eval=times, rtol=1e-9, atol=1e-12, max_step=600).y[0]
    np.testing.assert_allclose(churn.share_online(times), solved, atol=2e-5)


def test_share_online_follows_the_day() -> None:
    churn = Diurnal(mean_online_s=5000, mean_offline_s=9000, amplitude=0.8, start_h=6, zones_h=(0, 8))
    n = 4000
    nodes, clock = alone(n, churn, seed=3)
    zone = churn._zone(n, Streams(3))
    for t in (0.0, 20_000.0, 50_000.0, 80_000.0, 86_400.0 + 20_000.0):
        clock.run(t)
        online = np.array(nodes.online[:-1])
        for i, hours in enumerate((0, 8)):
            share = float(churn.share_online(np.array([t]), hours)[0])
            mine = online[zone == i]
            assert abs(mine.mean() - share) < 4 * math.sqrt(share * (1 - share) / len(mine))
    shares = churn.share_online(np.linspace(0, 86_400, 100))
    assert shares.max() > 2 * shares.min()


def test_diurnal_lengths_by_the_time_rescaling_theorem() -> None:
    # The integrated rate over each period is exponential with mean 1 (Brown et al. 2002), here integrated numerically.
    churn = Diurnal(mean_online_s=20_000, mean_offline_s=40_000, amplitude=0.9)
    n = 600
    online, began = np.arange(n) % 3 > 0, np.linspace(0, 3 * 86_400, n)
    lengths = churn.periods(2, online, began, Streams(1))
    areas = []
    for here, begin, length in zip(online, began, lengths, strict=True):
        t = np.linspace(begin, begin + length, 2001)
        swing = 0.9 * np.cos(2 * np.pi * (t / 3600 - 20) / 24)
        rate = (1 - swing) / 20_000 if here else (1 + swing) / 40_000
        areas.append(np.trapezoid(rate, t))
    assert stats.kstest(areas, stats.expon().cdf).pvalue > 0.01


def test_without_amplitude_it_is_exponential() -> None:
    churn = Diurnal(mean_online_s=600, mean_offline_s=300, amplitude=0)
    assert churn.share_online(np.array([0.0, 5000.0])).tolist() == pytest.approx([2 / 3, 2 / 3])
    lengths = churn.periods(1, np.ones(3000, bool), np.full(3000, 1e4), Streams(1))
    assert stats.kstest(lengths, stats.expon(scale=600).cdf).pvalue > 0.01


# -- as recorded ------------------------------------------------------------------------------------------------------------


def recorded(tmp_path: Path, text: str, **fields: Any) -> TraceReplay:
    path = tmp_path / "sessions.csv"
    path.write_text("node,t_online,t_offline\n" + text)
    return TraceReplay(path, **fields)


def test_sessions_are_those_of_the_file(tmp_path: Path) -> None:
    w = world(4, churn=recorded(tmp_path, "2,5,inf\n0,0,10\n0,20,30\n\n0,10,12.5\n1,3,4\n9,1,2\n"))
    run_until(w, math.inf)
    assert sessions(w) == {
        0: [(0.0, "online"), (12.5, "offline"), (20.0, "online"), (30.0, "offline")],  # two that touch are one
        1: [(3.0, "online"), (4.0, "offline")],
        2: [(5.0, "online")],
        3: [],
    }


def test_a_file_repeats(tmp_path: Path) -> None:
    # Node 0 is there 0-4 and 8-10: across the seam 8-14. Node 1 in the middle, node 2 always, node 3 from 6 to the end.
    w = world(4, churn=recorded(tmp_path, "0,0,4\n0,8,10\n1,2,3\n2,0,10\n3,6,10\n", repeat_s=10))
    run_until(w, 31)
    assert sessions(w) == {
        0: [(0.0, "online"), *((t, ("offline", "online")[i % 2]) for i, t in enumerate((4.0, 8.0, 14.0, 18.0, 24.0, 28.0)))],
        1: [(t, ("online", "offline")[i % 2]) for i, t in enumerate((2.0, 3.0, 12.0, 13.0, 22.0, 23.0))],
        2: [(0.0, "online")],
        3: [(t, ("online", "offline")[i % 2]) for i, t in enumerate((6.0, 10.0, 16.0, 20.0, 26.0, 30.0))],
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0,5,5\n", "line 2: '0,5,5' is not a node number"),
        ("0,-1,5\n", "line 2"),
        ("-1,1,5\n", "line 2"),
        ("0,1\n", "line 2"),
        ("0,1,2\n0,1,2,3\n", "line 3"),
        ("0,nan,5\n", "line 2"),
        ("a,1,5\n", "line 2"),
        ("0,0,5\n0,4,6\n", "line 3: a session of node 0 begins before another has ended"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=r"^churn\.path: ") as caught:
        recorded(tmp_path, text).start(3, Streams(0))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_headers_and_short_laps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="No such file"):
        TraceReplay(tmp_path / "no.csv").start(1, Streams(0))
    (tmp_path / "bad.csv").write_text("a,b\n")
    with pytest.raises(ScenarioError, match="line 1 must be node,t_online,t_offline"):
        TraceReplay(tmp_path / "bad.csv").start(1, Streams(0))
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="is not a text file"):
        TraceReplay(tmp_path / "bad.csv").start(1, Streams(0))
    with pytest.raises(ScenarioError, match=r"churn\.repeat_s: 9\.0 is not allowed: .* ends at 10"):
        recorded(tmp_path, "0,1,10\n", repeat_s=9).start(1, Streams(0))


def test_a_wrong_file_is_found_before_a_run_wherever_it_stands(tmp_path: Path) -> None:
    churn = recorded(tmp_path, "0,5,1\n")
    for deep, one in enumerate((churn, FlashCrowd(rest=churn), FlashCrowd(rest=FlashCrowd(rest=churn)))):
        where = r"churn\." + deep * r"rest\."
        with pytest.raises(ScenarioError, match=rf"^{where}path: .* line 2: '0,5,1' is not a node number"):
            ds.Scenario(nodes=3, churn=one).check()
    ds.Scenario(nodes=3, churn=recorded(tmp_path, "0,1,5\n")).check()


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    churn = recorded(tmp_path, "0,0,1\n")
    assert churn.start(1, Streams(0)).tolist() == [True]
    recorded(tmp_path, "0,10,11\n")
    assert churn.start(1, Streams(0)).tolist() == [False]


# -- arrivals and departures ------------------------------------------------------------------------------------------------


def test_newcomers_arrive_as_a_poisson_process_in_order() -> None:
    n = 3000
    churn = Permanent(present=0.2, arrivals_per_hour=3600)
    here = churn.start(n, Streams(1))
    arrives = churn.periods(0, here, np.zeros(n), Streams(1))[~here]
    gaps = np.diff(arrives)
    assert (gaps > 0).all()
    assert stats.kstest(gaps, stats.expon(scale=1.0).cdf).pvalue > 0.01
    assert np.isinf(churn.periods(0, here, np.zeros(n), Streams(1))[here]).all()


# Stutzbach & Rejaie (2006): shapes of the Weibull fits of gaps between arrivals in three swarms.
@pytest.mark.parametrize(("swarm", "shape"), [("redhat", 0.53), ("debian", 0.79), ("flatout", 0.62)])
def test_gaps_between_newcomers_are_weibull_as_measured(swarm: Any, shape: float) -> None:
    n = 4000
    churn = Permanent(present=0.2, arrivals_per_hour=3600, measured=swarm)
    here = churn.start(n, Streams(1))
    arrives = churn.periods(0, here, np.zeros(n), Streams(1))[~here]
    gaps = np.diff(arrives)
    assert (gaps > 0).all()
    law = stats.weibull_min(shape, scale=1 / special.gamma(1 + 1 / shape))
    assert stats.kstest(gaps, law.cdf).pvalue > 0.01
    assert stats.kstest(gaps, stats.expon().cdf).pvalue < 1e-3
    own = Permanent(present=0.2, arrivals_per_hour=3600, measured=swarm, arrival_shape=shape)
    assert (own.periods(0, here, np.zeros(n), Streams(1))[~here] == arrives).all()


def test_the_first_newcomer_is_awaited_by_whoever_looks_in() -> None:
    # In equilibrium the mean time to the next arrival is E[gap^2] / 2 E[gap], whatever has been; of shape 0.62 it is 1.79 gaps.
    churn, here = Permanent(present=0.0, arrivals_per_hour=3600, measured="flatout"), np.zeros(1, bool)
    first = [churn.periods(0, here, np.zeros(1), Streams(seed))[0] for seed in range(2000)]
    k = 0.62
    wanted = special.gamma(1 + 2 / k) / (2 * special.gamma(1 + 1 / k) ** 2)
    assert np.mean(first) == pytest.approx(wanted, abs=4 * np.std(first) / math.sqrt(2000))
    assert wanted > 1.5


@pytest.mark.parametrize("measured", [None, "redhat"])
def test_size_follows_the_infinite_server_queue(measured: Any) -> None:
    n, stay, rate = 6000, 1000.0, 2.0  # arrivals a second
    churn = Permanent(present=0.25, arrivals_per_hour=3600 * rate, mean_stay_s=stay, measured=measured)
    nodes, clock = alone(n, churn, seed=2)
    began = sum(nodes.online[:-1])
    for t in (200.0, 800.0, 2000.0):  # 4000 of 4500 newcomers have come by then
        clock.run(t)
        wanted = began * math.exp(-t / stay) + rate * stay * (1 - math.exp(-t / stay))
        # Bursts spread more than a Poisson process: up to gaps' squared coefficient of variation, 4.5 with this shape.
        assert abs(sum(nodes.online[:-1]) - wanted) < 4 * math.sqrt(wanted * (1 if measured is None else 4.5))
    clock.run(math.inf)
    assert not any(nodes.online[:-1])
    assert max(nodes.session) == 1  # nobody returned


def test_a_flash_crowd_comes_and_goes() -> None:
    n, ramp, stay = 8000, 100.0, 300.0
    churn = FlashCrowd(share=0.5, at_s=50.0, ramp_s=ramp, mean_stay_s=stay)
    nodes, clock = alone(n, churn, seed=1)
    rest = sum(nodes.online[:-1])
    crowd = n - rest
    for t in (50.0, 80.0, 150.0, 300.0, 1000.0):
        clock.run(t)
        x = t - 50.0
        share = stay / ramp * (1 - math.exp(-min(x, ramp) / stay)) * math.exp(-max(x - ramp, 0) / stay)
        found = (sum(nodes.online[:-1]) - rest) / crowd
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / crowd) + 1e-9
    clock.run(math.inf)
    assert sum(nodes.online[:-1]) == rest


def test_crowds_within_crowds_are_drawn_apart() -> None:
    # Were both drawn alike, the inner crowd would be those of the outer one, who come with that: no second wave.
    n, online = 20_000, np.zeros(20_000, bool)
    inner = FlashCrowd(share=0.5, at_s=1000, ramp_s=60, mean_stay_s=300)
    both = FlashCrowd(share=0.5, at_s=100, ramp_s=60, mean_stay_s=300, rest=inner)
    comes = both.periods(0, online, np.zeros(n), Streams(1))
    assert np.isinf(comes).mean() == pytest.approx(0.25, abs=0.02)
    assert ((comes >= 1000) & (comes < 1060)).mean() == pytest.approx(0.25, abs=0.02)
    alone_, stays = inner.periods(0, online, np.zeros(n), Streams(1)), both.periods(1, ~online, comes, Streams(1))
    second = comes >= 1000
    assert (comes[second] == alone_[second]).all()  # a crowd around it shifts nobody's draws
    lone = FlashCrowd(share=0.5, at_s=100, ramp_s=60, mean_stay_s=300)
    first = comes < 1000
    assert (stays[second] == inner.periods(1, ~online, comes, Streams(1))[second]).all()
    assert (comes[first] != lone.periods(0, online, np.zeros(n), Streams(1))[first]).any()
    assert abs(stats.spearmanr(stays[first], comes[first]).statistic) < 0.06


def test_the_rest_of_a_flash_crowd_keeps_its_own_churn() -> None:
    plain, crowded = (alone(60, c, seed=4)[0] for c in (Exponential(), FlashCrowd(share=0.3, rest=Exponential())))
    crowd = FlashCrowd(share=0.3)._crowd(60, Streams(4))
    assert [here for here, c in zip(plain.online, crowd, strict=False) if not c] == [
        here for here, c in zip(crowded.online, crowd, strict=False) if not c
    ]
    lengths = [
        c.periods(3, np.ones(60, bool), np.zeros(60), Streams(4))
        for c in (Exponential(), FlashCrowd(share=0.3, rest="exponential"))
    ]
    assert (lengths[0][~crowd] == lengths[1][~crowd]).all()
    assert np.isinf(lengths[1][crowd]).all()
