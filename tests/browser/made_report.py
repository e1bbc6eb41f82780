"""The report as its command writes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def make_report(run_dir: Path, out: Path) -> Path:
    """`stepcoder report` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "stepcoder_dist", "report", str(run_dir), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stdout) == (0, f"report: {out}\n"), done.stderr
    return out
