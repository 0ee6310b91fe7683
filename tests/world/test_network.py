"""The internet as a whole: regions, rates, and what a scenario may say of it; latencies are in ``test_latency``."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

import decai_sim as ds
from decai_sim.errors import ScenarioError, explain
from decai_sim.seeding import Streams
from decai_sim.world import Ideal, Internet, link_rates
from decai_sim.world.latency import Geographic, Lognormal, RegionMatrix
from decai_sim.world.loss import Bernoulli, GilbertElliott
from decai_sim.world.network import Paths
from decai_sim.world.regions import REGIONS


def lay(n: int, network: Internet | Ideal | None = None, seed: int = 1, cap: float = math.inf) -> Paths:
    return (network or Internet()).paths(np.full(n, cap), np.full(n, cap), Streams(seed))


def test_an_ideal_network_delays_nothing() -> None:
    paths = lay(3, Ideal())
    assert paths.base_s(0, 1) == 0.0
    assert paths.bases_s(np.array([0, 1]), np.array([1, -1])).tolist() == [0, 0]
    assert (paths.jitter, paths.loss, paths.queueing, paths.queue_bytes) == (0, None, "uplink", math.inf)
    assert np.isinf(paths.upload_bps).all()
    assert len(paths.regions) == len(paths.upload_bps) == 4


def test_latencies_are_the_tables_unless_a_model_is_given() -> None:
    paths = lay(20)
    own = RegionMatrix().links(paths.regions, Streams(1))
    assert [paths.base_s(0, node) for node in range(1, 20)] == [own.base_s(0, node) for node in range(1, 20)]
    given = lay(20, Internet(latency=Lognormal(sigma=0)))
    assert given.bases_s(np.arange(19), np.arange(1, 20)) == pytest.approx([0.05] * 19)
    assert given.regions.tolist() == paths.regions.tolist()


@pytest.mark.parametrize("year", ["bitcoin-2019", "bitcoin-2015"])
def test_latencies_have_the_tables_distribution_halved(year: Any) -> None:
    table = REGIONS[year]
    paths = lay(1500, Internet(regions=year))
    names = list(table.names)
    region = np.array([names.index(name) for name in paths.regions])
    src, dst = np.random.default_rng(0).integers(0, 1500, (2, 30_000))
    src, dst = src[src != dst], dst[src != dst]
    rtt_ms = 2000 * paths.bases_s(src, dst)
    tested = 0
    for a in range(6):
        for b in range(a, 6):
            here = (np.minimum(region[src], region[dst]) == a) & (np.maximum(region[src], region[dst]) == b)
            draws, mean = rtt_ms[here], table.latency_ms[a][b]
            if len(draws) < 300:
                continue
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
    up19, down19, up15, down15 = (rates or () for t in (t19, t15) for rates in (t.upload_mbps, t.download_mbps))
    assert (up19[1], down19[5], up15[0], down15[2]) == (20.7, 29.9, 4.7, 6.5)
    for table in REGIONS.values():
        assert np.array_equal(np.array(table.latency_ms), np.array(table.latency_ms).T)
        assert sum(table.share) == pytest.approx(1.0, abs=2e-4)
        assert len(table.names) == len(table.share) == len(table.latency_ms) == len(table.cities)
        assert table.server in table.names


@pytest.mark.parametrize("year", ["bitcoin-2019", "bitcoin-2015", "aws"])
def test_nodes_live_where_the_table_says(year: Any) -> None:
    table, n = REGIONS[year], 20_000
    counts = Counter(lay(n, Internet(regions=year)).regions[:-1].tolist())
    expected = np.array(table.share) / sum(table.share) * n
    assert stats.chisquare([counts[name] for name in table.names], expected).pvalue > 0.01


def test_rates_are_the_regions_capped_by_the_device() -> None:
    table = REGIONS["bitcoin-2019"]
    assert table.upload_mbps is not None
    assert table.download_mbps is not None
    paths = lay(300, cap=12e6)
    for region, up, down in zip(paths.regions[:-1], paths.upload_bps[:-1], paths.download_bps[:-1], strict=True):
        i = table.names.index(region)
        assert up == min(table.upload_mbps[i] * 1e6, 12e6)
        assert down == min(table.download_mbps[i] * 1e6, 12e6)


def test_on_the_aws_table_devices_alone_limit_rates() -> None:
    assert lay(3, Internet(regions="aws"), cap=12e6).upload_bps.tolist() == [12e6] * 3 + [1e9]
    assert lay(3, Internet(regions="aws")).download_bps.tolist() == [math.inf] * 3 + [1e9]


def test_rates_and_the_server_can_be_set() -> None:
    paths = lay(5, Internet(upload_bps=3e6, download_bps=4e6, server_region="JP", server_bps=5e8), cap=1e6)
    assert paths.upload_bps.tolist() == [3e6] * 5 + [5e8]
    assert paths.download_bps.tolist() == [4e6] * 5 + [5e8]
    assert paths.regions[-1] == "JP"
    assert lay(1).regions[-1] == "EU"
    assert lay(1, Internet(regions="aws")).regions[-1] == "Frankfurt"


def test_what_links_need_to_know_is_handed_on() -> None:
    paths = lay(2, Internet(queueing="both", chunk_bytes=1000, retransmit=2, queue_bytes=5e4, link_bps=2e6, jitter=0.3))
    assert (paths.queueing, paths.chunk_bytes, paths.retransmit, paths.queue_bytes) == ("both", 1000, 2, 5e4)
    assert paths.link_rates is not None
    assert paths.link_rates.bps(np.array([0, -1]), np.array([1, 0])).tolist() == [2e6, 2e6]
    assert paths.jitter == 0.3
    plain = lay(2)
    assert (plain.queueing, plain.chunk_bytes, plain.retransmit, plain.queue_bytes) == ("uplink", None, 0, math.inf)
    assert (plain.link_rates, plain.jitter, plain.loss) == (None, 0.1, None)


def test_loss_is_a_rate_or_a_model() -> None:
    assert lay(1, Internet(loss=0.25)).loss == Bernoulli(p=0.25)
    bursts = GilbertElliott(p_enter=0.1)
    assert lay(1, Internet(loss=bursts)).loss == bursts
    assert Internet.model_validate({"loss": {"kind": "gilbert_elliott", "p_enter": 0.1}}) == Internet(loss=bursts)
    assert Internet.model_validate({"loss": "gilbert_elliott"}).loss == GilbertElliott()
    assert Internet(loss=0).to_config()["loss"] == 0.0


@pytest.mark.parametrize(
    "network",
    [
        Internet(loss=GilbertElliott(p_enter=0.1), latency=Geographic(radius_km=9), retransmit=3),
        Internet(regions="aws", server_region="São Paulo", loss=0.25, queueing="fair", link_bps=1e6),
        Internet(link_bps=link_rates.Lognormal(median_bps=1e6), chunk_bytes=5000),
    ],
)
def test_nested_models_come_back_from_yaml(network: Internet, tmp_path: Any) -> None:
    scenario = ds.Scenario(network=network)
    path = tmp_path / "scenario.yaml"
    path.write_text(scenario.to_yaml(), encoding="utf-8")
    again = ds.Scenario.load(path)
    assert again == scenario
    assert again.id == scenario.id
    assert scenario.but(network__loss=0.5).network.loss == 0.5
    if isinstance(network.loss, GilbertElliott):
        assert scenario.but(network__loss__p_leave=0.5).network.loss == GilbertElliott(p_enter=0.1, p_leave=0.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": 1}, "network.loss: 1 is not allowed: input should be less than 1"),
        ({"loss": "0.1"}, "network.loss.kind: '0.1' is not allowed: choose one of bernoulli, gilbert_elliott"),
        ({"loss": False}, "network.loss: False is not allowed: input should be a number"),
        ({"loss": float("nan")}, "network.loss: nan is not allowed: input should be a finite number"),
        ({"loss": [0.1]}, "network.loss: [0.1] is not allowed: input should be a valid number"),
        (
            {"loss": {"kind": "gilbert_elliott", "p_enter": 2}},
            "network.loss.p_enter: 2 is not allowed: input should be less than",
        ),
        ({"latency": "log_normal"}, "network.latency.kind: 'log_normal' is not allowed: choose one of constant, geographic, "),
        ({"latency": {"kind": "lognormal", "sigma": -1}}, "network.latency.sigma: -1 is not allowed: "),
        ({"latency": 0.1}, "network.latency: 0.1 is not allowed: "),
        (
            {"regions": "aws", "server_region": "EU"},
            "network.server_region: 'EU' is not allowed: on the table 'aws' it should be one",
        ),
        ({"server_region": "Mars"}, "network.server_region: 'Mars' is not allowed: input should be 'NA', "),
        (
            {"regions": "aws", "latency": "region_matrix"},
            "network.latency: 'region_matrix' is not allowed: its table 'bitcoin-2019' h",
        ),
        ({"queueing": "none"}, "network.queueing: 'none' is not allowed: input should be 'uplink', 'both' or 'fair'"),
        ({"chunk_bytes": 0}, "network.chunk_bytes: 0 is not allowed: "),
        ({"queue_bytes": 0}, "network.queue_bytes: 0 is not allowed: "),
        ({"retransmit": -1}, "network.retransmit: -1 is not allowed: "),
        ({"link_bps": 0}, "network.link_bps: 0 is not allowed: input should be greater than 0"),
        ({"link_bps": True}, "network.link_bps: True is not allowed: input should be a number"),
        ({"link_bps": "narrow"}, "network.link_bps.kind: 'narrow' is not allowed: choose one of lognormal, table"),
        ({"link_bps": {"kind": "lognormal", "sigma": -1}}, "network.link_bps.sigma: -1 is not allowed: "),
        (
            {"queueing": "fair", "chunk_bytes": 5},
            "network.chunk_bytes: 5 is not allowed: with queueing 'fair' nothing queues: leave it out, or choose queueing 'upl",
        ),
        (
            {"queueing": "fair", "queue_bytes": 5.0},
            "network.queue_bytes: 5.0 is not allowed: with queueing 'fair' nothing queues: leave it out, or choose queueing",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ds.Scenario(network={"kind": "internet", **fields})
    assert explain(caught.value).startswith(message)


def test_every_node_can_be_given_rates_of_its_own() -> None:
    mine = Internet(upload_bps=[1e6, 2e6, 3e6], download_bps=(5e6, 5e6, 9e6))
    caps = np.full(3, np.inf)
    paths = mine.paths(caps, caps, Streams(1))
    assert paths.upload_bps.tolist() == [1e6, 2e6, 3e6, 1e9]
    assert paths.download_bps.tolist() == [5e6, 5e6, 9e6, 1e9]
    assert Internet.model_validate(mine.model_dump()) == mine
    with pytest.raises(ScenarioError, match=r"network\.upload_bps: 3 rates are not allowed for 4 nodes"):
        mine.check(4)
    with pytest.raises(ValidationError, match=r"download_bps"):
        Internet(download_bps=[1e6, 0.0])
