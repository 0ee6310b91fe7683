"""What one installs is what was tested, and what is shipped is what its page says."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_every_constraint_is_one_exact_version() -> None:
    names = [canonicalize_name(pin.name) for pin in pins()]
    assert len(names) == len(set(names))
    for pin in pins():
        (only,) = pin.specifier
        assert only.operator == "=="
        assert "*" not in only.version


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_every_requirement_has_a_pin_within_its_range(text: str) -> None:
    wanted = Requirement(text)
    (pin,) = [pin for pin in pins() if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
    (only,) = pin.specifier
    assert Version(only.version) in wanted.specifier


def test_torch_is_the_version_tested() -> None:
    (torch,) = [pin for pin in pins() if pin.name == "torch"]
    assert str(torch.specifier) == "==2.13.0"


def test_conda_users_get_the_same_python_and_the_same_versions() -> None:
    (python,) = [entry for entry in ENVIRONMENT["dependencies"] if str(entry).startswith("python=")]
    version = python.partition("=")[2].lstrip("=")
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert Version(f"{version}.0") in allowed
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    (pip,) = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert "-c constraints.txt" in pip
    assert "-e .[dev]" in pip
    assert "dev" in PROJECT["optional-dependencies"]


def test_the_makefile_installs_with_the_same_constraints() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"pip install .*-c constraints\.txt -e '\.\[dev\]'", text)


def test_the_citation_speaks_of_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"


def test_the_licence_is_apache_2() -> None:
    text = " ".join((ROOT / "LICENSE").read_text(encoding="utf-8").split())
    assert text.startswith("Apache License Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_wheel_carries_the_data_where_they_are_looked_for() -> None:
    from decai_sim.learning.data import base

    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"data": "decai_sim/_data"}
    assert 'package / "_data"' in Path(base.__file__).read_text(encoding="utf-8")
    assert Path(base.__file__).parents[2].name == "decai_sim"


def test_shipped_data_are_what_their_page_lists() -> None:
    page = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    listed: dict[str, str] = {}
    folder = ""
    for line in page.splitlines():
        if heading := re.fullmatch(r"## (\S+)/", line):
            folder = heading[1]
        if row := re.fullmatch(r"\| (\S+) \| ([0-9a-f]{64}) \|", line):
            listed[f"{folder}/{row[1]}"] = row[2]
    files = [path for path in (ROOT / "data").rglob("*") if path.is_file() and path.suffix not in {".md", ".py"}]
    found = {path.relative_to(ROOT / "data").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert found
    assert found == listed
