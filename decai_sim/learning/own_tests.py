"""What each node keeps of its samples to test on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from decai_sim.component import whole_share

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset
    from decai_sim.learning.tasks import Task
    from decai_sim.seeding import Streams


def own_samples(task: Task, dataset: Dataset, n: int, streams: Streams) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What each of ``n`` nodes trains on, and what it tests its model on.

    With a ``holdout``, a node's own test samples are a random share of its samples, rounded down. Without one, nodes that are
    natural clients have the test samples of these, if the data set knows whose they are; other nodes test on what they train on.

    Args:
        task: how samples are split.
        dataset: the samples.
        n: number of nodes.
        streams: the run's streams; ``partition`` and ``holdout`` are used.

    Returns:
        Indices of training samples, for each node; and of its test samples, where those of the data set's test set count on from
        the last training sample.

    Raises:
        ScenarioError: the data cannot be split that way.
    """
    samples = task.partition.shares(dataset, n, streams)
    if task.holdout:
        mixed = [own[streams.of("holdout", node).permutation(len(own))] for node, own in enumerate(samples)]
        kept = [whole_share(task.holdout, len(own)) for own in samples]
        return (
            [np.sort(own[count:]) for own, count in zip(mixed, kept, strict=True)],
            [np.sort(own[:count]) for own, count in zip(mixed, kept, strict=True)],
        )
    if not task.partition.natural or dataset.owner is None or dataset.owner_test is None:
        return samples, samples
    # Test samples sorted by owner: those of one are a slice.
    order = np.argsort(dataset.owner_test, kind="stable")
    owners = dataset.owner_test[order]
    tests = []
    for own in samples:
        clients = np.unique(dataset.owner[own])
        bounds = zip(np.searchsorted(owners, clients), np.searchsorted(owners, clients, side="right"), strict=True)
        tests.append(len(dataset.y_train) + np.concatenate([order[first:last] for first, last in bounds]))
    return samples, tests
