"""What attackers send depends on nothing that came after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from decai_sim.attacks.base import UpdateAttack, View
from decai_sim.flower import arrays, compat
from decai_sim.flower.adversary import Adversary
from decai_sim.flower.executors import Content, Exchange
from decai_sim.seeding import Streams

ATTACKERS = frozenset({10, 11, 12})


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    with compat.substituted(), compat.entered(compat.Session(1, lambda: 0.0)):
        yield


class Tell(UpdateAttack, abstract=True):
    """Sends the sums of all it knows: honest rows, own rows, ``n`` and ``f``."""

    def __call__(
        self, honest: torch.Tensor, n_byzantine: int, generator: torch.Generator, view: View | None = None
    ) -> torch.Tensor:
        assert view is not None
        assert view.own is not None
        assert len(view.own) == n_byzantine
        return torch.tensor([[honest.sum(), view.own.sum(), view.n, view.f]]).float().repeat(n_byzantine, 1)


class Version:
    """One model version, all zeros, that some nodes were asked to train."""

    def __init__(self, asked: Iterable[int], omniscient: bool = False) -> None:
        self.content = Content(self._record(torch.zeros(4)), 1, asked=list(asked))
        self._adversary = Adversary(Tell(omniscient=omniscient), ATTACKERS, Streams(0))

    def _record(self, row: torch.Tensor) -> RecordDict:
        return RecordDict({"arrays": ArrayRecord({"w": row}), "metrics": MetricRecord({"num-examples": 1})})

    def read(self, *finished: tuple[int, float, float]) -> dict[int, list[float]]:
        """Read the replies ``(node, finished_s, value)``; returns what attackers sent in fact."""
        exchanges = []
        for node, at_s, value in finished:
            instruction = Message(RecordDict(), node + 2, "train")
            reply = Message(self._record(torch.tensor([value, 0, 0, 0])), reply_to=instruction)
            exchanges.append(Exchange(node, instruction, self.content, 1e9, finished_s=at_s, arrived_s=at_s, reply=reply))
        self._adversary.corrupt(exchanges)
        sent = {e.node: arrays.to_vector(e.reply.content["arrays"]).tolist() for e in exchanges if e.reply is not None}
        for node, _, value in finished:
            if node not in ATTACKERS:
                assert sent.pop(node) == [value, 0, 0, 0]
        return sent


HONEST = [(0, 1.0, 1.0), (1, 3.0, 10.0), (2, 5.0, 100.0), (3, 7.0, 1000.0)]


def test_nothing_finished_later_matters() -> None:
    sent = Version(range(13)).read((12, 6.0, 300.0), *HONEST, (10, 2.0, 2.0), (11, 4.0, 30.0))
    assert sent == {10: [1, 2, 13, 3], 11: [11, 32, 13, 3], 12: [111, 332, 13, 3]}


def test_a_late_row_may_be_anything_or_missing() -> None:
    first = (HONEST[0], (10, 2.0, 2.0))
    alone = Version(range(13)).read(*first)[10]
    for later in [[(1, 3.0, -5.0)], [(11, 9.0, 7.0)], [*HONEST[1:], (12, 2.5, 1e6)]]:
        assert Version(range(13)).read(*first, *later)[10] == alone


def test_those_who_finish_at_the_same_instant_act_as_one() -> None:
    sent = Version(range(13)).read((10, 3.0, 2.0), (11, 3.0, 30.0), *HONEST)
    assert sent == {10: [11, 32, 13, 3], 11: [11, 32, 13, 3]}


def test_what_was_read_earlier_is_still_known_as_it_was() -> None:
    version = Version([0, 1, 10, 11])
    assert version.read(HONEST[0], (10, 2.0, 2.0)) == {10: [1, 2, 4, 2]}
    assert version.read(HONEST[1]) == {}
    assert version.read((11, 4.0, 30.0)) == {11: [11, 32, 4, 2]}


def test_other_versions_are_not_known() -> None:
    version, other = Version([0, 10]), Version([1, 11])
    version.read(HONEST[0])
    assert other.read((11, 9.0, 30.0)) == {11: [0, 30, 2, 1]}


def test_the_omniscient_see_all_that_is_read() -> None:
    sent = Version(range(13), omniscient=True).read((10, 0.0, 2.0), *HONEST, (11, 8.0, 30.0))
    assert sent == {10: [1111, 32, 13, 3], 11: [1111, 32, 13, 3]}
