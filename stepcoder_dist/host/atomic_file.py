"""Atomic text files: a reader sees the complete old text or the complete new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written(path: Path) -> Iterator[IO[str]]:
    """Yield a draft next to `path` to write to; at the end it replaces `path`.

    After an error `path` is as it was. Raises `OSError`.
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
    """Replace the text of `path` at once, as `written` does."""
    with written(path) as file:
        file.write(text)
