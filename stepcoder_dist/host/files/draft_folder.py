"""Folders that appear complete or not at all: written under a hidden name, then renamed.

.step_000010/   the draft: `begin` makes it empty
step_000010/    what `commit` makes of it, in the place of an older one
"""

from __future__ import annotations

import shutil
from pathlib import Path


def draft_of(folder: Path) -> Path:
    """Return where the draft of a folder lies."""
    return folder.with_name(f".{folder.name}")


def begin(folder: Path) -> Path:
    """Make an empty draft and the folders above it; one that a crash left goes."""
    draft = draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def commit(draft: Path) -> Path:
    """Make a draft visible; return its place. An older folder there goes when the new one is in."""
    folder = draft.with_name(draft.name.removeprefix("."))
    old = _old_of(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def remove(folder: Path) -> None:
    """Remove a folder: it is hidden first, so that a crash leaves nothing that looks complete.

    Nothing happens where there is no such folder.
    """
    old = _old_of(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove what a crash between `begin` and the end of `commit` left. No writer may be alive."""
    for left in (draft_of(folder), _old_of(folder)):
        shutil.rmtree(left, ignore_errors=True)


def sweep(parent: Path) -> None:
    """`discard` for every folder in one that has no other hidden folders."""
    for left in parent.glob(".*"):
        shutil.rmtree(left, ignore_errors=True)


def _old_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
