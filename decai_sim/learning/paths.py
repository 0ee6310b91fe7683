"""Paths: the ways to compute the same training, of which the fastest depends on model and machine."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from decai_sim.errors import ScenarioError
from decai_sim.files import whole

if TYPE_CHECKING:
    import torch
    from torch import nn

    from decai_sim.learning.models import Model
    from decai_sim.learning.problem import Problem
    from decai_sim.learning.training import Plan

Kind = Literal["stacked", "vmap", "compiled", "alone"]
Gradients = Callable[..., tuple[Any, dict[str, Any]]]

ENVIRONMENT = "DECAI_SIM_PATH"
"""An environment variable that says which path to take, such as ``stacked:32``, whatever has been measured."""
_TURNS = 4
_WORTH_MEASURING_FLOPS = 2e12
_WORTH_COMPILING_FLOPS = 5e13


@dataclass(frozen=True)
class Path:
    """How cohorts are computed. The outcome is the same on every path but for the last bits.

    Attributes:
        kind: ``stacked``: as the model does it best, which is with gradients written out where it is dense, through grouped
            convolutions in a CNN, and through ``torch.func.vmap`` in all others; ``vmap``: the same forward pass, always with
            automatic differentiation; ``compiled``: ``torch.func.vmap`` through ``torch.compile``; ``alone``: an ordinary loop,
            one node after the other.
        cohort: models trained side by side: enough to amortise the calls, few enough for the caches.

    Example:
        >>> str(Path("stacked", 32)), Path.of("vmap:8").cohort
        ('stacked:32', 8)
    """

    kind: Kind
    cohort: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.cohort}"

    @classmethod
    def of(cls, text: str) -> Self:
        """The path that ``str()`` writes so.

        Raises:
            ScenarioError: it is none.
        """
        kind, _, cohort = text.partition(":")
        if kind not in get_args(Kind) or not cohort.isdecimal() or int(cohort) < 1:
            raise ScenarioError(
                f"path: {text!r} is not allowed: one of {', '.join(get_args(Kind))}, a colon and a size, as in vmap:32"
            )
        return cls(kind, int(cohort))  # type: ignore[arg-type]

    def gradients(self, model: Model, module: nn.Module) -> Gradients:
        """The model's ``gradients``, on this path."""
        from decai_sim.learning.models import Model

        if self.kind == "compiled":
            return _compiled(module)
        if self.kind == "vmap":
            return lambda *at: Model.gradients(model, *at)
        return model.gradients


@lru_cache(maxsize=4)  # a module lives on as long as what was compiled of it
def _compiled(module: nn.Module) -> Gradients:
    import torch
    from torch.nn import functional as F

    def loss(own: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> Any:
        logits = torch.func.functional_call(module, own, (x,)).float()
        total = (F.cross_entropy(logits, y, reduction="none") * mask).sum()
        return total / mask.sum(), total

    each = torch.compile(torch.func.vmap(torch.func.grad(loss, has_aux=True)))

    def gradients(module: nn.Module, *at: Any) -> tuple[Any, dict[str, Any]]:
        slopes, losses = each(*at)
        return losses, slopes

    return gradients


def usual(device: str) -> Path:
    """What is good for most models, where nothing has been measured."""
    pinned = os.environ.get(ENVIRONMENT)
    return Path.of(pinned) if pinned else Path("stacked", 64 if device == "cpu" else 512)


def chosen(problem: Problem, plan: Plan, work_flops: float, anew: bool = False) -> Path:
    """The path for so much work: what the environment says, what was the fastest when it was measured, or the usual one.

    It is measured once for a model and a machine, when there is work enough for that to pay, and remembered in the user's cache
    folder. So equal runs on one machine take the same path, which their provenance tells.

    Args:
        problem: what is learned.
        plan: how nodes train.
        work_flops: how much there is to do, FLOPs.
        anew: whether to measure even if that has been done: the machine may have been busy then.
    """
    if os.environ.get(ENVIRONMENT):
        return usual(problem.device)
    key = _key(problem, plan)
    known = _remembered().get(key)
    if known is not None and not anew:
        return Path.of(known)
    if work_flops < _WORTH_MEASURING_FLOPS:
        return usual(problem.device)
    rates = measured(problem, plan, candidates(problem.device, work_flops))
    best = max(rates, key=lambda path: rates[path])
    if not rates[best]:  # nobody has samples, or no candidate fits beside what else is there: next time may be another
        return usual(problem.device)
    _remember(key, str(best))
    return best


def candidates(device: str, work_flops: float = math.inf) -> list[Path]:
    """What may be the fastest."""
    sizes = (8, 32, 64, 128) if device == "cpu" else (1, 8, 32, 128, 512, 2048)  # large models fill a GPU by themselves
    paths = [Path("stacked", size) for size in sizes]
    if device == "cpu":
        paths.append(Path("alone", 1))
    if work_flops >= _WORTH_COMPILING_FLOPS and (device != "cpu" or shutil.which("c++")):
        paths.append(Path("compiled", 32 if device == "cpu" else 512))
    return paths


def measured(problem: Problem, plan: Plan, paths: Sequence[Path]) -> dict[Path, float]:
    """Models per second on each of ``paths``, of nodes that have as many samples as most of those that have any.

    0 on those for which the device has no room, and where ``torch.compile`` fails: it needs what not every machine has.
    """
    import numpy as np
    import torch

    from decai_sim.learning.allocator import keep_freed
    from decai_sim.learning.cohort import train_together

    if problem.device == "cpu":
        keep_freed()
    steps = replace(plan, epochs=1, steps=3, personal=(), keep=False)
    some = np.flatnonzero(problem.n_samples)
    if not len(some):
        return dict.fromkeys(paths, 0.0)
    typical = int(some[np.argsort(problem.n_samples[some], kind="stable")[len(some) // 2]])
    row = problem.initial().to(problem.device)
    rates, failed = dict.fromkeys(paths, 0.0), set[Path]()
    for _ in range(_TURNS):  # in turn, the best of each: machines have other things to do, and the first time compiles
        for path in [path for path in paths if path not in failed]:
            rows, who = row.expand(path.cohort, -1), [(typical, 0)] * path.cohort
            began = time.perf_counter()
            try:
                train_together(problem, rows, who, steps, path=path)
            except torch.OutOfMemoryError:
                failed.add(path)
            except Exception:
                if path.kind != "compiled":
                    raise
                failed.add(path)
            if path in failed:
                rates[path] = 0.0
                continue
            if torch.device(problem.device).type == "cuda":
                torch.cuda.synchronize()
            rates[path] = max(rates[path], path.cohort / (time.perf_counter() - began))
    return rates


def _key(problem: Problem, plan: Plan) -> str:
    import torch

    task = problem.task
    where = torch.cuda.get_device_name() if problem.device != "cpu" else f"{platform.machine()} {torch.get_num_threads()}"
    work = json.dumps(
        [
            task.model.to_config(),
            list(problem.inputs(torch.zeros(1, dtype=torch.long, device=problem.device)).shape),
            plan.batch_size,
        ]
    )
    how = plan.plain, plan.optimiser.kind, plan.scaffold, plan.precision
    return f"{work} {how} {where} torch {torch.__version__}"


def _cache_file() -> File:
    import platformdirs

    return File(platformdirs.user_cache_dir("decai_sim")) / "paths.json"


def _remembered() -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known


def _remember(key: str, path: str) -> None:
    file = _cache_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as part:
            part.write_text(json.dumps({**_remembered(), key: path}, indent=1), encoding="utf-8")
    except (OSError, ScenarioError):
        pass  # a home that cannot be written to costs a measurement each time, no more
