"""The report of a run while it lives: made again from time to time, by a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

SHARE = 20
"""A page that took s seconds is made again after 20 s at the earliest: a long run's takes long."""


class LiveReport:
    """A sink that has `stepcoder report` run beside the steps, one at a time."""

    def __init__(self, run_dir: Path, every_s: float) -> None:
        """`every_s`: seconds between two pages at least, from now on; 0: none."""
        self._run_dir = run_dir
        self._every_s = every_s
        self._making: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._next = time.monotonic() + every_s

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Begin a page if it is time for one."""
        del step, figures  # the page is made from the folder
        now = time.monotonic()
        if self._making is not None and self._making.poll() is not None:
            self._making = None
            self._next = now + max(self._every_s, SHARE * (now - self._begun))
        if self._every_s and self._making is None and now >= self._next:
            self._begun = now
            self._making = subprocess.Popen(  # noqa: S603 - our own command
                ["nice", sys.executable, "-m", "stepcoder_dist", "report", str(self._run_dir)],  # noqa: S607
                stdin=subprocess.DEVNULL,
                # a page that cannot be made is no concern of the run; at its end it says so
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def close(self) -> None:
        """End a page that is being made: the run's own comes now."""
        if self._making is not None:
            self._making.kill()
            self._making.wait()
