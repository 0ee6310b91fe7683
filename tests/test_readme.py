"""What the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import decai_sim as ds
from decai_sim import robustness_table

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_in_order() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 7
    names: dict[str, Any] = {"__name__": "readme"}
    for block in blocks:
        app = ROOT / "tests" / "flower_apps" / "digits_fedavg"
        exec(compile(block.replace("path/to/flower_app", str(app)), "README.md", "exec", dont_inherit=True), names)
    assert names["result"].complete
    assert set(names["result"].final) == {"calm", "attacked", "defended"}
    whole, cut, still_cut, healed, crashed = names["run"].propagation()["reached"]
    assert max(cut, still_cut, crashed) < 0.6 * min(whole, healed)
    ends = {label: runs[0].rounds["t_s"].iloc[-1] for label, runs in names["fast"].runs.items()}
    assert ends["FedBuff"] < ends["FedAvg"] / 2
    assert len(names["agree"]) == 5
    assert names["agree"].between(1e-3, 10).all()
    patched = names["patched"]
    assert patched.rounds.attack_success.iloc[-1] < 0.1
    assert patched.detection()["recall"] > 0.2
    assert len(patched.verdicts) == 15 * 15
    with_patch = names["shares"].table().set_index(["attack.fraction", "defense"]).attack_success
    assert with_patch[0.3, "mean"] > with_patch[0.3, "nnm >> krum"] + 0.2
    assert len(names["few"].worst()) == 2
    ds.testing.check_attack(names["Silence"]())


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_the_two_commands_come_first() -> None:
    first = re.search(r"```\n(.*?)```", TEXT, flags=re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first.group(1).splitlines()] == ["make demo", "make test"]
    assert TEXT.index("```") < 40
    assert "docs/demo.png" in TEXT[:800]


def test_what_the_poisoning_lab_names_is_there() -> None:
    section = TEXT[TEXT.index("## The poisoning lab") : TEXT.index("## The command line")]
    steps = re.search(r"steps before them \(([^)]*)\)", section)
    peers = re.search(r"one for peers \(([^)]*)\)", section)
    filters = re.search(r"judge one update after the other \(([^)]*)\)", section)
    assert steps is not None
    assert peers is not None
    assert filters is not None
    for found, base in ((steps, ds.defenses.Step), (peers, ds.defenses.PeerRule), (filters, ds.defenses.Filter)):
        named = set(re.findall(r"`(\w+)`", found[1]))
        ours = {name for name, cls in ds.kinds("defenses").items() if cls.__module__.startswith("decai_sim.")}
        assert named == {name for name in ours if issubclass(ds.kinds("defenses")[name], base)}
    rows = re.findall(r"^\| (\w[\w >]*?) \| [\d.]+, ", section, flags=re.MULTILINE)
    assert rows == [*robustness_table.DEFENSES]
    count = (1 + len(robustness_table.ATTACKS)) * len(robustness_table.DEFENSES) * len(robustness_table.SETTINGS)
    assert f"{count} runs" in section
