"""Failure detectors: how soon, how often wrongly, and at what price."""

from __future__ import annotations

import math
from typing import Any

import pytest

from decai_sim.seeding import Streams
from decai_sim.world import Crash, Exponential, Ideal, Internet, Mix, World
from decai_sim.world.faults import install_all
from decai_sim.world.heartbeats import Heartbeats
from decai_sim.world.swim import Swim


def lossy(n: int, loss: float, seed: int = 1) -> World:
    return World(n, Internet(loss=loss, jitter=0.01), None, Mix(laptop=1), Streams(seed))


def ideal(n: int, seed: int = 1, churn: Any = None) -> World:
    return World(n, Ideal(), churn, Mix(laptop=1), Streams(seed))


def delays(together: bool, seeds: int = 3, n: int = 60, crashes: int = 30) -> list[float]:
    """Periods from a crash, just before a period begins, to its first detection."""
    found: list[float] = []
    for seed in range(seeds):
        w = ideal(n, seed)
        install_all([Crash(nodes=[i], at_s=10 * i + 10 - 1e-9, for_s=9.5) for i in range(crashes)], w)
        swim = Swim(w, suspicion_periods=1000, together=together)
        swim.start()
        w.run(10.0 * crashes + 10)
        frame = swim.detections()
        assert (~frame.wrong).sum() >= frame["first"].sum() > 0.97 * crashes
        found += frame[frame["first"]].delay_s.tolist()
    return found


def test_first_detection_takes_e_over_e_minus_one_periods() -> None:
    # Nobody probes it in a period with probability (1 - 1/(n-1))^(n-1), about 1/e: geometric.
    found = delays(together=True)
    p = 1 - math.exp(-1)
    mean, error = sum(found) / len(found), math.sqrt((1 - p) / p**2 / len(found))
    assert abs(mean - math.e / (math.e - 1)) < 4 * error
    assert all(abs(delay - round(delay)) < 1e-6 for delay in found)
    assert found.count(found[0]) < len(found)


def test_first_detection_with_periods_of_one_s_own_takes_two() -> None:
    # Probes come to it like a Poisson process of one per period; the first fails a period after it was sent.
    found = delays(together=False)
    assert abs(sum(found) / len(found) - 2) < 4 / math.sqrt(len(found))
    assert min(found) >= 1 - 1e-9


@pytest.mark.parametrize(("loss", "proxies"), [(0.1, 0), (0.2, 0), (0.2, 1), (0.2, 3), (0.05, 2)])
def test_false_suspicions_are_those_of_the_closed_form(loss: float, proxies: int) -> None:
    # A ping and its ack get through with (1 - p)^2, and by way of another with (1 - p)^4.
    w = lossy(80, loss)
    swim = Swim(w, period_s=20, proxies=proxies, timeout_s=6, suspicion_periods=1e6)
    swim.start()
    w.run(20 * 50)
    frame = swim.detections()
    wanted = (1 - (1 - loss) ** 2) * (1 - (1 - loss) ** 4) ** proxies
    assert swim.probes == 80 * 50
    assert frame.wrong.all()
    assert abs(len(frame) / swim.probes - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / swim.probes)


def test_without_loss_nobody_is_suspected() -> None:
    w = lossy(60, 0.0)
    swim = Swim(w, period_s=20, timeout_s=6)
    swim.start()
    w.run(1000)
    assert len(swim.detections()) == 0
    assert swim.probes == 60 * 50
    load = swim.load().set_index("kind")
    assert load.messages.to_dict() == {"swim_ping": 60 * 51, "swim_ack": 60 * 50}


def test_suspicion_that_can_be_denied_spares_the_living() -> None:
    deaths = {}
    for periods in (0.0, 8.0):
        w = lossy(60, 0.1)
        swim = Swim(w, period_s=20, proxies=2, timeout_s=6, suspicion_periods=periods)
        swim.start()
        w.run(20 * 40)
        frame = swim.detections()
        deaths[periods] = (frame.state == "dead").sum()
        assert (frame.state == "suspect").sum() > 30
    assert deaths[0.0] > 30
    assert deaths[8.0] == 0


def test_everybody_learns_of_a_death_by_rumour() -> None:
    w = ideal(100)
    install_all([Crash(nodes=[7], at_s=20.5)], w)
    swim = Swim(w, suspicion_periods=5)
    swim.start()
    w.run(20)
    assert swim.share_believing(7, "alive") == 1.0
    w.run(60)
    assert swim.share_believing(7, "dead") == 1.0
    assert all(swim.share_believing(other, "alive") == 1.0 for other in range(100) if other != 7)
    frame = swim.detections()
    died = frame[frame.state == "dead"].t_s.min()
    suspected = frame[frame.state == "suspect"].t_s.min()
    assert suspected + 5 <= died <= suspected + 5.1
    assert frame.t_s.max() < 35  # rumour ends what each would otherwise have to find out by itself


def test_who_returns_is_taken_back() -> None:
    w = ideal(50)
    install_all([Crash(nodes=[7], at_s=10.5, for_s=40)], w)
    swim = Swim(w, suspicion_periods=3)
    swim.start()
    w.run(50)
    assert swim.share_believing(7, "dead") == 1.0
    w.run(80)
    assert swim.share_believing(7, "alive") == 1.0
    assert swim.belief(7, 8) == "alive"


def test_probes_under_churn_are_never_answered_by_the_absent() -> None:
    w = ideal(40, churn=Exponential(mean_online_s=60, mean_offline_s=60))
    swim = Swim(w, suspicion_periods=2)
    swim.start()
    w.run(300)
    frame = swim.detections()
    assert frame["first"].sum() > 40
    truth = frame[~frame.wrong]
    assert (truth.delay_s >= 0).all()
    assert len(truth) > 5 * frame.wrong.sum()


def test_load_per_node_is_constant() -> None:
    rates = []
    for n in (30, 120):
        w = ideal(n)
        swim = Swim(w)
        swim.start()
        w.run(30)
        rates.append(swim.load().per_node_and_period.sum())
    assert rates[0] == pytest.approx(rates[1], rel=0.01)
    assert rates[0] == pytest.approx(2.0, rel=0.05)


def test_everybody_is_probed_once_in_each_round_of_the_list() -> None:
    w = ideal(12)
    swim = Swim(w)
    swim.start()
    w.run(10.5)
    messages = w.trace.messages()
    pings = messages[messages.kind == "swim_ping"]
    for node in range(12):
        assert sorted(pings[pings.src == node].dst) == [other for other in range(12) if other != node]


def test_the_same_seed_gives_the_same_history() -> None:
    digests = []
    for seed in (1, 1, 2):
        w = lossy(30, 0.1, seed)
        Swim(w).start()
        w.run(20)
        digests.append(w.trace.digest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "wrong", [{"period_s": 0}, {"timeout_s": 2.0}, {"proxies": -1}, {"suspicion_periods": -1}, {"period_s": math.nan}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: .* is not allowed"):
        Swim(ideal(3), **wrong)


@pytest.mark.parametrize("n", [1, 2])
def test_tiny_groups(n: int) -> None:
    w = ideal(n)
    swim = Swim(w)
    swim.start()
    w.run(10)
    assert swim.probes == (0 if n == 1 else 20)
    with pytest.raises(ValueError, match="it has begun already"):
        swim.start()


# -- heartbeats -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "timeouts", "m"), [(0.1, 1.5, 1), (0.3, 2.5, 2), (0.3, 3.5, 3)])
def test_heartbeats_wrong_suspicions_are_those_of_the_closed_form(loss: float, timeouts: float, m: int) -> None:
    # One heartbeat that arrives, then m that do not.
    w = lossy(80, loss)
    detector = Heartbeats(w, interval_s=20, timeout_s=20 * timeouts)
    detector.start()
    w.run(20 * 100)
    frame = detector.detections()
    wanted = (1 - loss) * loss**m
    assert frame.wrong.all()
    assert detector.sent == 80 * 100
    # The last m of each node's heartbeats have not had the time.
    counted = detector.sent - m * 80
    assert abs(len(frame) / counted - wanted) < 4 * math.sqrt(wanted / counted)


def test_heartbeats_find_a_crash_after_the_timeout() -> None:
    w = ideal(40)
    install_all([Crash(nodes=[i], at_s=100) for i in range(20)], w)
    detector = Heartbeats(w, interval_s=10, timeout_s=25)
    detector.start()
    w.run(300)
    frame = detector.detections()
    assert sorted(frame.node) == list(range(20))
    assert frame["first"].all()
    assert not frame.wrong.any()
    assert ((frame.delay_s > 15) & (frame.delay_s <= 25)).all()


def test_heartbeats_of_one_who_returns() -> None:
    w = ideal(2)
    install_all([Crash(nodes=[0], at_s=50, for_s=50), Crash(nodes=[0], at_s=200)], w)
    detector = Heartbeats(w, interval_s=10)
    detector.start()
    w.run(400)
    frame = detector.detections()
    assert frame.node.tolist() == [0, 0]
    assert (frame.delay_s <= 25).all()
    assert frame["first"].all()


@pytest.mark.parametrize("wrong", [{"interval_s": 0.0}, {"timeout_s": -1.0}])
def test_heartbeats_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="interval_s, timeout_s"):
        Heartbeats(ideal(2), **wrong)
