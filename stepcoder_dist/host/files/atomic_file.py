"""Atomic files: a reader sees the complete old content or the complete new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any


def written(path: Path) -> AbstractContextManager[IO[str]]:
    """Return a context that yields a draft of text next to `path` and replaces `path` at its end.

    After an error `path` is as it was. Raises `OSError`.
    """
    return _written(path, "w")


def written_bytes(path: Path) -> AbstractContextManager[IO[bytes]]:
    """Return the same context for bytes."""
    return _written(path, "wb")


def write_text(path: Path, text: str) -> None:
    """Replace the text of `path` at once, as `written` does."""
    with written(path) as file:
        file.write(text)


@contextmanager
def _written(path: Path, mode: str) -> Iterator[IO[Any]]:
    # the process in the name: two that write the same file do not write into one draft
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the new name without content
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
