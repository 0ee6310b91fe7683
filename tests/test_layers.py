"""Modules import only from layers to their left, and only ``decai_sim.flower`` knows flwr."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import decai_sim

PACKAGE = Path(decai_sim.__file__).parent

FRONT_DOOR = "decai_sim"
"""``import decai_sim as ds``: for those who work with the package as its users do."""

ORDER = (
    *(
        "errors",
        "files",
        "garbage",
        "processes",
        "seeding",
        "component",
        "trace",
        "world",
        "learning",
        "compression",
        "attacks",
        "defenses",
        "flower",
        "protocols",
    ),
    *("ledger", "governance", "audit", "scenario", "viz", "runs", "deployment"),
    *("kept_runs", "executors", "grids", "comparison", "sweeps", "robustness_table", "run_view", FRONT_DOOR, "papers"),
    *("benches", "cli", "testing"),
)

TYPES_ONLY = "types only"
ANYWHERE = "anywhere"

EXCEPTIONS = {
    # Where flower.run is looked for; the work is done where Run is known, and imported when it is called.
    ("decai_sim.flower", "runs"): ANYWHERE,
    ("decai_sim.flower", "scenario"): TYPES_ONLY,
    # A federation is a real Flower server, whose work the protocol describes.
    ("decai_sim.protocols.asynchronous", "flwr"): TYPES_ONLY,
    ("decai_sim.protocols.federated", "flwr"): TYPES_ONLY,
    ("decai_sim.protocols.served", "flwr"): TYPES_ONLY,
    # A deployment's processes begin with the apps that it makes for them.
    ("decai_sim.deployment", "flwr"): TYPES_ONLY,
    # The signature of run_apps, which flower.run hands on to.
    ("decai_sim.runs", "flwr"): TYPES_ONLY,
}


@dataclass(frozen=True)
class Import:
    line: int
    module: str
    for_types: bool


def imports(source: str, module: str, *, is_package: bool) -> Iterator[Import]:
    """Every import of ``source``, at whatever depth; ``from a import b`` counts as ``a.b``, since ``b`` may be a module."""

    def visit(node: ast.AST, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                here = parts[: len(parts) - node.level + is_package]
                base = ".".join([*here, base]) if base else ".".join(here)
            yield from (Import(node.lineno, f"{base}.{alias.name}", for_types) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                yield from visit(child, True)
            for child in node.orelse:
                yield from visit(child, for_types)
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child, for_types)

    return visit(ast.parse(source), False)


def unit(module: str) -> str:
    """The layer a dotted name of ours belongs to; names that are no module are the front door's."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else FRONT_DOOR
    is_module = (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()
    return name if is_module or name in ORDER else FRONT_DOOR


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What ``module`` imports and must not."""
    found = []
    own = module.split(".")[1]
    if own not in ORDER:
        return [f"{module}: {own} has no place in the order of layers"]
    for item in imports(source, module, is_package=is_package):
        top = item.module.split(".")[0]
        if top == "flwr":
            target, wrong = "flwr", own != "flower"
        elif top == "decai_sim":
            target = unit(item.module)
            wrong = target not in ORDER or ORDER.index(target) > ORDER.index(own)
        else:
            continue
        allowed = EXCEPTIONS.get((module, target))
        if wrong and not (allowed == ANYWHERE or (allowed == TYPES_ONLY and item.for_types)):
            found.append(f"{module}, line {item.line}: imports {item.module}")
    return found


def modules() -> list[tuple[str, Path]]:
    pairs = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        pairs.append((".".join(("decai_sim", *parts)).removesuffix(".__init__"), path))
    return [(name, path) for name, path in pairs if name != "decai_sim"]  # the front door re-exports everything


def test_every_module_imports_only_from_layers_to_its_left() -> None:
    found = [
        problem
        for name, path in modules()
        for problem in violations(path.read_text(encoding="utf-8"), name, is_package=path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def test_all_modules_are_looked_at() -> None:
    names = {name for name, _ in modules()}
    assert {"decai_sim.world.world", "decai_sim.flower", "decai_sim.protocols.federated", "decai_sim.runs"} <= names


def test_no_exception_outlives_its_reason() -> None:
    sources = {name: (path.read_text(encoding="utf-8"), path.name == "__init__.py") for name, path in modules()}
    for module, target in EXCEPTIONS:
        source, is_package = sources[module]
        wanted = {"flwr": "flwr"}.get(target, f"decai_sim.{target}")
        assert any(
            item.module == wanted or item.module.startswith(f"{wanted}.")
            for item in imports(source, module, is_package=is_package)
        ), (module, target)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("decai_sim.world.clock", "import decai_sim.learning"),
        ("decai_sim.world.clock", "from decai_sim import learning"),
        ("decai_sim.world.clock", "from decai_sim.learning.store import Row"),
        ("decai_sim.world.clock", "from ..learning import store"),
        ("decai_sim.world.clock", "from decai_sim import run"),
        ("decai_sim.world.clock", "import decai_sim as ds"),
        ("decai_sim.world.clock", "def f():\n    from decai_sim.flower import grid"),
        ("decai_sim.world.clock", "if TYPE_CHECKING:\n    from decai_sim.runs import Run"),
        ("decai_sim.world.clock", "if typing.TYPE_CHECKING:\n    from decai_sim.runs import Run"),
        ("decai_sim.viz.figures", "from decai_sim.runs import Run"),
        ("decai_sim.attacks.alie", "from decai_sim.defenses import Krum"),
        ("decai_sim.learning.store", "import flwr"),
        ("decai_sim.learning.store", "from flwr.app import Message"),
        ("decai_sim.runs", "from flwr.app import Message"),
        ("decai_sim.flower", "from decai_sim.scenario import Scenario"),
        ("decai_sim.flower.grid", "from decai_sim.runs import run_apps"),
        ("decai_sim.somewhere_new", "x = 1"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("decai_sim.learning.store", "from decai_sim.world import World\nimport flwr_datasets"),
        ("decai_sim.learning.store", "from . import training"),
        ("decai_sim.flower.grid", "from flwr.serverapp import Grid"),
        ("decai_sim.flower", "def run():\n    from decai_sim.runs import run_apps"),
        ("decai_sim.runs", "if TYPE_CHECKING:\n    from flwr.clientapp import ClientApp"),
        ("decai_sim.papers.quickstart", "import decai_sim as ds"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert violations(source, module) == []
