"""Locks that end with their process: a lock file allows one writer or many readers."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from stepcoder_dist.errors import ConfigError

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})
"""What file systems without locks answer: Lustre without `-o flock`, some FUSE mounts."""


def hold(path: Path, *, shared: bool = False) -> int:
    """Lock a file, made if need be; return the descriptor that holds the lock until it is closed.

    Raises `BlockingIOError` while another process holds it, another `OSError` where no file can be,
    and `ConfigError` on a file system without locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _NO_LOCKS:
            raise ConfigError(
                f"{path}: the file system mounted at {_mount_point(path)} has no file locks "
                f"({error.strerror}); mount it with them (Lustre: -o flock), or choose a folder on "
                "another one"
            ) from None
        raise
    return descriptor


def _mount_point(path: Path) -> Path:
    folder = path.resolve().parent
    return next(each for each in (folder, *folder.parents) if each.is_mount())
