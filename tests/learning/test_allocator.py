"""Freed memory stays for the next step of training."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

GLIBC = platform.libc_ver()[0] == "glibc"
CODE = """
import resource, torch
from decai_sim.learning.allocator import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(8 << 20), torch.ones(2 << 20)  # 32 and 8 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

as_usual = faults()
kept = keep_freed()
faults()
print(kept, keep_freed(), as_usual, faults())
"""


def counted(**environment: str) -> list[str]:
    plain = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", CODE], env=plain | environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not GLIBC, reason="other C libraries are left as they are")
def test_no_page_is_asked_for_twice() -> None:
    kept, again, as_usual, after = counted()
    assert (kept, again) == ("True", "True")
    assert int(after) < int(as_usual) / 20


@pytest.mark.skipif(not GLIBC, reason="other C libraries are left as they are")
def test_what_the_environment_says_stands() -> None:
    assert counted(MALLOC_TRIM_THRESHOLD_="1000000")[0] == "False"


def test_other_c_libraries_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from decai_sim.learning.allocator import keep_freed

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed.__wrapped__()
