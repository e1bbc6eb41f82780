"""Parsers of the command line's paths. A shell does not expand the `~` of `--out=~/x`."""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist.paths import expanded


def path_of(written: str) -> Path:
    """Parse a file or folder."""
    return Path(expanded(written))


def source_of(written: str) -> str:
    """Parse a file or folder, or what a command accepts instead: `ladder:train`, a hub name."""
    return expanded(written)
