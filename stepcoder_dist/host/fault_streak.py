"""Counting faults in a row: after so many, what fails will not recover by itself."""

from __future__ import annotations

from collections.abc import Callable


class FaultStreak:
    """Counts faults with no success between them; ends the work at the `most`-th."""

    def __init__(self, most: int, error: Callable[[int, Exception], Exception]) -> None:
        """`error(n, last)` is what is raised after n faults in a row, `last` the newest."""
        self._most = most
        self._error = error
        self.length = 0

    def success(self) -> None:
        self.length = 0

    def fault(self, fault: Exception) -> None:
        """Count one. Raises `error` where there are too many."""
        self.length += 1
        if self.length >= self._most:
            raise self._error(self.length, fault) from fault
