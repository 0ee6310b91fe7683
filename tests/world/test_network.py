"""Links, measured against the tables they are drawn from."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from decai_sim.seeding import Streams
from decai_sim.world import Ideal, Internet
from decai_sim.world.network import REGIONS, Paths

INF = np.full(1, np.inf)


def lay(n: int, network: Internet | Ideal | None = None, seed: int = 1, cap: float = math.inf) -> Paths:
    return (network or Internet()).paths(np.full(n, cap), np.full(n, cap), Streams(seed))


def test_an_ideal_network_delays_nothing() -> None:
    paths = lay(3, Ideal())
    assert paths.latency_s(0, 1, 0) == 0.0
    assert not paths.loses(0, 1, 0)
    assert np.isinf(paths.upload_bps).all()
    assert len(paths.regions) == len(paths.upload_bps) == 4


def test_a_links_latency_is_kept_and_only_jitters() -> None:
    paths = lay(50, Internet(jitter=0.1))
    factors = []
    for src in range(40):
        draws = np.array([paths.latency_s(src, src + 7, k) for k in range(200)])
        assert len(set(draws.tolist())) == 200  # never exactly the same twice
        base = paths._base_s[src, src + 7]  # type: ignore[attr-defined]
        assert (draws > base).all()  # never exactly zero
        factors.append((draws / base - 1) / 0.1)
    assert stats.kstest(np.concatenate(factors), "expon").pvalue > 0.01


def test_both_directions_share_the_link_but_not_the_jitter() -> None:
    quiet = lay(10, Internet(jitter=1e-12))
    assert quiet.latency_s(2, 5, 0) == pytest.approx(quiet.latency_s(5, 2, 3), rel=1e-9)
    paths = lay(10)
    assert paths.latency_s(2, 5, 0) != paths.latency_s(5, 2, 0)


def test_looking_in_another_order_changes_nothing() -> None:
    asked = [(0, 1, 0), (1, 0, 4), (5, -1, 2), (-1, 5, 2)]
    a, b = lay(10), lay(10)
    assert [a.latency_s(*q) for q in asked] == [b.latency_s(*q) for q in reversed(asked)][::-1]


@pytest.mark.parametrize("year", ["bitcoin-2019", "bitcoin-2015"])
def test_latencies_have_the_tables_distribution_halved(year: str) -> None:
    table = REGIONS[year]
    paths = lay(1500, Internet(regions=year, jitter=1e-12))  # type: ignore[arg-type]
    names = list(table.names)
    region = [names.index(name) for name in paths.regions[:-1]]
    rng = np.random.default_rng(0)
    rtt_ms: dict[tuple[int, int], list[float]] = {}
    for a, b in rng.integers(0, 1500, (30_000, 2)).tolist():
        if a != b:
            pair = min(region[a], region[b]), max(region[a], region[b])
            rtt_ms.setdefault(pair, []).append(2000 * paths.latency_s(a, b, 0))
    tested = 0
    for (a, b), draws in rtt_ms.items():
        if len(draws) < 300:
            continue
        mean = table.latency_ms[a][b]
        pareto = stats.pareto(0.2 * mean, scale=mean - 5)
        assert pareto.mean() == pytest.approx(mean)  # the rule gives the table's mean
        # The mean of a sample is at the mercy of its tail (shape 2.2 for the shortest links); the median is not.
        spread = 1.2533 * pareto.ppf(0.5) / (0.2 * mean) / math.sqrt(len(draws))
        assert abs(np.median(draws) - pareto.median()) < 5 * spread
        assert min(draws) >= mean - 5 - 1e-6
        assert stats.kstest(draws, pareto.cdf).pvalue > 0.001
        tested += 1
    assert tested >= 6


def test_the_tables_are_simblocks() -> None:
    # NetworkConfiguration.java of SimBlock, as in shared/reference/network.md: spot checks, symmetry, and shares that sum to 1.
    t19, t15 = REGIONS["bitcoin-2019"], REGIONS["bitcoin-2015"]
    assert (t19.latency_ms[0][4], t19.latency_ms[2][3], t15.latency_ms[0][1], t15.latency_ms[4][4]) == (151, 325, 119, 9)
    assert (t19.upload_mbps[1], t19.download_mbps[5], t15.upload_mbps[0], t15.download_mbps[2]) == (20.7, 29.9, 4.7, 6.5)
    for table in (t19, t15):
        assert np.array_equal(np.array(table.latency_ms), np.array(table.latency_ms).T)
        assert sum(table.share) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("year", ["bitcoin-2019", "bitcoin-2015"])
def test_nodes_live_where_the_table_says(year: str) -> None:
    table, n = REGIONS[year], 20_000
    counts = Counter(lay(n, Internet(regions=year)).regions[:-1].tolist())  # type: ignore[arg-type]
    expected = np.array(table.share) / sum(table.share) * n
    assert stats.chisquare([counts[name] for name in table.names], expected).pvalue > 0.01


def test_rates_are_the_regions_capped_by_the_device() -> None:
    table = REGIONS["bitcoin-2019"]
    paths = lay(300, cap=12e6)
    for region, up, down in zip(paths.regions[:-1], paths.upload_bps[:-1], paths.download_bps[:-1], strict=True):
        i = table.names.index(region)
        assert up == min(table.upload_mbps[i] * 1e6, 12e6)
        assert down == min(table.download_mbps[i] * 1e6, 12e6)


def test_rates_and_the_server_can_be_set() -> None:
    paths = lay(5, Internet(upload_bps=3e6, download_bps=4e6, server_region="JP", server_bps=5e8), cap=1e6)
    assert paths.upload_bps.tolist() == [3e6] * 5 + [5e8]
    assert paths.download_bps.tolist() == [4e6] * 5 + [5e8]
    assert paths.regions[-1] == "JP"


def test_loss_is_decided_per_message() -> None:
    paths = lay(4, Internet(loss=0.5))
    fates = [paths.loses(0, 1, k) for k in range(100)]
    assert fates == [paths.loses(0, 1, k) for k in range(100)]
    assert 20 < sum(fates) < 80
    assert fates != [paths.loses(1, 0, k) for k in range(100)]
