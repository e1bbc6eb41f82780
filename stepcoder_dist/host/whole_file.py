"""Text files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written(path: Path) -> Iterator[IO[str]]:
    """A file beside `path` to write to, which takes its place at the end: a reader sees the old
    text or the new one, and an error leaves the old one. Raises `OSError`.
    """
    # the process in the name: two that write the same file do not write into one draft
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("w", encoding="utf-8") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """All of it at once, as `written`."""
    with written(path) as file:
        file.write(text)
