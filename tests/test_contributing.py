"""CONTRIBUTING.md, followed to the letter, and the hooks it tells people to install."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import decai_sim as ds
from decai_sim.component import Component, families, kinds

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w*)\n(.*?)```\n", flags=re.DOTALL)
PROSE = BLOCK.sub("", TEXT)


def section(heading: str) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ [A-Z]|\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def blocks(heading: str, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(section(heading)) if kind == language]


def commands(text: str) -> list[str]:
    return [line.split("  #")[0].strip() for line in text.splitlines()]


FILES: dict[str, str] = dict(re.findall(r"`([\w./]+)`:\n```\w+\n(.*?)```\n", TEXT, flags=re.DOTALL))
"""The files that the document tells people to write, by path."""
(COMMANDS,) = map(commands, blocks("As a file", "bash"))
CELLS = blocks("In a notebook cell", "python")


def run(command: str | list[str], folder: Path, **more: Any) -> str:
    """What a command prints in ``folder``, whose package, if it has one, goes before the one tested here."""
    unwanted = ("PYTEST", "GIT_", "COV_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
    }
    environment |= {"IPYTHONDIR": str(folder / ".ipython"), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, shell=isinstance(command, str), check=False, **more
    )
    assert done.returncode == 0, f"{command} ends with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


# -- a notebook cell ------------------------------------------------------------------------------------------------------------


WRONG = """
from decai_sim.errors import explain

try:
    ds.Scenario(attack={"kind": "zero_gradient", "strength": -1})
except ValueError as error:
    print(explain(error))
"""


def test_a_notebook_of_the_cells_runs_and_finds_what_is_written(tmp_path: Path) -> None:
    again = [CELLS[0], "print('again', ds.kinds('attacks')['zero_gradient'] is ZeroGradient)"]
    sources = [*CELLS, *again, WRONG]
    cells = [{"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": text} for text in sources]
    (tmp_path / "mine.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    ran = run([sys.executable, "-m", "IPython", "--quick", "--no-banner", "mine.ipynb"], tmp_path)
    assert "again True" in ran, ran
    *_, complaint = ran.strip().splitlines()
    assert complaint.startswith("attack.strength: -1 is not allowed")
    assert f"`{complaint}`" in PROSE
    (written,) = blocks("In a notebook cell", "text")
    found, expected = ([int(share) for share in re.findall(r"(\d+)%", text)] for text in (ran, written))
    assert len(expected) == 2
    assert found == pytest.approx(expected, abs=3)  # points: other processors add up in another order
    assert expected[0] > expected[1] + 20


# -- a file ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with the file, the export, the test and the scenario of the document."""
    folder = tmp_path_factory.mktemp("contributor")
    for name in ("decai_sim", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "data").symlink_to(ROOT / "data")

    for path, text in FILES.items():
        assert not (folder / path).exists(), f"{path} is there already: the document needs another example"
        (folder / path).write_text(text, encoding="utf-8")
    package = folder / "decai_sim" / "attacks" / "__init__.py"
    _, line = blocks("As a file", "python")[:2]
    lines = package.read_text(encoding="utf-8").splitlines(keepends=True)
    first = next(i for i, text in enumerate(lines) if text.startswith("from decai_sim."))
    source = "".join([*lines[:first], line, *lines[first:]])
    package.write_text(source.replace("__all__ = [", '__all__ = ["ZeroGradient", ', 1), encoding="utf-8")
    return folder


def test_the_document_names_the_files_that_are_written() -> None:
    assert list(FILES) == ["decai_sim/attacks/zero_gradient.py", "tests/attacks/test_zero_gradient.py", "zero_gradient.yaml"]


def test_the_commands_meet_the_copy(copy: Path) -> None:
    where = run([sys.executable, "-c", "import decai_sim.attacks as a; print(a.__file__, a.ZeroGradient.__module__)"], copy)
    assert where.split() == [str(copy / "decai_sim" / "attacks" / "__init__.py"), "decai_sim.attacks.zero_gradient"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_succeeds(copy: Path, command: str) -> None:
    printed = run(command, copy)
    if command.startswith("pytest"):
        passed = re.search(r"(\d+) passed", printed)
        assert passed is not None, printed
        assert int(passed[1]) >= 2, printed
        assert "skipped" not in printed
    elif command == "decai-sim list attacks":
        assert re.search(r"│ zero_gradient +│ The attackers' updates undo those of the honest: all send", printed), printed
    elif command == "decai-sim run zero_gradient.yaml":
        assert "saved in runs" in printed
    else:
        assert command.startswith("ruff ")


def test_the_commands_are_those_promised() -> None:
    tools = [" ".join(command.split()[:2]) for command in COMMANDS]
    assert tools[:4] == ["ruff check", "ruff format", "decai-sim list", "decai-sim run"]
    assert "pytest tests/test_conformance.py -k attacks-zero_gradient" in COMMANDS
    assert "pytest tests/attacks/test_zero_gradient.py decai_sim/attacks/zero_gradient.py" in COMMANDS


def test_what_ruff_leaves_is_what_the_document_shows(copy: Path) -> None:
    run(next(command for command in COMMANDS if "ruff check" in command), copy)
    run(next(command for command in COMMANDS if "ruff format" in command), copy)
    for path, text in FILES.items():
        assert (copy / path).read_text(encoding="utf-8") == text, f"ruff rewrites {path}"
    written = [path for path in FILES if path.endswith(".py")] + ["decai_sim/attacks/__init__.py"]
    run(["ruff", "check", *written], copy)
    run(["ruff", "format", "--check", *written], copy)


def test_the_attack_takes_twenty_lines() -> None:
    assert len(CELLS[0].splitlines()) <= 20
    tree = ast.parse(FILES["decai_sim/attacks/zero_gradient.py"])
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    card = cls.body[0]
    assert card.end_lineno is not None
    around = [
        line
        for number, line in enumerate(FILES["decai_sim/attacks/zero_gradient.py"].splitlines(), start=1)
        if line.strip() and not card.lineno <= number <= card.end_lineno
    ]
    assert len(around) <= 20

    def code(source: str) -> list[str]:
        (found,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
        return [ast.unparse(node) for node in found.body[1:]]

    assert code(CELLS[0]) == code(FILES["decai_sim/attacks/zero_gradient.py"])  # "the same code, with its card"


# -- what the document says -----------------------------------------------------------------------------------------------------


def rows() -> list[list[str]]:
    lines = [line for line in section("The other families").splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_has_every_family() -> None:
    ds.Scenario()
    ours = {name for name in families() if any(cls.__module__.startswith("decai_sim.") for cls in kinds(name).values())}
    assert {row[0] for row in rows()} == ours


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1].strip("`"))
def test_the_table_is_right(row: list[str]) -> None:
    family, base, methods, _, check = row
    prefix, module, name = base.strip("`").split(".")
    cls = getattr(getattr({"ds": ds}[prefix], module), name)
    assert issubclass(cls, Component)
    assert cls.family == family
    assert not cls.kind  # a base, not a component
    for method in re.findall(r"`(\w+)`", methods):
        left_open = inspect.getsource(getattr(cls, method))
        assert "raise NotImplementedError" in left_open, method
    assert ds.testing._CHECKS[family] is getattr(ds.testing, check.strip("`"))


def test_the_layers_are_in_the_order_that_is_tested() -> None:
    found = re.search(r"only from those before it: ([^.]*)\.", PROSE)
    assert found is not None
    order = runpy.run_path(str(ROOT / "tests" / "test_layers.py"))["ORDER"]
    named = re.findall(r"`(\w+)`", found[1])
    assert named == [name for name in order if name in named]
    for name in named:
        assert any((ROOT / "decai_sim" / file).exists() for file in (f"{name}.py", f"{name}/__init__.py")), name
    for family in {row[1].split(".")[1] for row in rows()}:
        module = getattr(ds, family).__name__.split(".")[1]
        assert module in named, module


def test_files_links_and_targets_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT):
        assert (ROOT / target).exists(), target
    paths = set(re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|txt|toml|ya?ml|ipynb))`", PROSE)) - set(FILES)
    assert {"CHANGELOG.md", "constraints.txt", "tests/test_layers.py", "decai_sim/attacks/sign_flip.py"} <= paths
    for path in paths:
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"(?:^|`)make (\w+)", TEXT, flags=re.MULTILINE)
    assert {"test", "lab", "lint"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    assert "*Unreleased*" in TEXT
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_names_of_the_package_are_there() -> None:
    for dotted in re.findall(r"`ds\.([\w.]+)", TEXT):
        found: Any = ds
        for name in dotted.split("."):
            found = getattr(found, name)
    module = importlib.import_module("decai_sim.component")
    assert module._snake("SignFlip") == "sign_flip"
    assert module._snake("ZeroGradient") == "zero_gradient"
    assert "`SignFlip` is `sign_flip`" in PROSE


# -- pre-commit -----------------------------------------------------------------------------------------------------------------

CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS = {hook["id"]: hook for repo in CONFIG["repos"] for hook in repo["hooks"]}


def test_hooks_use_the_versions_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(pin.name): pin for line in lines if line and line[0] != "#" for pin in [Requirement(line)]}
    assert {repo["repo"] for repo in CONFIG["repos"]} == {"local"}
    assert list(HOOKS) == ["ruff-check", "ruff-format", "nbstripout", "codespell"]
    for hook in HOOKS.values():
        assert hook["language"] == "python"
        (wanted,) = map(Requirement, hook["additional_dependencies"])
        assert wanted.name == hook["entry"].split()[0]
        assert wanted.specifier == pins[canonicalize_name(wanted.name)].specifier


def test_the_document_names_the_hooks() -> None:
    tools = {hook["entry"].split()[0] for hook in HOOKS.values()}
    assert tools <= set(re.findall(r"\w+", section("Set up")))


def test_hooks_are_made_for_the_python_we_support() -> None:
    version = CONFIG["default_language_version"]["python"].removeprefix("python")
    assert f'requires-python = ">={version},' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_codespell_checks_what_the_makefile_checks() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    line = re.search(r"codespell (.*)", makefile)
    assert line is not None
    checked = line[1].split()
    assert "CONTRIBUTING.md" in checked
    wanted = re.compile(HOOKS["codespell"]["files"])
    for path in checked:
        inside = [file for file in (ROOT / path).rglob("*") if file.is_file()] if (ROOT / path).is_dir() else [ROOT / path]
        assert inside, path
        for file in inside:
            assert wanted.search(file.relative_to(ROOT).as_posix()), file
    names = [entry.name for entry in ROOT.iterdir() if entry.name not in checked]
    for name in [*names, "data/fashion_mnist/README.md", "docs/README.md", "decai_sim.md"]:
        assert not wanted.search(f"{name}/x.py" if (ROOT / name).is_dir() else name), name


def test_the_configuration_is_valid_and_can_be_installed(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    run("pre-commit validate-config", tmp_path)
    assert "pre-commit install" in commands(section("Set up"))
    run("git init --quiet && pre-commit install", tmp_path)
    assert (tmp_path / ".git" / "hooks" / "pre-commit").exists()
