"""The consoles that commands print to."""

from __future__ import annotations

import sys

from rich.console import Console

_PIPE_COLUMNS = 120
"""Into a pipe or a file: rich's 80 would cut the tables."""


def console(*, stderr: bool = False) -> Console:
    """As wide as the terminal; `stderr` for what is not the command's answer."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_COLUMNS)
