"""What the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import decai_sim as ds

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_in_order() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 6
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
