"""Rules of byzfl, another library, to be measured beside ours where it is installed."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def installed() -> bool:
    """Whether byzfl is there."""
    return find_spec("byzfl") is not None


def rules(name: str = "aggregators") -> Any:
    """Its module of aggregators, or of ``preaggregators``, without the rest of the package.

    The package as a whole imports torchvision, and fails where that does not fit PyTorch; its rules need none of it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("byzfl is not installed: pip install --no-deps byzfl")
    bare = ModuleType("byzfl")
    bare.__path__ = list(spec.submodule_search_locations)
    before = {key: sys.modules.pop(key) for key in list(sys.modules) if key.split(".")[0] == "byzfl"}
    sys.modules["byzfl"] = bare
    try:
        return import_module(f"byzfl.aggregators.{name}")
    finally:
        for key in [key for key in sys.modules if key.split(".")[0] == "byzfl"]:
            del sys.modules[key]
        sys.modules.update(before)
