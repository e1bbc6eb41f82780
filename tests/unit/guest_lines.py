"""What a guest's Python makes of programs: in this process, or under another Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import guest_driver
import pytest

from sandbox.guest.source import structure
from stepcoder_dist.records import LineStructure

ROOT = Path(structure.__file__).parents[3]


def _python_3_13() -> Path | None:
    """The sandbox image's Python, where this machine has one too: from pyenv or the path."""
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.13*/bin/python3.13"))
    found = pyenv[-1] if pyenv else shutil.which("python3.13")
    return Path(found) if found else None


HERE = Path(sys.executable)
PYTHON_3_13 = _python_3_13()


@dataclass(frozen=True)
class Seen:
    """One program: how it is read, and which lines it executed."""

    structure: LineStructure
    executed: frozenset[int]


def look(sources: Sequence[str], python: Path | None = HERE) -> list[Seen | None]:
    """One answer a source, from one process; None: this Python does not compile it."""
    if python is None:
        pytest.skip("no Python 3.13 on this machine")
    done = subprocess.run(
        [str(python), "-I", "-S", guest_driver.__file__, str(ROOT)],
        input=json.dumps(list(sources)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return [seen and _records(seen) for seen in json.loads(done.stdout)]


def look_here(source: str) -> Seen:
    """The same without a process: for trusted programs by the hundred."""
    seen = guest_driver.look(source, structure)
    assert seen is not None, source
    return _records(seen)


def _records(seen: dict[str, Any]) -> Seen:
    sets = [tuple(lines) for lines in seen["sets"]]
    return Seen(
        structure=LineStructure(
            code_lines=frozenset(seen["code"]),
            follows=tuple(sets[index] for index in seen["follows"]),
            comment_lines=frozenset(seen["comments"]),
        ),
        executed=frozenset(seen["hit"]),
    )
