"""What tests of attacks share."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any
from unittest.mock import MagicMock

import pytest


@pytest.fixture(scope="session")
def byzfl() -> Any:
    """Byzfl, whose benchmark module wants a torchvision that may not fit this torch; nothing here uses it."""
    if importlib.util.find_spec("byzfl") is None:
        pytest.skip("byzfl is not installed")
    stubs = {name: MagicMock() for name in ("torchvision", "torchvision.datasets", "torchvision.transforms")}
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torchvision"}
    sys.modules.update(stubs)
    try:
        return importlib.import_module("byzfl")
    finally:
        for name in stubs:
            del sys.modules[name]
        sys.modules.update(saved)
