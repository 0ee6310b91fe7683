"""A task laid out for ``n`` nodes: tensors, who holds what, the model's shape, and how it is tested."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from decai_sim.learning import inputs
from decai_sim.learning.own_tests import own_samples
from decai_sim.learning.store import Layout
from decai_sim.seeding import Streams

if TYPE_CHECKING:
    from decai_sim.learning.tasks import Task


class Poison(Protocol):
    """What a problem needs of a data attack; see :class:`decai_sim.attacks.DataAttack`."""

    def active(self, server_round: int) -> bool: ...

    def part(self, number: int) -> Poison: ...

    def poison(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]: ...

    def goal(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None: ...


_ROUNDS_IN_DIGEST = 4096
"""In how many rounds, from the first, a digest says whether attackers are at work."""


class Problem:
    """What the nodes of one run learn.

    Attributes:
        task: its description.
        module: the model, with the run's initial parameters.
        layout: where the parameters lie in a row.
        samples: per node, indices of the samples that are its own; see :meth:`samples_of` for those that it trains on.
        own_tests: per node, indices of the samples that it tests models on: what ``task.holdout`` keeps of its own, or, where
            nodes are natural clients, the data set's test samples of these, whose indices come after the training samples'. Of
            other tasks all of its own. No attack changes them.
        n_samples: ``(n,)`` how many each node has.
        class_names: what the labels mean.
        forward_flops: FLOPs of one sample's forward pass.

    Args:
        task: what is learned.
        n: number of nodes.
        streams: the run's streams; ``partition``, ``model`` and ``batches`` are used.
        device: where the tensors live.

    Raises:
        ScenarioError: the data cannot be had or split that way, or the model takes no such inputs.
    """

    def __init__(self, task: Task, n: int, streams: Streams, device: str = "cpu") -> None:
        dataset = task.load()
        self.task, self.n, self.streams, self.device = task, n, streams, device
        self.class_names = dataset.class_names
        inputs.check(task.model, dataset)
        self._tokens = dataset.tokens
        self._factor, self._shift = (inputs.on(device, v) for v in (dataset.scale / dataset.std, -dataset.mean / dataset.std))
        self._x = torch.as_tensor(np.array(dataset.x_train), device=device)
        self._y = torch.as_tensor(dataset.y_train, device=device)
        self._x_test = self._standardised(torch.as_tensor(np.array(dataset.x_test), device=device))
        self._y_test = torch.as_tensor(dataset.y_test, device=device)
        self.samples, self.own_tests = own_samples(task, dataset, n, streams)
        self._poison: Poison | None = None
        self._changed: dict[int, np.ndarray] = {}  # by node, indices of the changed copies of its samples
        if task.partition.natural and dataset.owner_test is not None:  # own tests are among them
            self._x = torch.cat([self._x, torch.as_tensor(np.array(dataset.x_test), device=device)])
            self._y = torch.cat([self._y, self._y_test])
        self.n_samples = np.array([len(part) for part in self.samples])
        self.module = task.model.module(dataset.shape, dataset.classes, streams.torch("model")).to(device)
        self.layout = Layout.of(self.module)
        self.forward_flops = self._count_flops()

    def _count_flops(self) -> float:
        from torch.utils.flop_counter import FlopCounterMode

        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.module(self.inputs(torch.zeros(1, dtype=torch.long, device=self.device)))
        return float(counter.get_total_flops())

    def inputs(self, index: torch.Tensor) -> torch.Tensor:
        """Standardised training inputs ``(*index.shape, *shape)``, or numbers of tokens; of own tests, too."""
        rows = self._x.flatten(1).index_select(0, index.flatten())  # three times as fast as self._x[index]
        return self._standardised(rows.view(*index.shape, *self._x.shape[1:]))

    def _standardised(self, x: torch.Tensor) -> torch.Tensor:
        if self._tokens:
            return x.long()
        return x.to(torch.float32, copy=True).mul_(self._factor).add_(self._shift)

    def labels(self, index: torch.Tensor) -> torch.Tensor:
        """Training labels ``(*index.shape)``; of own tests, too."""
        return self._y[index]

    def initial(self) -> torch.Tensor:
        """``(d,)`` the parameters every run of this seed starts from."""
        return self.layout.flat({name: p.detach() for name, p in self.module.named_parameters()}).clone()

    def evaluate(self, row: torch.Tensor, batch: int = 2000) -> tuple[float, float]:
        """Accuracy and mean cross-entropy of the model ``row (d,)`` on the central test set."""
        params = self.layout.views(row)
        right, loss = 0, 0.0
        with torch.no_grad():
            for at in range(0, len(self._y_test), batch):
                x, y = self._x_test[at : at + batch], self._y_test[at : at + batch]
                logits = torch.func.functional_call(self.module, params, (x,))
                right += int((logits.argmax(1) == y).sum())
                loss += float(F.cross_entropy(logits, y, reduction="sum"))
        return right / len(self._y_test), loss / len(self._y_test)

    @property
    def n_tests(self) -> int:
        """How many samples the central test set has."""
        return len(self._y_test)

    def tests(self, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and labels of samples of the central test set."""
        which = torch.as_tensor(index, device=self.device)
        return self._x_test[which], self._y_test[which]

    def samples_of(self, node: int, server_round: int) -> np.ndarray:
        """Indices of the samples that a node trains on in a round, as many as ``samples[node]`` and in the same order."""
        changed = self._changed.get(node)
        if changed is None or self._poison is None or not self._poison.active(server_round):
            return self.samples[node]
        return changed

    def digest(self) -> str:
        """SHA-256 of all samples, of which node holds which, and of who trains on changed ones in which rounds."""
        found = hashlib.sha256()
        for part in (self._x, self._y, self._x_test, self._y_test):
            found.update(np.ascontiguousarray(part.cpu().numpy()).tobytes())
        for own in (*self.samples, *self.own_tests):
            found.update(len(own).to_bytes(8, "little") + np.asarray(own, dtype=np.int64).tobytes())
        if self._poison is not None:
            found.update(np.array(sorted(self._changed), dtype=np.int64).tobytes())
            found.update(bytes(map(self._poison.active, range(1, _ROUNDS_IN_DIGEST + 1))))
        return found.hexdigest()

    def class_counts(self) -> np.ndarray:
        """``(n, classes)`` how many samples of each class every node holds, whatever attackers make of theirs."""
        classes = len(self.class_names)
        mine = self._y.cpu().numpy()[np.concatenate(self.samples)]
        cell = np.repeat(np.arange(self.n), self.n_samples) * classes + mine
        return np.bincount(cell, minlength=self.n * classes).reshape(self.n, classes)

    def poisoned(self, attack: Poison, nodes: Iterable[int], streams: Streams) -> Problem:
        """The same problem, in which ``nodes`` train on samples changed by a data attack whenever it is active.

        They keep their own as they were, for the other rounds and to test on; changed copies come after all other samples.

        Args:
            attack: what is done to the samples; where attackers share the work, nodes are numbered in their order.
            nodes: who they are.
            streams: the run's streams; ``attack`` is used.
        """
        changed = copy.copy(self)
        changed._poison, changed._changed = attack, {}
        xs, ys, first = [self._x], [self._y], len(self._y)
        for number, node in enumerate(nodes):
            index = torch.as_tensor(self.samples[node], device=self.device)
            generator = streams.torch("attack", "poison", node)
            x, y = attack.part(number).poison(self._x[index], self._y[index], generator)
            xs.append(x)
            ys.append(y)
            changed._changed[node] = np.arange(first, first + len(index))
            first += len(index)
        changed._x, changed._y = torch.cat(xs), torch.cat(ys)
        return changed

    def goal(self, attack: Poison) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What attackers want of the central test set.

        Returns:
            Standardised inputs of the samples that count, with what the attackers put on them, and the labels that they want for
            them; None: they want nothing in particular, or no sample counts.
        """
        found = attack.goal(torch.as_tensor(np.array(self.task.load().x_test), device=self.device), self._y_test)
        if found is None or not found[2].any():
            return None
        x, wanted, which = found
        return self._standardised(x[which]), wanted[which]

    def success(self, row: torch.Tensor, goal: tuple[torch.Tensor, torch.Tensor], batch: int = 2000) -> float:
        """The attack's success rate: the share of samples of a :meth:`goal` that the model ``row (d,)`` classifies as wanted."""
        params = self.layout.views(row)
        hits = 0
        with torch.no_grad():
            for at in range(0, len(goal[1]), batch):
                x, wanted = (part[at : at + batch] for part in goal)
                hits += int((torch.func.functional_call(self.module, params, (x,)).argmax(1) == wanted).sum())
        return hits / len(goal[1])
