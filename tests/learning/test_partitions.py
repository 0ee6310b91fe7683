"""Who holds which samples."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from flwr_datasets.partitioner import NaturalIdPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st

from decai_sim.errors import ScenarioError
from decai_sim.learning import (
    IID,
    Digits,
    Dirichlet,
    FashionMNIST,
    Natural,
    Partition,
    Pathological,
    Quantity,
    Shakespeare,
    Shards,
    Task,
    data,
)
from decai_sim.learning.problem import Problem
from decai_sim.seeding import Streams


@cache
def clothes() -> data.Dataset:
    return FashionMNIST().load()


def check_whole(parts: list[np.ndarray], n_samples: int) -> None:
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n_samples))


partitions = st.one_of(
    st.just(IID()),
    st.builds(Dirichlet, alpha=st.sampled_from([0.05, 0.3, 1, 100]), min_samples=st.just(0)),
    st.builds(Quantity, alpha=st.sampled_from([0.05, 0.5, 100]), min_samples=st.integers(1, 5)),
)


@settings(max_examples=15)
@given(partition=partitions, n=st.integers(1, 60), seed=st.integers(0, 99))
def test_every_sample_belongs_to_exactly_one_node(partition: Partition, n: int, seed: int) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 300)
    parts = partition.split(labels, n, Streams(seed))
    assert len(parts) == n
    check_whole(parts, 300)


def test_iid_shares_are_equal_and_mixed() -> None:
    labels = np.sort(np.random.default_rng(0).integers(0, 10, 1003))  # stored in order, as some data sets are
    parts = IID().split(labels, 10, Streams(1))
    check_whole(parts, 1003)
    assert sorted({len(part) for part in parts}) == [100, 101]
    assert all(len(set(labels[part].tolist())) >= 9 for part in parts)


def test_a_smaller_alpha_means_fewer_labels_a_node() -> None:
    labels = clothes().y_train[:5000]

    def largest_share(alpha: float) -> float:
        parts = Dirichlet(alpha=alpha).split(labels, 20, Streams(1))
        return float(np.mean([np.bincount(labels[part], minlength=10).max() / len(part) for part in parts]))

    shares = [largest_share(alpha) for alpha in (0.1, 1, 1000)]
    assert shares[0] > 0.5
    assert shares == sorted(shares, reverse=True)
    assert shares[2] < 0.2


def test_sixty_samples_a_node_can_be_split_unless_too_much_is_asked() -> None:
    labels = clothes().y_train
    parts = Dirichlet(alpha=0.3, min_samples=1).split(labels, 1000, Streams(7))
    check_whole(parts, 60_000)
    assert min(map(len, parts)) >= 1
    with pytest.raises(ScenarioError) as caught:
        Dirichlet(alpha=0.3, min_samples=10).split(labels, 1000, Streams(7))
    message = str(caught.value)
    assert message.startswith("task.partition: {'kind': 'dirichlet', 'alpha': 0.3, 'min_samples': 10} is not allowed: ")
    assert "60000 samples over 1000 nodes" in message
    assert "lower min_samples" in message
    assert "\n" not in message


def test_more_nodes_than_samples_are_refused() -> None:
    with pytest.raises(ScenarioError, match="nodes: 400 is not allowed: the data set has 300 samples to split"):
        IID().split(np.zeros(300, np.int64), 400, Streams(0))


def test_splits_depend_on_the_seed_alone() -> None:
    labels = clothes().y_train[:2000]
    for partition in (IID(), Dirichlet(), Quantity(), Shards(), Pathological()):
        state = np.random.get_state()[1].copy()  # type: ignore[index]
        a, b, c = (partition.split(labels, 10, Streams(seed)) for seed in (1, 1, 2))
        assert (state == np.random.get_state()[1]).all()  # type: ignore[index]
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


def test_labels_of_other_integer_types_split_alike() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 300)
    a, b = (Dirichlet().split(labels.astype(kind), 7, Streams(1)) for kind in (np.int64, np.int32))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_shards_are_the_pathological_split_of_the_source() -> None:
    # McMahan et al. 2017: 60,000 samples sorted by label, 200 shards of 300, two for each of 100 clients.
    labels = clothes().y_train
    parts = Shards().split(labels, 100, Streams(0))
    check_whole(parts, 60_000)
    assert {len(part) for part in parts} == {600}
    kinds = [len(set(labels[part].tolist())) for part in parts]
    assert max(kinds) == 2  # 300 divides 6,000: no shard has two labels
    assert kinds.count(2) > 70  # the same label twice: about one in ten


def test_shards_that_do_not_divide_leave_samples_to_nobody() -> None:
    labels = np.arange(1000) % 10
    parts = Shards(per_node=3).split(labels, 7, Streams(0))
    assert {len(part) for part in parts} == {3 * (1000 // 21)}
    held = np.concatenate(parts)
    assert len(set(held.tolist())) == len(held)
    with pytest.raises(ScenarioError, match="lower per_node, or ask for fewer nodes"):
        Shards(per_node=300).split(labels, 7, Streams(0))


def test_pathological_nodes_see_so_many_classes() -> None:
    labels = clothes().y_train
    for wanted in (1, 2, 5):
        parts = Pathological(classes_per_node=wanted).split(labels, 40, Streams(3))
        check_whole(parts, 60_000)
        assert {len(set(labels[part].tolist())) for part in parts} == {wanted}
    few = Pathological().split(labels, 2, Streams(3))  # at most four classes are held
    assert sum(map(len, few)) < 60_000
    with pytest.raises(ScenarioError, match=r"'classes_per_node': 11.*lower classes_per_node"):
        Pathological(classes_per_node=11).split(labels, 20, Streams(0))


def test_quantity_differs_and_nothing_else() -> None:
    labels = clothes().y_train
    parts = Quantity(alpha=0.5).split(labels, 100, Streams(2))
    sizes = np.array([len(part) for part in parts])
    # Of Dir(α) shares on n nodes the variance is (1/n)(1 − 1/n) / (nα + 1), so sizes vary by about sqrt(1/α) of their mean.
    assert sizes.std() / sizes.mean() == pytest.approx(np.sqrt(2), rel=0.3)
    large = max(parts, key=len)
    assert np.abs(np.bincount(labels[large], minlength=10) / len(large) - 0.1).max() < 0.03
    even = [len(part) for part in Quantity(alpha=1e6).split(labels, 100, Streams(2))]
    assert max(even) - min(even) < 20
    with pytest.raises(ScenarioError, match=r"min_samples: 7 is not allowed: 300 samples for 60 nodes are at most 5"):
        Quantity(min_samples=7).split(labels[:300], 60, Streams(0))


@cache
def roles() -> data.Dataset:
    return Shakespeare().load()


def test_natural_clients_are_those_of_flwr_datasets() -> None:
    import datasets

    owner = roles().owner
    assert owner is not None
    parts = Natural().shares(roles(), 992, Streams(0))
    theirs = NaturalIdPartitioner(partition_by="owner")
    theirs.dataset = datasets.Dataset.from_dict({"owner": owner, "row": np.arange(len(owner))})
    for node in (0, 5, 991):
        assert parts[node].tolist() == theirs.load_partition(node)["row"]
    check_whole(parts, len(owner))


def test_fewer_nodes_than_natural_clients() -> None:
    owner = roles().owner
    assert owner is not None
    one_each, again, others = (Natural().shares(roles(), 50, Streams(seed)) for seed in (1, 1, 2))
    whose = [set(owner[part].tolist()) for part in one_each]
    assert all(len(clients) == 1 for clients in whose)
    assert len(set.union(*whose)) == 50
    assert all(map(np.array_equal, one_each, again))
    assert not all(map(np.array_equal, one_each, others))
    three = Natural(clients_per_node=3).shares(roles(), 50, Streams(1))
    assert {len(set(owner[part].tolist())) for part in three} == {3}
    everybody = Natural(clients_per_node=None).shares(roles(), 50, Streams(1))
    check_whole(everybody, len(owner))
    assert {len(set(owner[part].tolist())) for part in everybody} == {19, 20}  # 992 over 50


def test_natural_needs_natural_clients_and_enough_of_them() -> None:
    with pytest.raises(ScenarioError, match="992 natural clients, and partition 'natural' needs 1 for every node: at most 992"):
        Natural().shares(roles(), 1000, Streams(0))
    with pytest.raises(ScenarioError, match="at most 330 nodes"):
        Natural(clients_per_node=3).shares(roles(), 331, Streams(0))
    with pytest.raises(ScenarioError, match="does not say whose its samples are"):
        Problem(Digits(partition=Natural()), 5, Streams(0))


# -- samples that nodes keep for their own tests ------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.29, 0.5])
def test_held_out_samples_are_not_trained_on(share: float) -> None:
    whole, kept = (Problem(Digits(holdout=h), 20, Streams(4)) for h in (0.0, share))
    assert whole.own_tests is whole.samples
    for node in range(20):
        train, test = set(kept.samples[node].tolist()), set(kept.own_tests[node].tolist())
        assert not train & test
        assert train | test == set(whole.samples[node].tolist())
        assert len(test) == int(round(share * len(train | test), 9))
    assert kept.n_samples.tolist() == [len(part) for part in kept.samples]
    again = Problem(Digits(holdout=share), 20, Streams(4))
    assert all(map(np.array_equal, kept.own_tests, again.own_tests))


@pytest.mark.parametrize("each", [1, 4])
def test_natural_clients_are_tested_on_what_the_data_set_keeps_of_theirs(each: int) -> None:
    import torch

    d = roles()
    assert d.owner is not None
    assert d.owner_test is not None
    problem = Problem(Shakespeare(partition=Natural(clients_per_node=each)), 10, Streams(4))
    for node in range(10):
        clients = set(d.owner[problem.samples[node]].tolist())
        assert len(clients) == each
        own = problem.own_tests[node] - len(d.y_train)
        assert sorted(own.tolist()) == np.flatnonzero(np.isin(d.owner_test, list(clients))).tolist()
        index = torch.as_tensor(problem.own_tests[node])
        assert np.array_equal(problem.inputs(index).numpy(), d.x_test[own])
        assert np.array_equal(problem.labels(index).numpy(), d.y_test[own])


def test_a_holdout_comes_before_the_tests_of_natural_clients() -> None:
    task: Task = Shakespeare(holdout=0.2)
    problem = Problem(task, 10, Streams(4))
    assert max(part.max() for part in problem.own_tests if len(part)) < len(roles().y_train)
