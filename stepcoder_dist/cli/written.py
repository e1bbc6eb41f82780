"""What every path of the command line is read by; a shell leaves the `~` of `--out=~/x` alone."""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist.paths import expanded


def path_of(written: str) -> Path:
    """A file or folder."""
    return Path(expanded(written))


def source_of(written: str) -> str:
    """A file or folder, or what the command knows in its place: `ladder:train`, a hub name."""
    return expanded(written)
