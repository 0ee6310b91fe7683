"""What single links carry: drawn, or from a file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import decai_sim as ds
from decai_sim.errors import ScenarioError
from decai_sim.seeding import Streams
from decai_sim.world import Internet, Mix, World
from decai_sim.world.capacities import Capacities
from decai_sim.world.link_rates import Alike, Lognormal, Table


def test_lognormal_capacities_follow_their_law_and_are_the_same_both_ways() -> None:
    rates = Lognormal(median_bps=3e6, sigma=0.7).links(200, Streams(4))
    low, high = np.triu_indices(200, 1)
    there, back = rates.bps(low, high), rates.bps(high, low)
    assert (there == back).all()
    assert stats.kstest(there, stats.lognorm(s=0.7, scale=3e6).cdf).pvalue > 0.01
    assert (Lognormal(median_bps=5.0, sigma=0).links(3, Streams(1)).bps(low[:9], high[:9]) == 5).all()


def test_another_seed_gives_other_capacities() -> None:
    ends = np.arange(9), np.arange(1, 10)
    one, other = (Lognormal().links(10, Streams(seed)).bps(*ends) for seed in (1, 2))
    assert (one != other).all()


def table(folder: Path, text: str) -> Path:
    path = folder / "links.csv"
    path.write_text(text)
    return path


def test_a_table_holds_for_each_direction_by_itself(tmp_path: Path) -> None:
    path = table(tmp_path, "src, dst, bps\n0,1,2e6\n\n1,0,5e5\n-1,2,7\n")
    src, dst = np.array([0, 1, -1, 2, 0, 3]), np.array([1, 0, 2, -1, 2, 2])
    assert Table(path).links(4, Streams(1)).bps(src, dst).tolist() == [2e6, 5e5, 7, math.inf, math.inf, math.inf]
    assert Table(path, default_bps=9).links(4, Streams(1)).bps(src, dst).tolist() == [2e6, 5e5, 7, 9, 9, 9]
    empty = Table(table(tmp_path, "src,dst,bps\n"), default_bps=9).links(4, Streams(1))
    assert empty.bps(src, dst).tolist() == [9] * 6


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1 must be src,dst,bps"),
        ("a,b,bps\n", "line 1 must be src,dst,bps"),
        ("src,dst,bps\n0,1,0\n", "line 2: '0,1,0' is not two node numbers and bits per second above 0"),
        ("src,dst,bps\n0,1,inf\n", "line 2: '0,1,inf' is not two node numbers and bits per second above 0"),
        ("src,dst,bps\n0,1\n", "line 2: '0,1' is not two node numbers and bits per second above 0"),
        ("src,dst,bps\n0,x,5\n", "line 2: '0,x,5' is not two node numbers and bits per second above 0"),
        ("src,dst,bps\n0,1,5\n0,4,5\n", "line 3: there is no node 4 among 4"),
        ("src,dst,bps\n2,2,5\n", "line 2: a node has no link to itself"),
        ("src,dst,bps\n0,1,5\n0,1,6\n", "line 3: the link 0,1 is there already"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = table(tmp_path, text)
    for use in (lambda: Table(path).links(4, Streams(1)), lambda: Internet(link_bps=Table(path)).check(4)):
        with pytest.raises(ScenarioError) as caught:
            use()
        assert str(caught.value) == f"network.link_bps.path: {str(path)!r} is not allowed: {reason}"


def test_a_table_that_is_not_there_is_refused_before_the_run(tmp_path: Path) -> None:
    scenario = ds.Scenario(nodes=4, network=Internet(link_bps=Table(tmp_path / "none.csv")))
    with pytest.raises(ScenarioError, match=r"network\.link_bps\.path: .*none\.csv' is not allowed: No such file"):
        scenario.check()


def test_links_have_slots_of_their_own_however_many_there_are() -> None:
    n = 60
    links = Capacities(Alike(8.0), n)
    src, dst = (ends.ravel() for ends in np.meshgrid(np.arange(-1, n - 1), np.arange(-1, n - 1)))
    some = links.slots(src[:50], dst[:50])
    every = links.slots(src, dst)
    assert sorted(every.tolist()) == list(range(n * n))
    assert every[:50].tolist() == some.tolist()
    assert links.slot(3, -1) == every[(src == 3) & (dst == -1)][0]
    assert (links.s_per_byte[every] == 1).all()
    links.free_s[every] = 5.0
    links.clear(-1)
    assert links.free_s[every[src == -1]].tolist() == [0.0] * n
    assert (links.free_s[every[src != -1]] == 5).all()


def test_a_world_without_limits_has_no_queues_at_links() -> None:
    for network, there_are in ((Internet(), False), (Internet(link_bps=1e6), True), (Internet(link_bps=Lognormal()), True)):
        assert (World(3, network, None, Mix(laptop=1), Streams(1)).links.capacities is not None) == there_are
