"""A disk that takes nothing more: one error that says where, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepcoder_dist.errors import RunError

REFUSED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What a file system answers that is full, over its quota, read-only, or broken."""


@contextmanager
def needed_by_run(folder: Path) -> Iterator[None]:
    """Write into a run directory inside.

    Raises `RunError`, which names the folder, where its disk refuses to take more.
    """
    try:
        yield
    except OSError as error:
        if not is_refusal(error):
            raise
        raise RunError(
            f"{folder}: the disk does not take what the run writes there ({error.strerror}); make "
            "room, then `stepcoder train --resume` continues at the newest checkpoint"
        ) from error


def is_refusal(error: OSError) -> bool:
    """Return whether a disk refused to take what was written."""
    return error.errno in REFUSED


def refusal(error: OSError) -> str:
    """Say which file a disk did not take, in one line."""
    where = error.filename or "a file"
    return f"{where}: the disk does not take what is written there ({error.strerror}); make room"
