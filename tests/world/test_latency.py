"""Latency models, against their laws, the published tables, and files that people write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

import decai_sim as ds
from decai_sim import testing
from decai_sim.component import _FAMILIES
from decai_sim.errors import ScenarioError, explain
from decai_sim.seeding import Counter, Streams
from decai_sim.world.latency import Constant, Delays, Geographic, Latency, Lognormal, Matrix, Pareto, RegionMatrix
from decai_sim.world.regions import REGIONS

AWS, SIX = REGIONS["aws"].names, REGIONS["bitcoin-2019"].names


def lay(latency: Latency, n: int = 2000, names: tuple[str, ...] = SIX, seed: int = 1) -> Delays:
    """``n`` nodes and a server, in one region after the other."""
    return latency.links(np.array([names[i % len(names)] for i in range(n + 1)]), Streams(seed))


def many(delays: Delays, n: int = 2000, count: int = 20_000) -> np.ndarray:
    """Latencies of different links."""
    codes = np.random.default_rng(0).choice(n * n, count, replace=False)
    src, dst = codes // n, codes % n
    return delays.bases_s(src[src < dst], dst[src < dst])


# -- every model --------------------------------------------------------------------------------------------------------------

MODELS = [
    *(Constant(), Lognormal(), Pareto(), Geographic(), Geographic(radius_km=0)),
    *(RegionMatrix(table="bitcoin-2015"), RegionMatrix(one_way=True), Matrix(**Matrix.examples[0])),
]


@pytest.mark.parametrize("latency", MODELS, ids=repr)
@given(src=st.integers(-1, 39), dst=st.integers(-1, 39), seed=st.integers(0, 5))
def test_a_link_has_one_latency_whoever_asks_and_however(latency: Latency, src: int, dst: int, seed: int) -> None:
    one, other = lay(latency, 40, seed=seed), lay(latency, 40, seed=seed)
    assert one.base_s(src, dst) == other.base_s(dst, src) == one.base_s(src, dst) > 0
    together = one.bases_s(np.array([dst, src]), np.array([src, dst]))
    assert together == pytest.approx([one.base_s(src, dst)] * 2, rel=1e-12)


@pytest.mark.parametrize("latency", [Lognormal(), Pareto(), RegionMatrix(), Geographic()], ids=repr)
def test_another_seed_is_another_world(latency: Latency) -> None:
    assert lay(latency, seed=1).base_s(0, 1) != lay(latency, seed=2).base_s(0, 1)


# -- laws ---------------------------------------------------------------------------------------------------------------------


def test_lognormal_latencies_are_lognormal() -> None:
    draws = many(lay(Lognormal(median_s=0.04, sigma=0.7)))
    assert stats.kstest(draws, stats.lognorm(0.7, scale=0.04).cdf).pvalue > 0.01


def test_pareto_latencies_are_pareto() -> None:
    draws = many(lay(Pareto(least_s=0.02, shape=3.5)))
    assert stats.kstest(draws, stats.pareto(3.5, scale=0.02).cdf).pvalue > 0.01
    assert draws.mean() == pytest.approx(0.02 * 3.5 / 2.5, rel=0.02)


def test_a_cell_of_one_s_own_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_FAMILIES, "latency", dict(_FAMILIES["latency"]))

    class HomeAndAway(Latency):
        """Twenty milliseconds at home, up to a hundred and fifty elsewhere."""

        def one_way_s(self, src_region: np.ndarray, dst_region: np.ndarray, u: np.ndarray) -> np.ndarray:
            return np.where(src_region == dst_region, 0.02, 0.1 + 0.05 * u)

    testing.check(HomeAndAway())
    delays = lay(HomeAndAway())
    assert delays.base_s(0, 6) == 0.02
    assert 0.1 < delays.base_s(0, 7) < 0.15
    assert ds.Scenario(network={"kind": "internet", "latency": "home_and_away"}).network.latency == HomeAndAway()


# -- tables -------------------------------------------------------------------------------------------------------------------


def pairs(names: tuple[str, ...], n: int) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    k = len(names)
    for a in range(k):
        for b in range(a, k):
            src, dst = (grid.ravel() for grid in np.meshgrid(np.arange(a, n, k), np.arange(b, n, k)))
            keep = src < dst if a == b else src != dst
            yield a, b, src[keep], dst[keep]


@pytest.mark.parametrize(("table", "one_way"), [("bitcoin-2015", False), ("bitcoin-2019", True), ("aws", False)])
def test_the_mean_between_two_regions_is_the_tables(table: Any, one_way: bool) -> None:
    names = REGIONS[table].names
    delays = lay(RegionMatrix(table=table, one_way=one_way), 1200, names)
    for a, b, src, dst in pairs(names, 1200):
        mean_ms = REGIONS[table].latency_ms[a][b]
        shape = 20 if table == "aws" else 0.2 * mean_ms
        draws_ms = delays.bases_s(src, dst) * (1000 if one_way else 2000)
        # The tail of a shape of 2.5 or less has no usable variance, so its mean takes forever to settle.
        if shape > 2.5:
            error = draws_ms.std() / math.sqrt(len(draws_ms))
            assert abs(draws_ms.mean() - mean_ms) < 5 * error + 0.01 * mean_ms, (names[a], names[b])
        pareto = stats.pareto(shape, scale=mean_ms * (1 - 1 / shape))
        assert pareto.mean() == pytest.approx(mean_ms)
        assert stats.kstest(draws_ms[:3000], pareto.cdf).pvalue > 1e-4, (names[a], names[b])


def test_latencies_of_the_default_internet_are_pinned() -> None:
    # A change here changes every published result on this network.
    delays = RegionMatrix().links(np.array(["NA", "EU", "AP", "EU"]), Streams(7))
    u = Streams(7).counter("latency")
    assert delays.base_s(0, 1) == (124 - 5) / u(0, 1) ** (1 / (0.2 * 124)) / 2000
    assert delays.base_s(2, -1) == (237 - 5) / u(-1, 2) ** (1 / (0.2 * 237)) / 2000
    assert [round(delays.base_s(*ends), 9) for ends in ((0, 1), (0, 2), (2, -1))] == [
        *(0.063272987, 0.10700662, 0.117848729),
    ]


def test_the_aws_table_is_the_measured_one() -> None:
    table = np.array(REGIONS["aws"].latency_ms)
    at = {name: i for i, name in enumerate(AWS)}
    assert (table == table.T).all()
    for a, b, rtt_ms in (
        *(("Virginia", "Oregon", 64), ("Virginia", "Tokyo", 146), ("Oregon", "São Paulo", 174), ("São Paulo", "Frankfurt", 204)),
        *(("Frankfurt", "Bahrain", 87), ("Bahrain", "Mumbai", 35), ("Cape Town", "Sydney", 411), ("Mumbai", "Singapore", 54)),
        *(("Singapore", "Tokyo", 69), ("Tokyo", "Sydney", 104), ("Sydney", "Virginia", 199), ("Frankfurt", "Sydney", 249)),
    ):
        assert table[at[a], at[b]] == rtt_ms
    assert ((np.diag(table) >= 1) & (np.diag(table) <= 4)).all()


# -- distances ----------------------------------------------------------------------------------------------------------------


def test_distance_is_the_great_circles() -> None:
    # Frankfurt to Singapore: the angle between unit vectors, which is not how the model computes it.
    def unit(lat: float, lon: float) -> np.ndarray:
        lat, lon = math.radians(lat), math.radians(lon)
        return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])

    km = 6371.0088 * math.acos(float(unit(50.11, 8.68) @ unit(1.35, 103.82)))
    assert km == pytest.approx(10_258, abs=5)
    delays = Geographic(radius_km=0, detour=1.5, access_s=0.003).links(np.array(["EU", "AP", "NA"]), Streams(1))
    assert delays.base_s(0, 1) == pytest.approx(km * 1.5 / (299_792.458 * 2 / 3) + 0.006, rel=1e-9)


def test_nodes_are_spread_evenly_over_their_disc() -> None:
    delays = Geographic(radius_km=800, detour=1, access_s=1e-9).links(np.full(4001, "EU"), Streams(3))
    server = np.full(4000, -1)
    km = delays.bases_s(np.arange(4000), server) * 299_792.458 * 2 / 3
    assert km.max() < 800.001
    # Even on a disc: the squared distance is uniform (the Earth's curvature changes that by less than 1 part in 500 here).
    assert stats.kstest((km / 800) ** 2, "uniform").pvalue > 0.01


def test_the_default_detour_is_what_the_aws_table_says() -> None:
    straight = Geographic(detour=1, radius_km=0, access_s=1e-12).links(np.array(AWS), Streams(1))
    table = REGIONS["aws"].latency_ms
    ratios = [table[a][b] / 2000 / straight.base_s(a, b) for a in range(10) for b in range(a)]
    assert np.median(ratios) == pytest.approx(1.67, abs=0.01)
    assert np.quantile(ratios, [0.1, 0.9]) == pytest.approx([1.3, 2.3], abs=0.05)
    assert min(ratios) > 1.0  # nothing is faster than light in fibre
    assert abs(Geographic().detour - np.median(ratios)) < 0.05


# -- matrices that people bring ----------------------------------------------------------------------------------------------


def csv(tmp_path: Path, text: str) -> Matrix:
    path = tmp_path / "rtt.csv"
    path.write_text(text, encoding="utf-8")
    return Matrix(path=path)


def test_a_matrix_between_nodes_has_the_server_last(tmp_path: Path) -> None:
    regions = np.array(["EU", "EU", "EU"])
    for matrix in (Matrix(ms=((0, 10, 20), (10, 0, 40), (20, 40, 0))), csv(tmp_path, "0,10,20\n10,0,40\n20,40,0\n")):
        delays = matrix.links(regions, Streams(1))
        assert [delays.base_s(0, 1), delays.base_s(-1, 0), delays.base_s(1, -1)] == [0.01, 0.02, 0.04]
        with pytest.raises(ScenarioError, match=r"^network\.latency\.(ms|path): 3 rows are not allowed: 4 are needed"):
            matrix.links(np.array(["EU"] * 4), Streams(1))


def test_the_two_directions_are_averaged_and_round_trips_halved() -> None:
    delays = Matrix(ms=((0, 10), (30, 0)), round_trip=True).links(np.array(["EU", "NA"]), Streams(1))
    assert delays.base_s(0, 1) == delays.base_s(1, 0) == 0.01


@pytest.mark.parametrize("text", ["EU,NA\n4,90\n90,6\n", "region,EU,NA\nEU,4,90\nNA,90,6\n", "\ufeff EU , NA \n\n4,90\n90,6"])
def test_a_header_names_regions(tmp_path: Path, text: str) -> None:
    delays = csv(tmp_path, text).links(np.array(["NA", "EU", "NA"]), Streams(1))
    assert [delays.base_s(0, 1), delays.base_s(0, -1)] == [0.09, 0.006]
    with pytest.raises(ScenarioError, match="its table has no region 'SA'"):
        csv(tmp_path, text).links(np.array(["NA", "SA"]), Streams(1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("0,1\n1,0\n2,2\n", "must be square, but has 3 rows, and 2 entries in row 1"),
        ("0,1\n1\n", "must be square, but has 2 rows, and 1 entries in row 2"),
        ("0,1\n0,0\n", "row 2, column 1 is 0; latencies must be above 0 ms"),
        ("0,-3\n1,0\n", "row 1, column 2 is -3;"),
        ("0,1\n1,much\n", "row 2 has 'much', which is not a number"),
        ("0,1\n1,inf\n", "row 2 has 'inf', which is not a number"),
        ("EU,NA\n0,1\n1,2\n", "row 1, column 1 is 0"),
        ("EU,EU\n1,1\n1,2\n", "a region is named twice"),
        ("EU,NA\n", "the table is empty"),
        ("EU,NA,SA\n1,1\n1,2\n", "has 2 rows for 3 regions"),
        ("0,x\n1,0\n", "row 1 has 'x', which is not a number"),
        ('0,"1\n1,0', "which is not a number"),
    ],
)
def test_a_file_that_is_no_matrix_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    matrix = csv(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        matrix.links(np.array(["EU", "NA"]), Streams(1))
    assert str(caught.value).startswith(f"network.latency.path: {str(matrix.path)!r} is not allowed: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_picture_and_a_wrong_header_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="No such file"):
        Matrix(path=tmp_path / "none.csv").links(np.array(["EU"]), Streams(1))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ScenarioError, match="is not a text file"):
        Matrix(path=tmp_path / "picture.png").links(np.array(["EU"]), Streams(1))
    other = csv(tmp_path, "EU,NA\n4,90\n90,6\n").path
    with pytest.raises(ScenarioError, match="its first line, 'EU, NA', does not name the regions 'EU, SA'"):
        Matrix(path=other, regions=("EU", "SA")).links(np.array(["EU"]), Streams(1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give either ms, the table itself, or path"),
        ({"ms": [[0, 1], [1, 0]], "path": "a.csv"}, "give either ms"),
        ({"ms": []}, "the table is empty"),
        ({"ms": [[0, 1], [1, 0], [1, 1]]}, "must be square"),
        ({"ms": [[0, 1], [0, 0]]}, "row 2, column 1 is 0"),
        ({"ms": [[1, 1], [1, 1]], "regions": ["EU"]}, "has 2 rows for 1 regions"),
        ({"ms": [[1, 1], [1, 1]], "regions": ["EU", "EU"]}, "named twice"),
        ({"ms": [[1, 1], [1, 1]], "regions": ["EU", "NA"]}, "its table has no region 'SA', where nodes may be"),
        ({"ms": [[1, "x"], [1, 1]]}, "network.latency.ms.0.1: 'x' is not allowed"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused_in_the_scenario(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ds.Scenario(network={"kind": "internet", "latency": {"kind": "matrix", **fields}})
    line = explain(caught.value)
    assert line.startswith("network.latency")
    assert message in line


# -- counters -----------------------------------------------------------------------------------------------------------------


@given(
    key=st.integers(0, 2**64 - 1),
    rows=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=5),
)
def test_counters_give_arrays_the_numbers_they_give_one_by_one(key: int, rows: list[tuple[int, int]]) -> None:
    counter = Counter(key)
    a, b = np.array(rows, np.int64).T
    assert counter.array(a, b).tolist() == [counter(*row) for row in rows]
    assert counter.array(a[0], b).tolist() == [counter(rows[0][0], row[1]) for row in rows]
    assert counter.array(7, b[:, None]).shape == (len(rows), 1)
    assert counter.array(a).tolist() == [counter(row[0]) for row in rows]
