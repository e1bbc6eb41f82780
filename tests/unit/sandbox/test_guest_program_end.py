"""A program ends as in a process of its own: the same output and exit code as without the guest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import end_driver
import pytest
from ending_programs import ENDINGS
from guest_lines import HERE, PYTHON_3_13, ROOT

FAILING = {
    "stdout that cannot be flushed": "import sys\nsys.stdout.detach().write(b'1')\n",
    "a file beside a stdout that cannot be flushed": (
        "import sys, os\nout = open(os.dup(1), 'w')\ndef f(): out.write('1')\nf()\n"
        "sys.stdout.detach()\n"
    ),
    "exit code": "out = open(1, 'w')\ndef f(): out.write('1')\nf()\nraise SystemExit(3)\n",
}
"""Programs that end with another exit code than 0, and what they write none the less."""


def under_the_guest(sources: Sequence[str], python: Path) -> list[tuple[str, int]]:
    done = subprocess.run(
        [str(python), "-I", "-S", end_driver.__file__, str(ROOT)],
        input=json.dumps(list(sources)),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [(written, code) for written, code in json.loads(done.stdout)]


def alone(source: str, python: Path, folder: Path) -> tuple[str, int]:
    """What the program does as the interpreter's main script; standard output is a file."""
    script = folder / "program.py"
    script.write_text(source, encoding="utf-8")
    with (folder / "written").open("w+b") as written:
        done = subprocess.run(
            [str(python), "-I", "-S", str(script)],
            input=end_driver.GIVEN,
            stdout=written,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=60,
        )
    return (folder / "written").read_text(encoding="utf-8"), done.returncode


def all_alone(sources: Sequence[str], python: Path, folder: Path) -> list[tuple[str, int]]:
    folders = [folder / str(index) for index in range(len(sources))]
    for each in folders:
        each.mkdir()
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(alone, sources, [python] * len(sources), folders))


@pytest.mark.parametrize("python", [HERE, PYTHON_3_13], ids=["here", "3.13"])
def test_what_is_left_to_the_exit_is_written_as_in_a_process_of_its_own(python, tmp_path):
    if python is None:
        pytest.skip("no Python 3.13 on this machine")
    stated = {name: (written, 0) for name, (_, written) in ENDINGS.items()}
    sources = [source for source, _ in ENDINGS.values()]
    real = dict(zip(ENDINGS, all_alone(sources, python, tmp_path), strict=True))
    assert real == stated
    assert dict(zip(ENDINGS, under_the_guest(sources, python), strict=True)) == real


def test_a_flush_that_fails_costs_the_exit_code_and_nothing_else_that_was_written(tmp_path):
    sources = list(FAILING.values())
    real = dict(zip(FAILING, all_alone(sources, HERE, tmp_path), strict=True))
    assert dict(zip(FAILING, under_the_guest(sources, HERE), strict=True)) == real
    assert {code for _, code in real.values()} == {120, 3}
