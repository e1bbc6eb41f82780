"""Runs next to each other, and runs that have the machine to themselves.

A wall-clock limit says little about a program that had to wait for a processor, so such a run is
done again when the pool's other runs have ended. Runs in quiet time go first: what is asked for
while one waits begins after it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class QuietTime:
    """One for a pool; its seats' threads meet here."""

    def __init__(self) -> None:
        self._most = max(1, (os.cpu_count() or 1) - 1)
        """Runs that disturb each other no more than the machine's own work does."""
        self._changed = threading.Condition()
        self._busy = 0
        self._quiet = 0
        self._asked = 0

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Run next to others, after those who need quiet."""
        with self._changed:
            self._changed.wait_for(lambda: not self._asked)
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def quiet(self, patience_s: float) -> Iterator[None]:
        """Run when the others have ended, or next to those that have not after `patience_s`."""
        with self._changed:
            self._asked += 1
            self._changed.wait_for(lambda: not self._busy, patience_s)
            self._changed.wait_for(lambda: self._quiet < self._most)  # each ends by its own limit
            self._quiet += 1
        try:
            yield
        finally:
            with self._changed:
                self._asked -= 1
                self._quiet -= 1
                self._changed.notify_all()
