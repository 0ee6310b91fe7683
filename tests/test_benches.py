"""Benches at the size of a toy: that they work, and say what they are to say. Nothing is asserted about time."""

from __future__ import annotations

import math

import pytest

from decai_sim.benches import byzfl_rules, defenses, peer_to_peer
from decai_sim.benches.bench import alternating, benches
from decai_sim.benches.flood import flood, flood_one_by_one, peak_memory_bytes
from decai_sim.benches.peers import bare_heap, simpy_inbox
from decai_sim.benches.world import measure
from decai_sim.component import kinds
from decai_sim.papers.rows import report
from decai_sim.world import Ring


def test_the_bench_of_the_world_gives_every_figure_of_the_design() -> None:
    rows = list(measure(nodes=200, items=2, few=50, many=400, messages=3_000, heap_events=2_000, repeats=2))
    targets = {row.name: row.target for row in rows if row.target}
    of_ways = ["≥ 0.18", "≥ 0.13", "≥ 0.18", "≥ 0.18", "≥ 0.18", "≥ 0.13", *["≥ 0.18"] * 4, "≥ 0.13"]
    assert list(targets.values()) == ["≥ 0.18", "≥ 0.13", "≥ 4", *of_ways, "≤ 1", "≤ 2", *["≥ 8"] * 6]
    assert all(math.isfinite(row.value) and row.value > 0 for row in rows)
    assert all(row.source for row in rows if row.target)
    keys = ["name", "value", "unit", "target", "meets", "source"]
    assert all(list(row) == keys for row in report(rows)["rows"])


def test_the_bench_of_learning_without_a_server_gives_every_figure_of_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decai_sim.benches.gossipy_peer.installed", lambda: False)
    rows = {row.name: row for row in peer_to_peer.measure(nodes=24, rounds=2, many=12, repeats=1)}
    assert [row.target for row in rows.values() if row.target] == ["≥ 10", "≤ 0.45", "≤ 8"]
    peak_gb = rows["peak memory of 12 nodes with softmax regression, 5 rounds"].value
    assert 0.1 < peak_gb < 4
    assert rows["D-PSGD, 24 nodes, 8 neighbours, 2 rounds"].value > 0


@pytest.mark.parametrize("other", [True, False])
def test_the_bench_of_defenses_gives_every_figure_of_the_design(other: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if other and not byzfl_rules.installed():
        pytest.skip("byzfl is not installed")
    monkeypatch.setattr(byzfl_rules, "installed", lambda: other)
    rows = list(defenses.measure(n=30, d=2_000, f=3, repeats=1))
    assert [row.target for row in rows if row.target] == ["≤ 1.3", "≤ 1.3", "≤ 1.3", "≤ 2.3", "≥ 3", "≥ 3", "≤ 3"]
    beside = [row for row in rows if "byzfl" in row.name]
    assert [math.isfinite(row.value) for row in beside] == [other, other]
    assert other or all("not installed" in row.source and row.meets is None for row in beside)
    assert all(row.value > 0 for row in rows if row not in beside)


def test_memory_is_measured_of_every_rule_that_takes_many_rows() -> None:
    found = dict(defenses.peaks(300, 20_000, 20))
    ours = {kind for kind, cls in kinds("defenses").items() if cls.__module__.startswith("decai_sim.")}
    assert ours - set(found) == {"chain", "mda", "smea"}
    assert found["clipping"] > 1.5  # a copy of the rows, and the rows


def test_benches_are_found_by_name() -> None:
    assert set(benches()) >= {"world"}
    assert all(one.name == name and one.about for name, one in benches().items())


@pytest.mark.parametrize("queueing", ["uplink", "both"])
def test_the_flood_is_the_whole_thing(queueing: str) -> None:
    done = flood(300, 3, queueing=queueing)  # type: ignore[arg-type]
    # Each of some 80 % of nodes sends each item to 7 or 8 others; of what is sent, a fifth is for nodes that are away.
    assert 0.6 * 300 * 7 * 3 < done.sent < 300 * 8 * 3
    assert 0.6 * done.sent < done.delivered < 0.9 * done.sent


def test_floods_one_by_one_are_as_large() -> None:
    # Other draws of loss and jitter along links: as many messages but for those, and for who hears of an item from whom first.
    arrays, single = flood(300, 3, mean_online_s=20.0), flood_one_by_one(300, 3)
    assert single.sent == pytest.approx(arrays.sent, rel=0.05)
    assert single.delivered == pytest.approx(arrays.delivered, rel=0.05)


def test_nodes_come_and_go_where_they_stay_as_long_as_the_run_lasts() -> None:
    assert flood(300, 3, mean_online_s=20.0).sent != flood(300, 3).sent


def test_the_flood_is_the_same_every_time() -> None:
    assert flood(200, 2).delivered == flood(200, 2).delivered


def test_peers_do_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decai_sim.benches.peers.cpu_s", lambda work: (work(), 1.0)[1])
    assert bare_heap(10, 500) == 500
    # On a ring each item comes to its origin from outside and to everybody else over both links at most: n − 1 others, and the
    # two waves meet in two messages more than are needed, or on an even ring in one.
    assert simpy_inbox(Ring().csr(9, 0), items=3, rate_per_s=1.0) == 3 * (1 + 8 + 2)


def test_turns_alternate() -> None:
    seen: list[str] = []
    turns = alternating(2, lambda: seen.append("a") or 1.0, lambda: seen.append("b") or 2.0)  # type: ignore[func-returns-value]
    assert (seen, turns) == (["a", "b", "a", "b"], [(1.0, 2.0), (1.0, 2.0)])


def test_memory_is_that_of_this_process() -> None:
    before = peak_memory_bytes()
    block = bytearray(60_000_000)
    assert before > 30_000_000
    assert peak_memory_bytes() >= max(before, len(block))
