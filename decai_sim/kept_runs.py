"""Runs kept on disk under what they depend on, so that nothing is run twice."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
import types
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from decai_sim.component import Component
from decai_sim.runs import Run, writable

if TYPE_CHECKING:
    from decai_sim.learning.data import Dataset
    from decai_sim.scenario import Scenario

_DECIDE = (
    *("component", "seeding", "trace", "scenario", "runs", "world", "learning", "compression", "attacks", "defenses"),
    *("flower", "protocols", "ledger", "governance"),
)
"""Parts of the package that decide what comes out of a run."""
_ABANDONED_S = 3600.0
_DIGITS = 16
_OF_DATA: WeakKeyDictionary[Dataset, str] = WeakKeyDictionary()


class KeptRuns:
    """A folder of finished runs, each in a folder of its own that appears whole or not at all.

    A run is found again if everything that decides it is the same: the scenario with its seed, the package's version and the
    sources of it that decide runs, the code of somebody's own components, the content of the task's data set and of files that
    the scenario names. Not looked at are the versions of other libraries, and what own components call in other modules.

    Args:
        folder: where; made if missing.

    Raises:
        ScenarioError: it cannot be written to.

    Example:
        >>> import tempfile
        >>> import decai_sim as ds
        >>> kept = KeptRuns(tempfile.mkdtemp())
        >>> scenario = ds.Scenario(nodes=4, task="digits", protocol={"kind": "federated", "rounds": 1, "fraction": 1})
        >>> kept.find(scenario) is None
        True
        >>> kept.keep(ds.run(scenario, progress=False))
        >>> kept.find(scenario).accuracy > 0
        True
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = writable(folder)
        for part in self.folder.glob(".*.part"):  # of processes that were killed
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(part, ignore_errors=True)

    def place(self, scenario: Scenario) -> Path:
        """Where a scenario's run is kept, if it is.

        Raises:
            Exception: the scenario's data cannot be had.
        """
        return self.folder / f"{scenario.id}-{fingerprint(scenario)}"

    def find(self, scenario: Scenario) -> Run | None:
        """The scenario's run; None if there is none, or what there is cannot be read.

        Raises:
            Exception: the scenario's data cannot be had.
        """
        place = self.place(scenario)
        if not place.is_dir():
            return None
        try:
            found = Run.load(place)
        except Exception:  # cut off, changed, written by who knows what: it is run again
            return None
        if not found.complete or found.provenance.get("scenario") != scenario.to_config():
            return None
        found.scenario = scenario  # a class of a notebook would come back as another one of its kind
        return found

    def keep(self, run: Run) -> None:
        """Keep a finished run, in the place of what was there.

        Raises:
            ScenarioError: it cannot be written.
        """
        place = self.place(run.scenario)
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        run.save(part)
        try:
            if place.exists():
                shutil.rmtree(place)
            part.rename(place)
        except OSError:  # another sweep was quicker
            shutil.rmtree(part, ignore_errors=True)


def fingerprint(scenario: Scenario) -> str:
    """What decides a scenario's run beside the parameters in it, and these, as 16 hexadecimal digits.

    Raises:
        Exception: the scenario's data cannot be had.
    """
    parts: dict[str, Any] = {
        "scenario": scenario.to_config(),
        "version": _version(),
        "sources": _sources(),
        "files": sorted({(str(path), _of_file(path)) for path in _files(scenario)}),
        "own": sorted({(cls.__qualname__, code_digest(cls)) for cls in _own_classes(scenario)}),
        "data": data_digest(scenario.task.load()) if scenario.protocol.learns else None,
    }
    return _short(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def data_digest(data: Dataset) -> str:
    """16 hexadecimal digits of a SHA-256 over all samples and what is said of them; computed once per data set.

    Example:
        >>> from decai_sim.learning.tasks import Digits
        >>> data_digest(Digits().load()) == data_digest(Digits(partition="iid").load())
        True
    """
    import numpy as np

    known = _OF_DATA.get(data)
    if known is None:
        total = hashlib.sha256(repr((data.name, data.class_names, data.scale, data.tokens, data.owner_names)).encode())
        values = (data.x_train, data.y_train, data.x_test, data.y_test, data.mean, data.std, data.owner, data.owner_test)
        for value in (*values, *(half for name in sorted(data.groups) for half in data.groups[name])):
            array = np.ascontiguousarray(() if value is None else value)
            total.update(repr((value is None, array.shape, str(array.dtype))).encode())
            total.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
        known = _OF_DATA[data] = total.hexdigest()[:_DIGITS]
    return known


def code_digest(cls: type) -> str:
    """16 hexadecimal digits of what a class does.

    That is its methods, constants and fields, and those that it inherits within its module, with what they use of the functions,
    constants, arrays and objects of the module and of functions around them. What other modules do is not looked at.

    Example:
        >>> class One:
        ...     def __call__(self): return 1
        >>> class Two:
        ...     def __call__(self): return 2
        >>> code_digest(One) == code_digest(One) != code_digest(Two)
        True
    """
    return _short("\n".join(_told(cls, cls.__module__, set())).encode())


def _told(value: Any, module: str, seen: set[int]) -> Iterator[str]:
    """What a value is, line by line, as far as it is code or plain data; the same in every process."""
    if id(value) in seen:
        return
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        yield from _told(value.fget, module, seen)
    elif isinstance(value, types.FunctionType):
        seen.add(id(value))
        yield from _told(value.__code__, module, seen)
        yield from _told((value.__defaults__, value.__kwdefaults__), module, seen)
        for cell in value.__closure__ or ():
            yield from _told(_inside(cell), module, seen)
        for name in value.__code__.co_names:
            used = value.__globals__.get(name)
            if _is_data(used) or getattr(used, "__module__", module) == module:
                yield from _told(used, module, seen)
    elif isinstance(value, types.CodeType):
        yield f"{value.co_code.hex()} {value.co_names} {value.co_varnames}"
        for constant in value.co_consts:
            yield from _told(constant, module, seen)
    elif isinstance(value, type):
        seen.add(id(value))
        for base in value.__mro__:
            if base.__module__ == module:
                yield base.__qualname__
                for name, part in sorted(vars(base).items()):
                    if not name.startswith(("__pydantic", "_abc")) and name not in ("__doc__", "__module__"):
                        yield name
                        yield from _told(part, module, seen)
        if issubclass(value, BaseModel):
            for name, field in value.model_fields.items():
                yield name
                yield from _told(field.default, module, seen)
    elif isinstance(value, BaseModel):
        yield repr(value.model_dump(mode="json"))
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield repr(value)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _told(part, module, seen)
    elif isinstance(value, set | frozenset):
        yield repr(sorted(map(repr, value)))
    elif isinstance(value, dict):
        for name, part in sorted(value.items(), key=lambda item: repr(item[0])):
            yield repr(name)
            yield from _told(part, module, seen)
    elif isinstance(value, functools.partial):
        yield from _told((value.func, value.args, value.keywords), module, seen)
    elif _is_data(value):
        seen.add(id(value))
        yield from _told_data(value, module, seen)
    elif isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        yield value.__name__
    elif getattr(type(value), "__module__", module) == module and hasattr(value, "__dict__"):
        seen.add(id(value))
        yield from _told((type(value), vars(value)), module, seen)


def _is_data(value: Any) -> bool:
    """Whether it is an array, a tensor, a frame, or a module of PyTorch with such."""
    return not isinstance(value, type) and (hasattr(value, "__array__") or hasattr(value, "state_dict"))


def _told_data(value: Any, module: str, seen: set[int]) -> Iterator[str]:
    import numpy as np
    import torch

    if isinstance(value, torch.nn.Module):
        yield from _told((repr(value), type(value), dict(value.state_dict())), module, seen)
        return
    if isinstance(value, torch.Tensor):
        yield str(value.dtype)
        value = value.detach().to_dense().cpu()
        value = value.float() if value.dtype == torch.bfloat16 else value  # which NumPy does not know; nothing is lost
    array = np.asarray(value)
    yield f"{array.dtype} {array.shape}"
    if array.dtype == object:
        yield from _told(array.tolist(), module, seen)
    else:
        yield array.tobytes().hex()


def _inside(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def _own_classes(scenario: Scenario) -> Iterator[type]:
    ours = __name__.partition(".")[0]
    for part in _parts(scenario):
        if isinstance(part, Component) and type(part).__module__.partition(".")[0] != ours:
            yield type(part)


def _files(scenario: Scenario) -> Iterator[Path]:
    yield from (part for part in _parts(scenario) if isinstance(part, Path) and part.is_file())


def _parts(value: Any) -> Iterator[Any]:
    """A value and all that stands in it."""
    yield value
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _parts(getattr(value, name))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _parts(part)


@cache
def _version() -> str | None:
    try:
        return metadata.version("decai_sim")
    except metadata.PackageNotFoundError:  # it is used from its folder
        return None


@cache
def _sources() -> str:
    package = Path(__file__).resolve().parent
    total = hashlib.sha256()
    for name in _DECIDE:
        files = [package / f"{name}.py", *sorted((package / name).rglob("*.py"))]
        for path in (path for path in files if path.is_file()):
            total.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return total.hexdigest()[:_DIGITS]


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
