"""Scenarios: one schema for Python, YAML and JSON; what is wrong is said in one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from decai_sim.attacks import ALIE, LabelFlip, SignFlip
from decai_sim.component import _FAMILIES
from decai_sim.defenses import NNM, Krum, Mean, Median, TrimmedMean
from decai_sim.errors import ScenarioError, explain
from decai_sim.learning import CNN, IID, MLP, Digits, Dirichlet, FashionMNIST
from decai_sim.protocols import Federated, Protocol
from decai_sim.scenario import Scenario, parse_yaml
from decai_sim.world import Complete, Crash, EdgeList, Exponential, Given, Internet, Mix, Ring, SmallWorld

DESIGN = """
nodes: 1000
seed: 7
topology: {kind: small_world, degree: 8, rewire: 0.1}
network: {kind: internet, regions: bitcoin-2019, upload_bps: null}
churn: {kind: exponential, mean_online_s: 7200, mean_offline_s: 1800}
devices: {kind: mix, phone: 0.5, laptop: 0.4, gpu: 0.1}
task: {kind: fashion_mnist, partition: {kind: dirichlet, alpha: 0.3}, model: {kind: mlp, hidden: [64]}}
protocol: {kind: federated, rounds: 30, fraction: 0.1, deadline_s: 120, local_epochs: 1, batch_size: 10, lr: 0.1}
attack: {kind: sign_flip, fraction: 0.2, scale: 4}
defense: [{kind: nnm}, {kind: trimmed_mean}]
"""

positive = st.floats(1e-6, 1e12)
share = st.floats(0, 1)
small_graphs = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda e: e[0] != e[1]), max_size=20)

scenarios = st.builds(
    Scenario,
    nodes=st.integers(1, 10**6),
    seed=st.integers(0, 2**64),
    topology=st.one_of(
        st.builds(SmallWorld, degree=st.integers(1, 20).map(lambda half: 2 * half), rewire=share),
        st.sampled_from([Ring(), Complete(), EdgeList("1e3"), EdgeList("a b/ö: #.txt")]),
        small_graphs.map(lambda edges: Given(edges=tuple(edges))),
    ),
    network=st.one_of(
        st.just("ideal"),
        st.builds(
            Internet,
            regions=st.sampled_from(["bitcoin-2015", "bitcoin-2019"]),
            upload_bps=st.none() | positive,
            jitter=st.floats(1e-9, 10),
            loss=st.floats(0, 0.999),
        ),
    ),
    churn=st.none() | st.builds(Exponential, mean_online_s=positive, mean_offline_s=positive),
    devices=share.map(lambda p: Mix(phone=p, laptop=1 - p)),
    task=st.builds(
        Digits,
        partition=st.just(IID()) | st.builds(Dirichlet, alpha=positive, min_samples=st.integers(0, 5)),
        model=st.sampled_from([MLP(hidden=(3, 4)), CNN(), "softmax"]),
    ),
    protocol=st.builds(Federated, rounds=st.integers(1, 99), lr=positive, fraction=st.floats(1e-6, 1)),
    attack=st.none() | st.builds(SignFlip, scale=st.floats(0.01, 100), fraction=st.floats(0, 0.999)) | st.just(ALIE()),
    defense=st.sampled_from([None, Mean(), Krum(f=2), NNM() >> TrimmedMean(), NNM(f=1) >> NNM(f=2) >> Median()]),
)


def refused(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Scenario(**fields)
    return explain(caught.value)


def from_file(tmp_path: Path, text: str | bytes, changes: dict[str, Any] | None = None) -> Scenario:
    path = tmp_path / "scenario.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Scenario.load(path, changes)


def refused_file(tmp_path: Path, text: str | bytes, changes: dict[str, Any] | None = None) -> str:
    with pytest.raises(ScenarioError) as caught:
        from_file(tmp_path, text, changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


# -- one schema -------------------------------------------------------------------------------------------------------------


@given(scenarios)
def test_yaml_json_and_python_say_the_same(scenario: Scenario) -> None:
    assert Scenario.model_validate(parse_yaml(scenario.to_yaml())) == scenario
    text = json.dumps(scenario.to_config(), allow_nan=False)
    assert Scenario.model_validate(json.loads(text)) == Scenario.model_validate(parse_yaml(text)) == scenario
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario
    assert Scenario.model_validate(scenario.to_config()).id == scenario.id


@given(scenarios, scenarios)
def test_ids_are_equal_when_scenarios_are(a: Scenario, b: Scenario) -> None:
    assert (a.id == b.id) == (a == b)


def test_the_id_is_the_hash_of_what_the_scenario_says_in_whatever_way() -> None:
    text = json.dumps(Scenario().to_config(), sort_keys=True, separators=(",", ":"))
    assert Scenario().id == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert Scenario().id == Scenario(nodes=100.0, task="fashion_mnist", attack=None).id != Scenario(seed=1).id


def test_the_defaults_are_the_promised_ones() -> None:
    s = Scenario()
    assert (s.nodes, s.task.kind, s.task.model.kind, s.protocol.kind, s.network.kind) == (
        *(100, "fashion_mnist", "softmax", "federated", "ideal"),
    )
    assert s.protocol.rounds == 10  # type: ignore[attr-defined]
    assert s.churn is s.attack is s.defense is None


def test_the_example_of_the_design_is_a_scenario(tmp_path: Path) -> None:
    s = from_file(tmp_path, DESIGN)
    assert s == Scenario(
        nodes=1000,
        seed=7,
        topology=SmallWorld(degree=8, rewire=0.1),
        network=Internet(),
        churn=Exponential(mean_online_s=7200, mean_offline_s=1800),
        devices=Mix(phone=0.5, laptop=0.4, gpu=0.1),
        task=FashionMNIST(partition=Dirichlet(alpha=0.3), model=MLP(hidden=(64,))),
        protocol=Federated(rounds=30, fraction=0.1, deadline_s=120),
        attack=SignFlip(fraction=0.2, scale=4),
        defense=NNM() >> TrimmedMean(),
    )


def test_scenarios_are_frozen_hashable_and_closed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Scenario().nodes = 3  # type: ignore[misc]
    assert {Scenario(), Scenario(nodes=100)} == {Scenario()}
    with pytest.raises(TypeError):
        Scenario(100)  # type: ignore[call-arg]


def test_a_chain_is_a_list() -> None:
    chain = NNM(f=1) >> Krum(f=1)
    s = Scenario(defense=chain)
    assert s.to_config()["defense"] == [{"kind": "nnm", "f": 1}, {"kind": "krum", "f": 1}]
    assert s == Scenario(defense=[{"kind": "nnm", "f": 1}, {"kind": "krum", "f": 1}])
    assert s.defense == chain
    assert Scenario(defense=["median"]) == Scenario(defense="median")


@given(edges=st.permutations([(0, 1), (1, 2), (2, 3), (3, 0), (4, 0)]), turned=st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_graph_is_its_edges_in_whatever_order(edges: list[tuple[int, int]], turned: list[bool]) -> None:
    graph = nx.Graph()
    graph.add_edges_from((b, a) if turn else (a, b) for (a, b), turn in zip(edges, turned, strict=True))
    s = Scenario(nodes=5, topology=graph)
    expected = Scenario(nodes=5, topology=Given(edges=((0, 1), (0, 3), (0, 4), (1, 2), (2, 3))))
    assert s == expected
    assert s.id == expected.id
    assert s.to_config()["topology"] == {"kind": "given", "edges": [[0, 1], [0, 3], [0, 4], [1, 2], [2, 3]]}
    assert nx.utils.graphs_equal(s.topology.build(5, 0), graph)


# -- variations -------------------------------------------------------------------------------------------------------------


def test_but_changes_what_it_is_told_and_nothing_else() -> None:
    base = Scenario(attack=SignFlip(scale=3), churn=Exponential())
    changed = base.but(protocol__rounds=5, task__model__hidden=[], attack__fraction=0.4, seed=9)
    assert changed.protocol == Federated(rounds=5)
    assert changed.attack == SignFlip(scale=3, fraction=0.4)
    assert changed.but(protocol__rounds=10, attack__fraction=0.2, seed=0) == base
    assert base == Scenario(attack=SignFlip(scale=3), churn=Exponential())


def test_but_sets_entries_of_lists_by_their_numbers() -> None:
    faulty = Scenario(faults=[Crash(share=0.1), Crash(share=0.2, at_s=5)])
    assert [fault.at_s for fault in faulty.but(faults__1__at_s=7).faults] == [0, 7]
    assert [fault.at_s for fault in faulty.faults] == [0, 5]
    for path, told in (
        ("faults__2__at_s", "'2' is not one of the list's numbers, from 0 to 1"),
        ("faults__at_s", "'at_s' is not"),
    ):
        with pytest.raises(ScenarioError, match=told):
            faulty.but(**{path: 7})
    with pytest.raises(ScenarioError, match="the list is empty"):
        Scenario().but(faults__0__at_s=7)


def test_news_that_no_memory_holds_are_refused() -> None:
    many = {"kind": "broadcast", "items": 10**6}
    with pytest.raises(ScenarioError, match=r"protocol\.items: 1000000 is not allowed: with nodes = 2000, at most 500000"):
        Scenario(nodes=2000, protocol=many).check()
    with pytest.raises(ValidationError):
        Scenario(protocol={"kind": "broadcast", "nbytes": 10**20})


def test_but_takes_components_kinds_and_none() -> None:
    base = Scenario(defense="krum", attack="alie")
    assert base.but(defense=NNM() >> Median()).defense == NNM() >> Median()
    assert base.but(attack=LabelFlip()).attack == LabelFlip()
    assert base.but(defense="median").defense == Median()
    assert base.but(attack=None, defense=None) == Scenario()
    assert base.but(topology=nx.path_graph(3)).topology == Given(edges=((0, 1), (1, 2)))


def test_but_refuses_what_a_scenario_refuses() -> None:
    with pytest.raises(ValidationError) as caught:
        Scenario().but(protocol__rounds=0)
    assert explain(caught.value).startswith("protocol.rounds: 0 is not allowed")
    with pytest.raises(ValidationError) as caught:
        Scenario().but(protocol__round=5)
    assert explain(caught.value) == "protocol.round: unknown key (value 5)"
    with pytest.raises(ScenarioError, match=r"^attack\.fraction: cannot be set: 'attack' is None"):
        Scenario().but(attack__fraction=0.1)
    with pytest.raises(ScenarioError, match=r"^nodes\.many: cannot be set: 'nodes' is 100"):
        Scenario().but(nodes__many=1)


def test_changes_reach_into_what_the_file_does_not_mention(tmp_path: Path) -> None:
    s = from_file(tmp_path, "nodes: 5\nattack: sign_flip", {"protocol.rounds": 3, "task.model.hidden": [], "attack.scale": 2})
    assert s == Scenario(nodes=5, attack=SignFlip(scale=2), protocol=Federated(rounds=3))


def test_a_changed_kind_keeps_the_fields_the_file_gives(tmp_path: Path) -> None:
    assert from_file(tmp_path, "attack: {kind: sign_flip, fraction: 0.3}", {"attack.kind": "alie"}).attack == ALIE(fraction=0.3)


def test_wrong_changes_are_refused(tmp_path: Path) -> None:
    assert refused_file(tmp_path, "nodes: 5", {"protocol.round": 3}) == "protocol.round: unknown key (value 3)"
    assert refused_file(tmp_path, "nodes: 5", {"nodez": 3}) == "nodez: unknown key (value 3)"
    assert refused_file(tmp_path, "nodes: 5", {"attack.scale": 3}).startswith("attack.scale: cannot be set: 'attack' is None")
    assert refused_file(tmp_path, "nodes: 5", {"protocol.lr": "fast"}).startswith("protocol.lr: 'fast' is not allowed: ")


# -- what is wrong, in one line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodez: 5", "nodez: unknown key (value 5)"),
        ("protocol: {kind: federated, round: 5}", "protocol.round: unknown key (value 5)"),
        ("task: {kind: digits, model: {kind: mlp, layers: [3]}}", "task.model.layers: unknown key (value [3])"),
        ("nodes: 0", "nodes: 0 is not allowed: input should be greater than or equal to 1"),
        ("nodes: 1.5", "nodes: 1.5 is not allowed: input should be a valid integer, got a number with a fractional part"),
        ("nodes: many", "nodes: 'many' is not allowed: input should be a valid integer"),
        ("nodes: null", "nodes: None is not allowed: input should be a valid integer"),
        ("nodes: .nan", "nodes: nan is not allowed: input should be a finite number"),
        ("nodes: .inf", "nodes: inf is not allowed: input should be a finite number"),
        ('nodes: "100"', "nodes: '100' is not allowed: input should be a number, not text or true/false"),
        ("nodes: true", "nodes: True is not allowed: input should be a number, not text or true/false"),
        ("nodes: yes", "nodes: True is not allowed: input should be a number, not text or true/false"),
        ("nodes: [100]", "nodes: [100] is not allowed: input should be a valid integer"),
        ("seed: -1", "seed: -1 is not allowed: input should be greater than or equal to 0"),
        ("network: {kind: internet, upload_bps: -5}", "network.upload_bps: -5 is not allowed: input should be greater than 0"),
        (
            "network: {kind: internet, upload_bps: .inf}",
            "network.upload_bps: inf is not allowed: input should be a finite number",
        ),
        ("network: {kind: internet, regions: moon}", "network.regions: 'moon' is not allowed: input should be 'bitcoin-2019', "),
        ("protocol: {kind: federated, lr: .nan}", "protocol.lr: nan is not allowed: input should be a finite number"),
        ('protocol: {kind: federated, lr: "0.1"}', "protocol.lr: '0.1' is not allowed: input should be a number, not text"),
        ("attack: {kind: sign_flip, fraction: 1.2}", "attack.fraction: 1.2 is not allowed: input should be less than 1"),
        ("attack: sing_flip", "attack.kind: 'sing_flip' is not allowed: choose one of "),
        ("defense: [nnm, {kind: krum, f: -1}]", "defense.1.f: -1 is not allowed: input should be greater than or equal to 0"),
        ("defense: [nnm, krom]", "defense.1.kind: 'krom' is not allowed: choose one of "),
        ("defense: [krum, nnm]", "defense: ['krum', 'nnm'] is not allowed: krum is a rule and ends a chain"),
        ("defense: nnm", "defense: 'nnm' is not allowed: nnm only mixes"),
        ("devices: {kind: mix, phone: 0.5, laptop: 0.6}", "devices: {'phone': 0.5, 'laptop': 0.6} is not allowed: the shares of"),
        ("topology: {kind: given, edges: [[0, a]]}", "topology.edges.0.1: 'a' is not allowed: input should be a valid integer"),
        ("topology: {kind: given, edges: 5}", "topology.edges: 5 is not allowed: "),
        ("topology: {kind: edge_list}", "topology.path: missing, a value is required"),
        ("topology: {kind: small_world, degree: 3}", "topology.degree: 3 is not allowed: input should be a multiple of 2"),
        ("{1: 2}", "1: 1 is not allowed: keys should be strings"),
        ("churn: 2024-01-01", "churn: datetime.date(2024, 1, 1) is not allowed: "),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    assert refused_file(tmp_path, text).startswith(message)


def test_all_wrong_fields_are_named_at_once(tmp_path: Path) -> None:
    message = refused_file(tmp_path, "nodes: 0\nseed: -1")
    assert message.count(" is not allowed: ") == 2


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"\xff\xfe\x00\x01", "is not a text file; a scenario is YAML"),
        (b"nodes: \x00", "not plain YAML: special characters are not allowed"),
        ("- nodes", "list is not allowed: a scenario is a mapping of fields"),
        ("nodes", "str is not allowed: a scenario is a mapping of fields"),
        ("nodes: [", "not plain YAML (line 1, column 9): "),
        ("nodes: 5: 6", "not plain YAML (line 1, column 9): mapping values are not allowed here"),
        ("nodes: 5\n---\nnodes: 6", "not plain YAML (line 2, column 1): "),
        ("nodes: 5\nseed: 1\nnodes: 6", "not plain YAML (line 3, column 1): key 'nodes' is there twice"),
        ("attack: {kind: alie, kind: sign_flip}", "not plain YAML (line 1, column 22): key 'kind' is there twice"),
        ("{[1]: 2}", "not plain YAML (line 1, column 2): found unhashable key"),
        ("seed: 2024-13-45", "not plain YAML: month must be in 1..12"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path, text: str | bytes, part: str) -> None:
    message = refused_file(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'scenario.yaml'}: ")
    assert part in message


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for tag in ("os.system", "subprocess.getoutput"):
        message = refused_file(tmp_path, f'nodes: !!python/object/apply:{tag} ["touch {marker}"]')
        assert "could not determine a constructor for the tag" in message
    assert not marker.exists()


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ScenarioError, match=reason) as caught:
            Scenario.load(path)
        assert str(caught.value).startswith(f"{path}: cannot be read: ")


def test_an_empty_file_is_the_default_scenario(tmp_path: Path) -> None:
    assert from_file(tmp_path, "") == from_file(tmp_path, "# nothing\n") == Scenario()


def test_numbers_with_exponents_and_anchors_work(tmp_path: Path) -> None:
    text = "network: {kind: internet, upload_bps: 1e6, server_bps: 2.5E+9, loss: 1e-3}\nprotocol: {kind: federated, lr: .1e0}"
    s = from_file(tmp_path, text)
    assert s.network == Internet(upload_bps=1e6, server_bps=2.5e9, loss=1e-3)
    assert s.protocol == Federated(lr=0.1)
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}")["b"] == {"x": 1, "y": 3}  # overriding is no repetition


# -- what only shows before a run -------------------------------------------------------------------------------------------


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> type[Protocol]:
    monkeypatch.setitem(_FAMILIES, "protocols", dict(_FAMILIES["protocols"]))

    class Meeting(Protocol, kind="test_meeting"):
        needs_connected: ClassVar[bool] = True

    return Meeting


def wrong(scenario: Scenario) -> str:
    with pytest.raises(ScenarioError) as caught:
        scenario.check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_topology_in_parts_is_refused_where_it_must_be_connected(meeting: type[Protocol], tmp_path: Path) -> None:
    path = tmp_path / "edges.txt"
    path.write_text("0 1\n2 3\n")
    for topology, shown in ((Given(edges=((0, 1), (2, 3))), '"kind": "given"'), (EdgeList(path), '"path"')):
        message = wrong(Scenario(nodes=4, topology=topology, protocol=meeting()))
        assert message.startswith("topology: {")
        assert shown in message
        assert "protocol 'test_meeting' needs a connected graph, this one has 2 parts" in message
        Scenario(nodes=4, topology=topology).check()  # a federation does not use it
    Scenario(nodes=3, topology=nx.path_graph(3), protocol=meeting()).check()
    assert "has 2 parts" in wrong(Scenario(nodes=4, topology=nx.path_graph(3), protocol=meeting()))  # node 3 has no link


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0 1\n1 5\n", "edge 1 5 is not allowed: ends must differ and lie in 0…2 (nodes = 3)"),
        ("1 1\n", "edge 1 1 is not allowed"),
        ("0 1\n0 1 0.5\n", "line 2 of "),
        ("0\n", "'0' is not two node numbers"),
        ("0 -1\n", "'0 -1' is not two node numbers"),
        ("0 1.0\n", "'0 1.0' is not two node numbers"),
        ("a,b\n", "'a,b' is not two node numbers"),
        (f"0 {'9' * 5000}\n", "is not two node numbers"),
    ],
)
def test_wrong_edge_lists_are_refused(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "edges.txt"
    path.write_text(text)
    message = wrong(Scenario(nodes=3, topology=EdgeList(path)))
    assert message.startswith("topology.path: ")
    assert str(path) in message
    assert part in message


def test_edge_lists_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "image.png"
    binary.write_bytes(b"\x89PNG\xff")
    for path, reason in ((tmp_path / "none.txt", "No such file"), (tmp_path, "Is a directory"), (binary, "is not a text file")):
        assert wrong(Scenario(topology=EdgeList(path))).startswith(f"topology.path: '{path}' is not allowed: {reason}")


def test_edge_lists_may_hold_comments_and_repetitions(tmp_path: Path) -> None:
    path = tmp_path / "edges.txt"
    path.write_text("# a triangle\n0\t1\n1 0\n\n1  2 # here\r\n2 0")
    graph = EdgeList(path).build(4, seed=0)
    assert sorted(graph.edges) == [(0, 1), (0, 2), (1, 2)]
    assert list(graph) == [0, 1, 2, 3]


def test_given_edges_out_of_range_are_refused() -> None:
    assert "topology.edges: edge 0 9 is not allowed" in wrong(Scenario(nodes=5, topology=Given(edges=((9, 0),))))


def test_a_topology_that_cannot_be_is_found_before_anything_runs() -> None:
    with pytest.raises(ScenarioError, match=r"topology\.degree: 30 is not allowed"):
        Scenario(nodes=10, topology={"kind": "random_regular", "degree": 30}, protocol="broadcast").check()


def test_ctrl_c_while_a_scenario_is_written_down_is_no_error_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: SignFlip) -> None:
        raise KeyboardInterrupt

    scenario = Scenario(attack="sign_flip")
    monkeypatch.setattr(SignFlip, "to_config", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scenario.to_config()
