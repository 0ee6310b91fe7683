"""``import decai_sim`` is light, and every public name is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import decai_sim

HEAVY = ("torch", "flwr", "pandas", "networkx", "scipy", "ray", "datasets", "matplotlib", "sklearn", "IPython")


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())


def test_describing_an_experiment_loads_nothing_heavy() -> None:
    code = "import decai_sim\ns = decai_sim.Scenario(nodes=5, attack='sign_flip', defense=['nnm', 'krum'])\ns.to_yaml(); s.id"
    assert loaded_after(code) == set()


def test_the_check_notices_what_is_loaded() -> None:
    assert "networkx" in loaded_after("import decai_sim\ndecai_sim.topologies.Ring().build(3, 0)")


@pytest.mark.parametrize("name", decai_sim.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(decai_sim, name) is not None
    assert name in dir(decai_sim)


def test_public_names_are_sorted_and_few() -> None:
    assert decai_sim.__all__ == sorted(set(decai_sim.__all__))
    assert len(decai_sim.__all__) <= 36


def test_run_is_the_function_whatever_was_imported_before() -> None:
    # A submodule called like a public function would shadow it once imported.
    modules = "decai_sim, decai_sim.sweeps, decai_sim.robustness_table, decai_sim.testing"
    code = (
        f"import {modules}\nassert all(map(callable, (decai_sim.run, decai_sim.compare, decai_sim.sweep, decai_sim.robustness)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_names_do_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        decai_sim.nonsense  # noqa: B018
