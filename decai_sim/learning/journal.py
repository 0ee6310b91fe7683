"""Journals: results of training on disk, so that a run that was interrupted need not train again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path as File
from typing import TYPE_CHECKING

from decai_sim.errors import ScenarioError
from decai_sim.files import whole
from decai_sim.learning.values import row_of

if TYPE_CHECKING:
    import torch

    from decai_sim.learning.jobs import Job
    from decai_sim.learning.paths import Path
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.store import Store

_PARTS = ("result", "change", "control", "optimiser")


class Journal:
    """A folder of cohorts' results, each found by what it came of: node, round, plan, and the models it began with.

    A run that goes on repeats everything in the same order, and reads here what it has trained before. A result is only found
    if it began with the very same numbers, of the same data, on the same path and kind of device, with the same versions of this
    package and PyTorch; of changes to code of your own nothing is known: take another folder then.

    Args:
        folder: made if missing.
        problem_id: what is learned and by whom; results of others are not found.

    Raises:
        ScenarioError: the folder cannot be used.
    """

    def __init__(self, folder: str | File, problem_id: str) -> None:
        from safetensors import safe_open

        self._folder, self._problem_id = File(folder), problem_id
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ScenarioError(f"journal: {str(folder)!r} is not allowed: {error.strerror or error}") from None
        self._how: tuple[str, ...] = ()
        self._known: dict[str, tuple[File, int]] = {}
        self.found = 0
        """How many results have been read instead of computed."""
        for file in sorted(self._folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as opened:
                keys = json.loads((opened.metadata() or {}).get("keys", "[]"))
            self._known.update({key: (file, place) for place, key in enumerate(keys)})

    def concerns(self, problem: Problem, path: Path) -> None:
        """Say what training is of and how it is computed; results of other data, or otherwise computed, are not found.

        Args:
            problem: what is learned, with the data of all nodes.
            path: how.
        """
        where = problem.device.partition(":")[0]
        self._how = (problem.digest(), str(path), where, *(metadata.version(name) for name in ("decai_sim", "torch")))

    def keys(self, jobs: Sequence[Job]) -> list[str]:
        """What results of ``jobs`` are found by; to be asked for before they have one."""
        return [self._key(job) for job in jobs]

    def _key(self, job: Job) -> str:
        parts = [self._problem_id, *self._how, job.node, job.server_round, repr(job.plan), row_of(job.start).digest()]
        parts.append(None if job.control is None else job.control.digest())
        if job.before is not None:
            parts += [(name, row.digest()) for name, row in sorted(job.before.memory.items())]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def recall(self, jobs: Sequence[Job], store: Store, states: dict[int, Store]) -> list[Job]:
        """Give those of ``jobs`` their results that are known; returns the others."""
        from safetensors import safe_open

        others = []
        of_file: dict[File, list[tuple[Job, int]]] = {}
        for job, key in zip(jobs, self.keys(jobs), strict=True):
            if key in self._known:
                file, place = self._known[key]
                of_file.setdefault(file, []).append((job, place))
            else:
                others.append(job)
        for file, wanted in of_file.items():
            with safe_open(file, framework="pt") as opened:
                columns = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
            for job, place in wanted:
                self._give(job, {name: rows[place] for name, rows in columns.items()}, store, states)
        self.found += len(jobs) - len(others)
        return others

    @staticmethod
    def _give(job: Job, known: dict[str, torch.Tensor], store: Store, states: dict[int, Store]) -> None:
        from decai_sim.learning.store import Store

        rows = {}
        for name in _PARTS:
            if name in known:
                width = len(known[name])
                where = store if width == store.d else states.setdefault(width, Store(width, str(store.device)))
                (rows[name],) = where.put(known[name][None])
        job.result, job.loss, job.change = rows["result"], float(known["loss"]), rows.get("change")
        job.memory = {name: rows[name] for name in ("control", "optimiser") if name in rows}
        if job.plan.personal:
            job.memory["personal"] = job.result
        job.before = None

    def keep(self, keys: Sequence[str], jobs: Sequence[Job]) -> None:
        """Write the results of ``jobs``, which have been computed."""
        import torch
        from safetensors.torch import save_file

        columns: dict[str, torch.Tensor] = {"loss": torch.tensor([job.loss for job in jobs], dtype=torch.float64)}
        for name in _PARTS:
            rows = [{"result": job.result, "change": job.change}.get(name) or job.memory.get(name) for job in jobs]
            there = [row for row in rows if row is not None]
            if there:
                columns[name] = there[0].store.gather(there).cpu()
        with whole(self._folder / f"{keys[0]}.safetensors") as part:
            save_file(columns, str(part), {"keys": json.dumps(list(keys))})
