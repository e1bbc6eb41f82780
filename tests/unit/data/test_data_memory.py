"""What reading a problem set holds in memory does not grow with the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MB = 10**6
ROW_BYTES = 100_000
# the kernel's high-water mark of this program alone: getrusage counts pytest's own, from before
# the exec, as well
PROBE = """
import sys
from pathlib import Path
from stepcoder_dist.cli import commands as cli
assert cli.run(sys.argv[1:]) == 0
status = Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


def write_set(path: Path, size: int) -> Path:
    """About `size` bytes of problems, one in four of them bad."""
    with path.open("w") as file:
        for number in range(size // ROW_BYTES):
            # no two texts are the same object or the same text
            row = {
                "problem_id": f"t/{number}",
                "inputs": [f"{number}\n" * (ROW_BYTES // len(f"{number}\\n"))],
                "outputs": [] if number % 4 == 1 else ["1\n"],
                "fn_name": None,
                "reference": "n = int(input())\nif n:\n    print(n)\n",
            }
            file.write(json.dumps(row) + "\n")
    return path


def peak_mb(*arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) * 1024 / MB


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "{file}", "--max-bad-share", "0.5"),
        ("inspect", "{file}", "--max-bad-share", "0.5", "--curriculum", "--json"),
        ("overlap", "{file}", "ladder:heldout?count=3", "--max-bad-share", "0.5"),
    ],
    ids=["inspect", "curriculum", "overlap"],
)
def test_a_file_six_times_as_large_takes_no_more_memory(tmp_path: Path, command: tuple[str, ...]):
    small, large = (write_set(tmp_path / f"{size}.jsonl", size * MB) for size in (8, 48))
    peaks = [
        peak_mb("data", *(part.format(file=path) for part in command)) for path in (small, large)
    ]
    assert peaks[1] - peaks[0] < 4, peaks
