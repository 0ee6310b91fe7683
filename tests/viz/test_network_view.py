"""The network view hands the browser what it was given, and says the same in Python."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import decai_sim as ds
from decai_sim.viz import NetworkView, Replay, network_view
from decai_sim.viz.network_view import MAX_LINKS
from decai_sim.viz.palette import BYZANTINE, ONLINE, STATES, shown_as

EVENTS = pd.DataFrame(
    {
        "t_s": [0.0, 0.0, 0.0, 1.0, 2.0, 3.0],
        "node": [0, 1, 2, 0, 1, 0],
        "kind": ["online", "online", "online", "job_start", "offline", "job_end"],
    }
)
PATH = (4, [[0, 1], [1, 2], [2, 3]])


@pytest.fixture
def replay() -> Replay:
    return Replay.of(EVENTS, [False, False, True, False], end_s=10.0)


@pytest.fixture
def nodes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "node": [3, 1, 2, 0],
            "region": ["Asia", "Europe", None, "Europe"],
            "device": ["phone", "laptop", "phone", "phone"],
            "byzantine": [False, False, True, False],
            "n_samples": pd.array([4, 2, pd.NA, 1], dtype="Int64"),
            "bytes_up": [30, 10, 20, 0],
        }
    )


def test_the_browser_gets_every_array_as_it_is(replay: Replay, nodes: pd.DataFrame) -> None:
    counts = np.arange(8).reshape(4, 2)
    view = NetworkView(PATH, nodes=nodes, class_counts=counts, class_names=["a", "b"], replay=replay)
    assert np.frombuffer(view.edges, "<u4").reshape(-1, 2).tolist() == PATH[1]
    assert np.frombuffer(view.degrees, "<u4").tolist() == [1, 2, 2, 1]
    assert view.about["links"] == 3
    assert np.frombuffer(view.positions, "<f4").shape == (8,)
    assert np.frombuffer(view.class_counts, "<u4").reshape(4, 2).tolist() == counts.tolist()
    assert np.frombuffer(view.initial, "u1").tolist() == [ONLINE, ONLINE, ONLINE | BYZANTINE, 0]
    assert np.frombuffer(view.change_t_s, "<f8").tolist() == [1.0, 2.0, 3.0]
    assert np.frombuffer(view.change_node, "<u4").tolist() == [0, 1, 0]
    assert np.frombuffer(view.change_state, "u1").tolist() == replay.state.tolist()
    columns = np.frombuffer(view.numbers, "<f8").reshape(-1, 4)
    assert view.about["numbers"] == ["region", "device", "n_samples", "bytes_up"]
    assert view.about["texts"] == {"region": ["Asia", "Europe"], "device": ["laptop", "phone"]}
    assert np.array_equal(columns, [[1, 1, np.nan, 0], [1, 0, 1, 1], [1, 2, np.nan, 4], [0, 10, 20, 30]], equal_nan=True)


def test_the_browser_learns_from_python_what_states_there_are() -> None:
    view = NetworkView(PATH)
    assert [(entry["name"], entry["color"]) for entry in view.legend] == [(state.name, state.color) for state in STATES]
    for byte in range(256):  # the rule by which the browser reads the legend
        first = next(i for i, s in enumerate(view.legend) if not s["bit"] or bool(byte & s["bit"]) == s["when"])
        assert first == shown_as(np.array([byte]))[0]


def test_the_table_follows_the_time(replay: Replay, nodes: pd.DataFrame) -> None:
    view = NetworkView(PATH, nodes=nodes, replay=replay)
    assert view.table()["state"].tolist() == ["online", "online", "byzantine", "offline"]
    view.t_s = 2.5
    assert {name: number for name, number in view.states().items() if number} == {"offline": 2, "training": 1, "byzantine": 1}
    table = view.table()
    assert table["state"].tolist() == ["training", "offline", "byzantine", "offline"]
    assert table["byzantine"].tolist() == [False, False, True, False]
    assert table["device"].tolist() == ["phone", "laptop", "phone", "phone"]
    assert table["n_samples"].isna().tolist() == [False, False, True, False]
    assert table["neighbours"].tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize(
    "graph",
    [
        nx.path_graph(4),
        nx.DiGraph([(1, 0), (2, 1), (1, 2), (3, 2), (3, 3)]),
        nx.to_scipy_sparse_array(nx.path_graph(4)),
        sp.csr_matrix(nx.to_numpy_array(nx.path_graph(4))),
        (4, np.array([[2, 1], [1, 2], [0, 1], [3, 2]], dtype=np.uint32)),
    ],
    ids=["networkx", "directed", "sparse array", "sparse matrix", "links"],
)
def test_a_graph_may_come_in_several_forms(graph: Any) -> None:
    assert np.frombuffer(NetworkView(graph).edges, "<u4").reshape(-1, 2).tolist() == PATH[1]


def test_of_very_many_links_the_browser_gets_those_it_draws() -> None:
    n = 1500
    every = np.stack(np.triu_indices(n, 1), axis=1)[1:]  # all but that of 0 and 1
    view = NetworkView((n, every), nodes=pd.DataFrame({"node": np.arange(n)}))
    degrees = [n - 2, n - 2, *[n - 1] * (n - 2)]
    assert view.about["links"] == len(every) == 1_124_249
    assert np.frombuffer(view.degrees, "<u4").tolist() == degrees
    assert view.table()["neighbours"].tolist() == degrees
    sent = np.frombuffer(view.edges, "<u4").reshape(-1, 2).astype(int)
    codes = sent @ [n, 1]
    assert len(np.unique(codes)) == len(sent) == MAX_LINKS
    assert np.isin(codes, every @ [n, 1]).all()
    assert np.bincount(sent.ravel(), minlength=n) == pytest.approx(np.full(n, 2 * MAX_LINKS / n), rel=0.5)  # from everywhere
    assert sum(len(value) for value in view.get_state().values() if isinstance(value, bytes | memoryview)) < 600_000


@pytest.mark.parametrize(("links", "sent"), [(3, 3), (4, 2)])
def test_up_to_the_limit_all_links_are_sent(links: int, sent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_view, "MAX_SENT", 3)
    monkeypatch.setattr(network_view, "MAX_LINKS", 2)
    view = NetworkView((5, [[i, i + 1] for i in range(links)]))
    assert len(view.edges) == 8 * sent
    assert view.about["links"] == links
    assert view.table()["neighbours"].sum() == 2 * links


def test_topologies_can_be_shown() -> None:
    view = NetworkView(ds.topologies.Ring().build(9, 0))
    assert view.states()["online"] == 9
    assert view.table()["neighbours"].tolist() == [2] * 9


def test_without_a_replay_byzantine_nodes_are_still_seen(nodes: pd.DataFrame) -> None:
    assert NetworkView(PATH, nodes=nodes).table()["state"].tolist() == ["online", "online", "byzantine", "online"]


@pytest.mark.parametrize(
    ("graph", "options", "message"),
    [
        (7, {}, "graph: type int is not allowed"),
        ((3, [[0, 3]]), {}, "graph: a link of node 3 is not allowed: nodes are numbered 0 to 2"),
        ((3, [[0, -1]]), {}, "graph: a link of node -1"),
        ((3, [[0.5, 1]]), {}, "graph: links of shape"),
        ((0, []), {}, "graph: 0 nodes are not allowed: at least 1"),
        (nx.Graph([("a", "b")]), {}, "graph: the node names 'a', 'b' are not allowed: the numbers 0 to 1"),
        (sp.csr_array((2, 3)), {}, "graph: a matrix of shape"),
        (PATH, {"nodes": pd.DataFrame({"device": ["x"]})}, "nodes: 1 rows are not allowed: the graph has 4 nodes"),
        (PATH, {"nodes": pd.DataFrame({"node": [0, 1, 2, 2]})}, "nodes.node: must be the numbers 0 to 3"),
        (PATH, {"class_counts": np.ones((3, 2), int)}, "class_counts: shape"),
        (PATH, {"class_counts": np.ones((4, 2))}, "class_counts: must be whole numbers"),
        (PATH, {"class_counts": np.ones((4, 2), int), "class_names": ["a"]}, "class_names: 1 names are not allowed"),
        (PATH, {"replay": Replay.of(EVENTS, [False] * 3)}, "replay.n: 3 is not allowed: the graph has 4 nodes"),
        (PATH, {"height_px": 20}, "height_px: 20 is not allowed: from 200 to 4000"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(graph: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ds.ScenarioError) as refusal:
        NetworkView(graph, **options)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_only_times_and_nodes_that_exist_can_be_gone_to(replay: Replay) -> None:
    view = NetworkView(PATH, replay=replay)
    with pytest.raises(ds.ScenarioError, match=r"t_s: 11.0 is not allowed: from 0 to 10.0 virtual seconds"):
        view.t_s = 11
    with pytest.raises(ds.ScenarioError, match="t_s: nan"):
        view.t_s = float("nan")
    with pytest.raises(ds.ScenarioError, match="selected: 4 is not allowed"):
        view.selected = 4
    assert (view.t_s, view.selected) == (0.0, -1)


def test_the_saved_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    nasty = "</script><script>alert(1)</script><!--<b>&"
    view = NetworkView(PATH, title=nasty, caption=nasty, nodes=pd.DataFrame({"device": [nasty] * 4}))
    target = view.save(tmp_path / "view.html")
    assert [path.name for path in tmp_path.iterdir()] == ["view.html"]
    page = target.read_text(encoding="utf-8")
    assert page.count("</script>") == page.count("<script") == 2
    assert "alert(1)</" not in page
    assert not re.search(r"https?:|\bimport\b\s*[({\"']|export default", page)
    state = json.loads(re.search(r'<script type="application/json" id="state">(.*?)</script>', page, re.DOTALL)[1])
    assert state["about"]["title"] == nasty


def test_a_page_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ds.ScenarioError, match=r"^path: '.*' is not allowed: No such file or directory$"):
        NetworkView(PATH).save(tmp_path / "missing" / "view.html")


def test_runs_that_show_no_network_load_no_widgets() -> None:
    code = "import sys, decai_sim.viz; print(sorted({'anywidget', 'igraph', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_nothing_else_is_called_by_the_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ds.viz.nonsense  # noqa: B018
