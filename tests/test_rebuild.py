"""How the shipped texts are made of their originals."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "data" / "rebuild.py"


@pytest.fixture(scope="module")
def rebuild() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_speeches_of_a_play(rebuild: dict[str, Any]) -> None:
    # The folio's transcription, shortened: two to four spaces, a prefix and a full stop begin a speech.
    text = """The Tragedie of Hamlet

Actus Primus. Scoena Prima.

Enter Barnardo and Francisco two Centinels.

  Barnardo. Who's there?
  Fran. Nay answer me: Stand & vnfold
your selfe

   Bar. Long liue the King

   Bar. He

Exeunt. Marching: after the which, a Peale of
Ordenance are shot off.

  1. When shall we three
meet   againe?
   2 Vpon the Heath
Thunder.
Wooll of Bat
"""
    assert rebuild["play"](text) == [
        ("Bar", "Who's there?"),
        ("Fran", "Nay answer me: Stand & vnfold your selfe"),
        ("Bar", "Long liue the King"),
        ("Bar", "He"),
        ("1", "When shall we three meet againe?"),
        ("2", "Vpon the Heath"),
    ]


def test_prefixes_of_one_role(rebuild: dict[str, Any]) -> None:
    found = rebuild["roles"](Counter({"Qu": 62, "Queen": 5, "Queene": 2, "King": 89, "K": 1, "1": 40, "1.Cit": 13}))
    assert found == {"King": "King", "K": "King", "Qu": "Qu", "Queen": "Qu", "Queene": "Qu", "1": "1", "1.Cit": "1.Cit"}


def test_the_same_content_makes_the_same_file(rebuild: dict[str, Any], tmp_path: Path) -> None:
    write = rebuild["write_gzip"]
    write.__globals__["HERE"] = tmp_path
    for name in ("a", "b"):
        write(tmp_path / name / "x.gz", b"text" * 100)
    assert (tmp_path / "a" / "x.gz").read_bytes() == (tmp_path / "b" / "x.gz").read_bytes()
    assert (tmp_path / "a" / "x.gz").read_bytes()[3:8] == bytes(5)  # no name, no time
