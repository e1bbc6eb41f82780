"""Files that a user names for what a command writes: what is wrong with one is one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepcoder_dist.errors import ConfigError, StepcoderError, UserError


@contextmanager
def writing(path: Path, fix: str, error: type[StepcoderError] = UserError) -> Iterator[None]:
    """Turn an `OSError` inside into an `error` that names the file and says what to do."""
    try:
        yield
    except OSError as failed:
        raise error(f"{path}: cannot be written ({failed.strerror}); {fix}") from None


def prepare(path: Path, fix: str) -> Path:
    """Make the folder of a file to be written later; return the absolute path.

    Raises `ConfigError` where it will not be possible, before hours of work.
    """
    path = path.resolve()
    with writing(path, fix, ConfigError):
        path.parent.mkdir(parents=True, exist_ok=True)
    why = "a folder" if path.is_dir() else "no permission" * (not os.access(path.parent, os.W_OK))
    if why:
        raise ConfigError(f"{path}: cannot be written ({why}); {fix}")
    return path


def refuse_to_replace(source: Path, out: Path) -> None:
    """Raise `UserError` where `out` is the file that is read. May raise `OSError`."""
    if out.exists() and source.exists() and out.samefile(source):
        raise UserError(f"{out}: --out would replace {source}; choose another file")
