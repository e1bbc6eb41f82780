"""What a user sees of a command: the console, and a progress bar for each phase."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PIPE_COLUMNS = 120
"""Width of output into a pipe or a file; rich's default of 80 would cut the tables."""
_BEFORE_A_FORECAST_S = 30
LINES_OF_A_PHASE = 10
"""Lines that a phase prints where no bar can be drawn."""


def open_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal.

    `stderr` is for what is not the command's answer.
    """
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_COLUMNS)


class Phase:
    """One phase with a known number of units; use as a context manager."""

    def __init__(
        self, console: Console, title: str, total: int, *, lines: int = LINES_OF_A_PHASE
    ) -> None:
        """`lines`: how many the phase prints where no bar can be drawn."""
        self._console = console
        self._title = title
        self._total = total
        self._lines = lines
        self._done = 0
        self._status = ""
        self._start = time.monotonic()
        self._bar = Progress(
            TextColumn("[bold]{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, status="")

    def __enter__(self) -> Self:
        self._bar.start()
        if not self._console.is_terminal:
            self._console.print(f"{self._title}: 0/{self._total}")
        return self

    def advance(self, status: str = "", units: int = 1) -> None:
        """Count units done; `status` replaces the text next to the bar."""
        before = self._done * self._lines // max(self._total, 1)
        self._done += units
        self._status = status or self._status
        self._bar.update(self._task, advance=units, status=self._status)
        after = self._done * self._lines // max(self._total, 1)
        if not self._console.is_terminal and after > before and self._done < self._total:
            line = f"{self._title}: {self._done}/{self._total} {self._status}"
            self._console.print(line + self._left(), soft_wrap=True)

    def _left(self) -> str:
        """Say how long the rest takes at the pace so far; nothing in the first half minute."""
        elapsed = time.monotonic() - self._start
        if elapsed < _BEFORE_A_FORECAST_S:
            return ""
        return f"  {in_words(elapsed / self._done * (self._total - self._done))} left"

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, highlight=False, soft_wrap=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        seconds = time.monotonic() - self._start
        mark = "✓" if kind is None else "✗"
        self._console.print(
            f"{mark} {self._title:<10} {self._done}/{self._total} in {seconds:.0f} s  "
            f"{self._status}",
            highlight=False,
            soft_wrap=True,
        )


def in_words(seconds: float) -> str:
    """Return a time in one unit or two, rounded: `40 s`, `12 min`, `2 h 5 min`."""
    minutes = round(seconds / 60)
    if minutes < 2:  # noqa: PLR2004 (a minute and a half is 90 s)
        return f"{seconds:.0f} s"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"
